"""The group's assignor for kafka-python: cooperative, sticky, and equal partitions of equal topics on one member."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from kafka import TopicPartition
from kafka.coordinator.assignors.abstract import AbstractPartitionAssignor, RebalanceProtocol
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment, ConsumerProtocolSubscription

from worker.broker.placement import UNKNOWN_GENERATION, Member, given, owners, targets
from worker.records import Partition

# The first with the generation in which a member was given what it claims (KIP-792); older readers pass over it.
_SCHEMA = 2
# Who gives something up asks for the next rebalance itself, at once. One of the release before may claim what it does
# not hold: it gives nothing up, and the leader asks instead; sooner, and members would not come to apply their part.
FOLLOW_UP_SECONDS = 5.0


class CoLocatingAssignor(AbstractPartitionAssignor):  # type: ignore[misc]
    """One for each member. The name is that of the releases before it, so that both are one group during an update:
    whoever leads decides, and what is written on the wire each of them reads (decision 30).

    A member claims what it holds when it joins. The client's own assignor claims what it was given last, also after the
    group has taken that away: the leader then withheld it from everybody, or gave it to two.
    """

    name = "cooperative-sticky"

    def __init__(self) -> None:
        self.held: Callable[[], Iterable[TopicPartition]] = tuple
        self.unfinished = False  # As the leader: something is given to nobody until another has let go of it.
        self._generation, self._given_at = UNKNOWN_GENERATION, 0.0

    def supported_protocols(self) -> list[RebalanceProtocol]:
        """Cooperative alone."""
        return [RebalanceProtocol.COOPERATIVE]

    def metadata(self, topics: Iterable[str]) -> Any:
        """What this member tells when it joins."""
        self.unfinished = False
        place = ConsumerProtocolSubscription.TopicPartition
        return ConsumerProtocolSubscription(
            version=_SCHEMA,
            topics=sorted(topics),
            user_data=b"",
            owned_partitions=[place(topic=topic, partitions=numbers) for topic, numbers in _by_topic(self.held())],
            generation_id=self._generation,
        )

    def on_assignment(self, assignment: Any, generation: int) -> None:
        """What is held from now on was given in this generation."""
        self._generation, self._given_at = generation, time.monotonic()

    def overdue(self) -> bool:
        """As the leader: nobody has asked for the rebalance in which the rest is given."""
        return self.unfinished and time.monotonic() - self._given_at > FOLLOW_UP_SECONDS

    def assign(self, cluster: Any, members: Iterable[Any]) -> dict[str, Any]:
        """Member id -> what it is given, by the member that leads."""
        told = {member.member_id: _member(member.metadata) for member in members}
        owned = owners(told)
        wanted = targets(told, _sizes(cluster, told), owned)
        now = given(wanted, owned)
        self.unfinished = sum(map(len, now.values())) < len(wanted)
        return {name: _assignment(now.get(name, ())) for name in told}


def _member(told: Any) -> Member:
    held = frozenset(Partition(place.topic, n) for place in told.owned_partitions or () for n in place.partitions)
    return Member(frozenset(told.topics), held, told.generation_id)


def _sizes(cluster: Any, members: dict[str, Member]) -> dict[str, int]:
    """Topic -> partitions. A leader that knows fewer than a reader holds has not heard of them: topics only grow."""
    sizes = {t: len(cluster.partitions_for_topic(t) or ()) for member in members.values() for t in member.topics}
    for member in members.values():
        for partition in member.held:
            if partition.topic in member.topics:
                sizes[partition.topic] = max(sizes[partition.topic], partition.number + 1)
    return sizes


def _assignment(partitions: Iterable[Partition]) -> Any:
    return ConsumerProtocolAssignment(_SCHEMA, _by_topic(partitions), b"")


def _by_topic(partitions: Iterable[tuple[str, int]]) -> list[tuple[str, list[int]]]:
    """(topic, numbers), both in order."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for topic, number in sorted(partitions):
        found[topic].append(number)
    return list(found.items())
