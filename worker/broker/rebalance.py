"""The group's rebalances -> partitions that were revoked and assigned since the last poll."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.coordinator.consumer import ConsumerCoordinator
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment
from kafka.structs import ConsumerGroupMetadata

from worker.records import Partition


def membership_of(consumer: Any) -> Any:
    """The group's generation and member id, of the last generation whose assignment was applied; None before.

    kafka-python 3.0.12 itself tells a generation as soon as the group has it: a poll that ends between then and the
    assignment leaves a member that still holds what the group has given to others, and whose commits the broker takes.
    """
    return consumer._coordinator.applied


class KeptJoin:
    """A join under way, which is done once a poll has used what it brought (or waits in vain for it)."""

    def __init__(self, future: Any) -> None:
        self.add_callback, self.add_errback, self._future = future.add_callback, future.add_errback, future

    @property
    def is_done(self) -> bool:
        """True where the client must join anew."""
        return self._future.is_done and isinstance(self._future.exception, KafkaTimeoutError)


class Coordinator(ConsumerCoordinator):  # type: ignore[misc]
    """A coordinator that uses what a join has brought whenever the next poll comes.

    That of kafka-python 3.0.12 throws it away if it came between two polls, and joins again: a member whose turns take
    longer than a join never gets in, makes the group rebalance without end, and keeps what others were given.

    Attributes:
        applied: see `membership_of`.
    """

    applied: Any = None

    @property
    def _join_task(self) -> KeptJoin | None:
        return self.__dict__.get("_kept_join")

    @_join_task.setter
    def _join_task(self, future: Any) -> None:
        self.__dict__["_kept_join"] = None if future is None else KeptJoin(future)

    async def join_group_async(self, timeout_ms: float | None = None) -> bool:
        """A join that failed is told once, whatever its error: the next poll joins anew."""
        try:
            return bool(await super().join_group_async(timeout_ms=timeout_ms))
        except Exception as error:
            if not isinstance(error, KafkaError):
                self._join_task = None
            raise

    async def _on_join_complete_async(self, generation: int, member_id: str, protocol: str, assignment: bytes) -> None:
        await super()._on_join_complete_async(generation, member_id, protocol, assignment)
        given = set(ConsumerProtocolAssignment.decode(assignment).partitions())
        if generation >= 0 and given == set(self._subscription.assigned_partitions()):
            self.applied = ConsumerGroupMetadata(self.group_id, generation, member_id, self.group_instance_id)


class Evictions:
    """Of a member that the group does not know any more its heartbeat tells the client, at once. One that has not heard
    for a session, while Kafka refuses its transactions, never will: it joins anew.

    Seen with kafka-python 3.0.12 on a loaded machine when topics had grown: the worker read on for minutes, its results
    were refused, and what it told of its partitions stood beside what their new owner told.
    """

    def __init__(self, consumer: Any) -> None:
        self._coordinator = consumer._coordinator
        self._since: tuple[str, float] | None = None  # the member that is refused, and since when

    def refused(self, member_id: str) -> bool:
        """Kafka does not know this member; True when the client was made to join anew."""
        now, coordinator = time.monotonic(), self._coordinator
        if coordinator._generation.member_id != member_id:
            self._since = None  # The client has heard, and is about to join, or has joined.
        elif self._since is None or self._since[0] != member_id:
            self._since = member_id, now
        elif now - self._since[1] > coordinator.config["session_timeout_ms"] / 1000:
            self._since = None
            coordinator._join_task = None
            coordinator.reset_generation()
            return True
        return False


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
