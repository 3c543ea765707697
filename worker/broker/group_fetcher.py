"""Bytes by the group's own consumer, of kafka-python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kafka import TopicPartition

from worker.broker.faults import Polls, called
from worker.broker.reader import record_of
from worker.broker.starts import Starts
from worker.records import Partition, Record

# A call that needs an answer from the broker gives up after this long; the loop repeats it.
CALL_TIMEOUT_MS = 5_000


class GroupFetcher:
    """worker.ports.Fetcher on the consumer that is the group's member: its poll also keeps the membership."""

    def __init__(self, consumer: Any, starts: Starts) -> None:
        """`consumer`: what `strict_consumer` gives; whoever made it closes it."""
        self._consumer, self._starts, self._polls = consumer, starts, Polls(consumer)

    def poll(self, timeout_seconds: float, held: Callable[[], Mapping[Partition, int]]) -> list[Record]:
        """See worker.ports.Fetcher."""
        self._unblock()
        batches = self._polls.poll(timeout_seconds)
        leases = held()
        found = ((leases.get(partition_of(place)), batch) for place, batch in batches.items())
        return [record_of(raw, lease) for lease, batch in found if lease is not None for raw in batch]

    def _unblock(self) -> None:
        """kafka-python 3.0.12 gives records that were parked by a pause back only when no drained batch is left in its
        hand, and it keeps the last drained batch there: a resumed partition then stays silent for ever."""
        fetcher = self._consumer._fetcher
        if not fetcher._next_partition_records:
            fetcher._next_partition_records = None

    def needs_time(self) -> bool:
        """The group has more to say to this member than a poll that does not wait can hear."""
        if self._consumer.config["group_id"] is None:
            return False
        coordinator = self._consumer._coordinator
        return bool(coordinator.need_rejoin() or coordinator.coordinator_id is None)

    def position(self, partition: Partition) -> int | None:
        """See worker.ports.Fetcher."""
        found: int | None = called(self._consumer.position, topic_partition(partition), timeout_ms=CALL_TIMEOUT_MS)
        return found

    def known_position(self, partition: Partition) -> int | None:
        """The position, as far as it is known without a question."""
        state = self._consumer._subscription.assignment.get(topic_partition(partition))
        return None if state is None or state.position is None else int(state.position.offset)

    def seek(self, partition: Partition, offset: int) -> None:
        """See worker.ports.Fetcher."""
        self._consumer.seek(topic_partition(partition), offset)

    def seek_to_start(self, partitions: Iterable[Partition]) -> None:
        """See worker.ports.Fetcher."""
        self._starts.seek(map(topic_partition, partitions))

    @property
    def paused(self) -> set[Partition]:
        """See worker.ports.Fetcher."""
        return {partition_of(tp) for tp in self._consumer.paused()}

    def pause(self, partitions: Iterable[Partition]) -> None:
        """See worker.ports.Fetcher."""
        self._consumer.pause(*self._assigned(partitions))

    def resume(self, partitions: Iterable[Partition]) -> None:
        """See worker.ports.Fetcher."""
        self._consumer.resume(*self._assigned(partitions))

    def _assigned(self, partitions: Iterable[Partition]) -> set[TopicPartition]:
        """A poll that fails after a rebalance has taken partitions away tells of it only the next time."""
        held = self._consumer.assignment()
        return {tp for tp in map(topic_partition, partitions) if tp in held}

    def close(self) -> None:
        """Nothing: the consumer is the group's."""


def topic_partition(partition: Partition) -> TopicPartition:
    """As kafka-python names it."""
    return TopicPartition(partition.topic, partition.number)


def partition_of(raw: Any) -> Partition:
    """Of a record or a TopicPartition."""
    return Partition(raw.topic, raw.partition)
