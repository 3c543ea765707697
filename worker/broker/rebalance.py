"""The group's rebalances -> partitions that were revoked and assigned since the last poll."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.coordinator.base import MemberState

from worker.records import Partition


def membership_of(consumer: Any) -> Any:
    """The group's generation and member id, once the assignment of that generation is applied; else None.

    kafka-python 3.0.12 tells a generation as soon as the group has it: a poll that ends between then and the assignment
    leaves a member that still holds what the group has given to others, and whose commits the broker would accept.
    """
    metadata = consumer.group_metadata()
    return metadata if metadata.generation_id >= 0 and metadata.state is MemberState.STABLE else None


class RebalanceListener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Hears of rebalances. A new partition begins where a group without commits begins, until its lease says more: the
    client need not ask for its commits, and never falls back to that start by itself later on."""

    def __init__(
        self,
        on_revoked: Callable[[frozenset[Partition]], None],
        start: Callable[[Iterable[TopicPartition]], None],
    ) -> None:
        self._on_revoked, self._start = on_revoked, start
        self._revoked: set[Partition] = set()
        self._assigned: set[Partition] = set()

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Ends leases before any other member can be given them."""
        gone = frozenset(Partition(tp.topic, tp.partition) for tp in revoked)
        self._revoked |= gone
        self._assigned -= gone
        self._on_revoked(gone)

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        """Others have them already."""
        self.on_partitions_revoked(lost)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Begins leases."""
        self._start(assigned)
        self._assigned |= {Partition(tp.topic, tp.partition) for tp in assigned}

    def evicted(self, leased: Iterable[Partition], held: Iterable[Partition]) -> None:
        """Ends all leases of which nothing was heard; those still held begin anew."""
        gone = frozenset(leased) - self._revoked
        self._on_revoked(gone)
        self._revoked |= gone
        self._assigned |= gone & frozenset(held)

    def drain(self) -> tuple[frozenset[Partition], frozenset[Partition]]:
        """What was revoked and assigned since the last call."""
        found = frozenset(self._revoked), frozenset(self._assigned)
        self._revoked.clear()
        self._assigned.clear()
        return found
