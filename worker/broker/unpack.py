"""Fetched bytes -> records, or one clear end of the process: the reading consumers of this room are made here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kafka import KafkaConsumer
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError, KafkaError

from worker.broker.copies import copy_less
from worker.broker.faults import unreadable
from worker.broker.options import FETCH_WAIT_MS
from worker.broker.rebalance import Coordinator
from worker.errors import Fatal


def strict_consumer(**options: Any) -> Any:
    """A KafkaConsumer whose polls raise Fatal at a batch that cannot be unpacked, this time and every time, and whose
    joins are kept (see Coordinator).

    kafka-python 3.0.12 tells of such a batch once, or not at all if its partition is paused at that moment, and then
    turns for ever inside one poll: it waits for more of an iterator that has ended with the error.
    """
    copy_less()
    consumer = KafkaConsumer(**options)
    if consumer._coordinator is not None:
        consumer._coordinator.__class__ = Coordinator
    fetcher = consumer._fetcher
    fetcher.PartitionRecords = _Records
    fetcher._parse_fetched_data = _refusing(fetcher._parse_fetched_data)
    return consumer


def lone_consumer(connection: Mapping[str, Any]) -> Any:
    """A strict consumer of committed records without a group: its partitions and places are given by hand, and an
    offset that is not there is an error.

    Raises:
        KafkaError: no broker answered.
    """
    return strict_consumer(
        **connection,
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="none",
        allow_auto_create_topics=False,
        fetch_max_wait_ms=FETCH_WAIT_MS,
    )


def _unreadable(place: Any, offset: int, error: Exception) -> Fatal:
    return unreadable(place.topic, place.partition, offset, f"{type(error).__name__}: {error}")


def _refusing(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What the client would ask for again without end: the broker calls its own log corrupt, or a batch has no end."""

    def parsed(fetch: Any) -> Any:
        try:
            if fetch.partition_data.error_code == CorruptRecordError.errno:
                raise CorruptRecordError("the broker says so")
            return parse(fetch)
        except KafkaError as error:
            if type(error) in (CorruptRecordError, KafkaError):
                raise _unreadable(fetch.topic_partition, fetch.fetched_offset, error) from error
            raise

    return parsed


class _Records(Fetcher.PartitionRecords):  # type: ignore[misc]
    """What one fetch brought of one partition; once broken, it stays so."""

    _broken: Fatal | None = None

    def _unpack_records(self, *args: Any) -> Iterator[Any]:
        try:
            yield from super()._unpack_records(*args)
        except Exception as error:  # Decompressors raise what they like, and each means the same.
            self._broken = _unreadable(self.topic_partition, self.next_fetch_offset, error)
            raise self._broken from error

    def take(self, n: int | None = None) -> list[Any]:
        """The next records. Raises Fatal where they cannot be unpacked."""
        if self._broken is not None:
            raise self._broken
        taken: list[Any] = super().take(n)
        return taken
