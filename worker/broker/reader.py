"""Topics -> committed records, without a group: what a read_committed consumer sees, from the first record on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError

from worker.broker.admin import partitions_of
from worker.broker.unpack import lone_consumer
from worker.errors import Unreachable
from worker.records import Partition, Record


class CommittedReader:
    """Reads every partition of some topics from their beginning, or from a time on. Used by one thread."""

    def __init__(
        self, connection: Mapping[str, Any], topics: Sequence[str], since_ms: Mapping[str, int] | None = None
    ) -> None:
        """`connection`: what `connection_options` gives; `since_ms`: of a topic the least record time, milliseconds.

        Raises:
            Unreachable: no broker answered.
        """
        self._places = [TopicPartition(topic, n) for topic, count in partitions_of(connection, topics).items()
                        for n in range(count)]  # fmt: skip
        try:
            self._consumer = lone_consumer(connection)
        except KafkaError as error:
            raise away(error) from error
        self._consumer.assign(self._places)
        self._consumer.seek_to_beginning(*self._places)
        self._seek_to_times(since_ms or {})

    def read(self, timeout_seconds: float) -> list[Record]:
        """The next committed records, after at most `timeout_seconds`; per partition in order.

        Raises:
            Unreachable: Kafka refused.
            Fatal: a batch cannot be unpacked.
        """
        try:
            polled = self._consumer.poll(timeout_ms=int(timeout_seconds * 1000))
        except KafkaError as error:
            raise away(error) from error
        return [record_of(raw) for batch in polled.values() for raw in batch]

    def _seek_to_times(self, since_ms: Mapping[str, int]) -> None:
        asked = {place: max(0, since_ms[place.topic]) for place in self._places if place.topic in since_ms}
        if not asked:
            return
        try:
            for place, found in self._consumer.offsets_for_times(asked).items():
                if found is None:
                    self._consumer.seek_to_end(place)
                else:
                    self._consumer.seek(place, found.offset)
        except KafkaError as error:
            raise away(error) from error

    def ends(self) -> dict[Partition, int]:
        """Where what is committed ends now; for `reached`.

        Raises:
            Unreachable: Kafka did not answer.
        """
        try:
            found = self._consumer.end_offsets(self._places)
        except KafkaError as error:
            raise away(error) from error
        return {Partition(place.topic, place.partition): int(end) for place, end in found.items()}

    def reached(self, ends: Mapping[Partition, int]) -> bool:
        """True when all of it was read.

        Raises:
            Unreachable: Kafka did not answer.
        """
        try:
            places = {TopicPartition(one.topic, one.number): end for one, end in ends.items()}
            return all(self._consumer.position(place) >= end for place, end in places.items())
        except KafkaError as error:
            raise away(error) from error

    def at_end(self) -> bool:
        """True when every record that is committed by now was read.

        Raises:
            Unreachable: Kafka did not answer.
        """
        return self.reached(self.ends())

    def close(self) -> None:
        """Ends the consumer."""
        self._consumer.close(autocommit=False)


def record_of(raw: Any, lease: int = 0) -> Record:
    """A record of kafka-python as ours; `lease`: under which assignment it was read."""
    headers = tuple(raw.headers)
    return Record(raw.topic, raw.partition, raw.offset, raw.timestamp, raw.key, raw.value, headers, lease)


def away(error: KafkaError) -> Unreachable:
    """What a reader raises for an error of kafka-python's."""
    return Unreachable(f"Kafka does not answer a reader ({type(error).__name__}: {error})")
