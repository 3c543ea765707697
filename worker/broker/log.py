"""Places and times -> records of the log, without a group: nothing is committed and nobody is disturbed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError

from worker.broker.admin import partitions_of
from worker.broker.reader import away, record_of
from worker.broker.unpack import lone_consumer
from worker.errors import Unreachable
from worker.records import Partition, Record

# A fetch that brings nothing for this long is Kafka being away, not a quiet topic: only offsets that exist are read.
SILENCE_SECONDS = 20.0
POLL_MS = 500
# Up to so many records are read over rather than sought past: a seek throws away what the client has fetched ahead.
FAR_RECORDS = 500


class LogReader:
    """Committed records by their places. Used by one thread."""

    def __init__(self, connection: Mapping[str, Any]) -> None:
        """`connection`: what `connection_options` gives.

        Raises:
            Unreachable: no broker answered.
        """
        self._connection = connection
        try:
            self._consumer = lone_consumer(connection)
        except KafkaError as error:
            raise away(error) from error

    def bounds(self, topic: str) -> dict[Partition, tuple[int, int]]:
        """Per partition the first offset that retention has left and the committed end; empty: no such topic."""
        count = partitions_of(self._connection, [topic]).get(topic, 0)
        places = [TopicPartition(topic, number) for number in range(count)]
        if not places:
            return {}
        try:
            first, end = self._consumer.beginning_offsets(places), self._consumer.end_offsets(places)
        except KafkaError as error:
            raise away(error) from error
        return {Partition(topic, at.partition): (int(first[at]), int(end[at])) for at in places}

    def record_at(self, partition: Partition, offset: int) -> Record | None:
        """The record at an offset within the bounds; None where there is none: a transaction's marker, or aborted."""
        found = next(self.records(partition, offset, offset + 1), None)
        return found if found is not None and found.offset == offset else None

    def between(self, topic: str, from_ms: int, until_ms: int | None) -> Iterator[Record]:
        """All partitions' records from the first of `from_ms` on, up to the first of `until_ms` or the committed end.

        Times are the records' own, in milliseconds; within a partition they need not rise.
        """
        bounds = self.bounds(topic)
        begins = self._offsets_at(bounds, from_ms)
        ends = self._offsets_at(bounds, until_ms) if until_ms is not None else dict.fromkeys(bounds)
        for partition, (_, end) in bounds.items():
            begin, until = begins[partition], ends[partition]
            if begin is not None:
                yield from self.records(partition, begin, end if until is None else min(until, end))

    def _offsets_at(self, partitions: Mapping[Partition, object], at_ms: int) -> dict[Partition, int | None]:
        """Per partition the first offset whose record is as young as `at_ms`; None: there is none."""
        if not partitions:
            return {}
        asked = {TopicPartition(one.topic, one.number): max(0, at_ms) for one in partitions}
        try:
            found = self._consumer.offsets_for_times(asked)
        except KafkaError as error:
            raise away(error) from error
        return {Partition(at.topic, at.partition): None if one is None else one.offset for at, one in found.items()}

    def records(self, partition: Partition, begin: int, end: int) -> Iterator[Record]:
        """The records of a partition from `begin` on, below `end`.

        Raises:
            Unreachable: Kafka brought nothing for SILENCE_SECONDS, or refused.
            Fatal: a batch cannot be unpacked.
        """
        place = self._go(partition, begin)
        deadline, at = time.monotonic() + SILENCE_SECONDS, begin
        while (position := self._position(place)) < end:
            if position > at:
                deadline, at = time.monotonic() + SILENCE_SECONDS, position
            if time.monotonic() > deadline:
                raise Unreachable(f"Kafka brings nothing of {place.topic}/{place.partition} from offset {position} on")
            for record in self._poll():
                if record.offset < end:
                    yield record

    def pick(self, partition: Partition, offsets: Sequence[int]) -> Iterator[Record]:
        """The records at these offsets, which rise; those that are gone by now are left out."""
        runs: list[list[int]] = []
        for offset in offsets:
            if runs and offset - runs[-1][-1] <= FAR_RECORDS:
                runs[-1].append(offset)
            else:
                runs.append([offset])
        first, _ = self.bounds(partition.topic)[partition]
        for run in runs:
            wanted = {offset for offset in run if offset >= first}
            if wanted:
                found = self.records(partition, min(wanted), run[-1] + 1)
                yield from (record for record in found if record.offset in wanted)

    def _go(self, partition: Partition, offset: int) -> TopicPartition:
        place = TopicPartition(partition.topic, partition.number)
        self._consumer.assign([place])
        self._consumer.seek(place, offset)
        return place

    def _position(self, place: TopicPartition) -> int:
        try:
            return int(self._consumer.position(place))
        except KafkaError as error:
            raise away(error) from error

    def _poll(self) -> list[Record]:
        try:
            polled = self._consumer.poll(timeout_ms=POLL_MS)
        except KafkaError as error:
            raise away(error) from error
        return [record_of(raw) for batch in polled.values() for raw in batch]

    def close(self) -> None:
        """Ends the consumer."""
        self._consumer.close(autocommit=False)
