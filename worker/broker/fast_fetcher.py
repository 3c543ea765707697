"""Bytes by librdkafka: a consumer of its own, whose partitions are assigned by hand."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Place

from worker.broker.group_fetcher import GroupFetcher
from worker.broker.librdkafka import consumer_settings, translated
from worker.broker.odd_names import Headers, Spelt, headers_of, spelt
from worker.broker.places import Places
from worker.errors import ConfigError, Fatal, Retryable
from worker.records import Partition, Record

# The group's consumer is asked so often whether something has changed: a rebalance waits so long for this member.
GROUP_EVERY_SECONDS = 0.05
# In a backlog a poll waits so long for as many records as it may bring.
GATHER_SECONDS = 0.02
# What a parked record costs beside its bytes, about.
RECORD_BYTES = 500


@dataclass(slots=True)
class _Held:
    """A partition under a lease.

    Attributes:
        next: the offset that a poll brings next; None: nobody has told yet where the partition begins.
        ahead: the offset that librdkafka brings next; what lies between is parked.
        is_fetched: librdkafka has it in its assignment.
    """

    partition: Partition
    lease: int
    next: int | None = None
    ahead: int = 0
    is_fetched: bool = False
    is_paused: bool = False
    parked: deque[Record] = field(default_factory=deque)


class FastFetcher:
    """worker.ports.Fetcher on librdkafka.

    The group's consumer keeps its partitions paused, and with them membership, commits, and where a partition begins.

    A paused partition is fetched on until the parked records have filled their share; then librdkafka gives it up and
    takes it again later where it stood. Its own `pause` throws away what it has fetched ahead each time, and the loop
    pauses and resumes all the time.

    Memory: librdkafka's queue takes up to `fetch_max_bytes` and, on top of it, an answer of each broker; parked records
    take up to as much once more.
    """

    def __init__(
        self, group: GroupFetcher, connection: Mapping[str, Any], group_id: str, fetch_max_bytes: int, at_once: int
    ) -> None:
        """`connection`: what `connection_options` gives; `at_once`: the most records of a poll.

        Raises:
            ConfigError: librdkafka does not take the connection's settings.
        """
        self._group, self._at_once, self._most_parked_bytes = group, at_once, fetch_max_bytes
        self._held: dict[Partition, _Held] = {}
        self._parked_bytes, self._group_due, self._is_changed = 0, 0.0, False
        self._failure: Exception | None = None
        self._places = Places(connection)
        settings = {**consumer_settings(connection, group_id, fetch_max_bytes), "error_cb": self._heard}
        try:
            self._consumer = Consumer(settings, logger=logging.getLogger("librdkafka"))
        except KafkaException as error:
            raise ConfigError(f"kafka: librdkafka does not take the settings: {error.args[0].str()}") from error

    def poll(self, timeout_seconds: float, held: Callable[[], Mapping[Partition, int]]) -> list[Record]:
        """See worker.ports.Fetcher."""
        waited = self._keep_membership(timeout_seconds)
        self._hold(held())
        if self._is_changed:
            self._begin()
        found = self._unparked()
        if not found:
            rest = 0.0 if waited else timeout_seconds
            self._fetch(min(rest, GROUP_EVERY_SECONDS) if self._is_changed else rest, found)
        failure = self._failure
        if failure is not None and (not found or isinstance(failure, Fatal)):
            self._failure = failure if isinstance(failure, Fatal) else None
            raise failure
        return found

    def _keep_membership(self, timeout_seconds: float) -> bool:
        """True where the group's consumer has used the time."""
        now, waits = time.monotonic(), self._group.needs_time()
        if waits or now >= self._group_due:
            self._group_due = now + GROUP_EVERY_SECONDS
            self._group.poll(min(timeout_seconds, GROUP_EVERY_SECONDS) if waits else 0.0, dict)
        return waits

    def _hold(self, leases: Mapping[Partition, int]) -> None:
        for partition in self._held.keys() - leases.keys():
            self._stop(self._held.pop(partition))
        for partition, lease in leases.items():
            state = self._held.get(partition)
            if state is None:
                self._held[partition] = _Held(partition, lease)
                self._is_changed = True
            elif state.lease != lease:
                self._stop(state)
                state.lease = lease

    def _begin(self) -> None:
        """Gives librdkafka what it is to fetch."""
        begun, self._is_changed = [], False
        for state in self._held.values():
            if state.is_fetched or state.is_paused:
                continue
            if state.next is None:
                self._go(state, self._group.known_position(state.partition))
            if state.next is not None:
                begun.append(Place(*state.partition, state.ahead))
                state.is_fetched = True
            else:
                self._is_changed = True
        if begun:
            self._consumer.incremental_assign(begun)

    def _go(self, state: _Held, offset: int | None) -> None:
        state.next, state.ahead = offset, offset or 0

    def _stop(self, state: _Held) -> None:
        """Nothing of it comes any more; what was parked will be fetched again."""
        self._give_up(state)
        self._parked_bytes -= sum(map(_cost, state.parked))
        state.parked.clear()
        self._go(state, state.next)

    def _give_up(self, state: _Held) -> None:
        """What librdkafka has of it by then does not come any more: the versions of its partitions differ."""
        self._is_changed = True
        if state.is_fetched:
            state.is_fetched = False
            self._consumer.incremental_unassign([Place(*state.partition)])

    def _unparked(self) -> list[Record]:
        found: list[Record] = []
        for state in self._held.values() if self._parked_bytes else ():
            while state.parked and not state.is_paused and len(found) < self._at_once:
                record = state.parked.popleft()
                self._parked_bytes -= _cost(record)
                state.next = record.offset + 1 if state.parked else state.ahead
                found.append(record)
        return found

    def _fetch(self, timeout_seconds: float, found: list[Record]) -> None:
        """Adds what may be given now."""
        try:
            self._take(self._consumed(timeout_seconds), found)
        except KafkaException as error:
            self._fail(translated(error.args[0]))
        except Retryable as error:
            self._fail(error)
            for state in self._held.values():  # what was not taken comes again
                self._give_up(state)

    def _consumed(self, timeout_seconds: float) -> Sequence[Any]:
        """`consume` by itself waits out its time for as many as it was asked for. That is right in a backlog alone,
        where a turn of the loop costs less for each of many."""
        found: list[Any] = self._consumer.consume(self._at_once, 0)
        if not found and timeout_seconds:
            first = self._consumer.poll(timeout_seconds)
            found = [] if first is None else [first, *self._consumer.consume(self._at_once, 0)]
        if found and len(found) < self._at_once and timeout_seconds and self._is_behind():
            found += self._consumer.consume(self._at_once - len(found), GATHER_SECONDS)
        return found

    def _is_behind(self) -> bool:
        """More than a poll takes lies in the logs already, as librdkafka has heard."""
        left = 0
        for state in self._held.values():
            if state.is_fetched and not state.is_paused:
                end = self._consumer.get_watermark_offsets(Place(*state.partition), cached=True)[1]
                left += max(0, end - state.ahead)
        return left > self._at_once

    def _take(self, messages: Sequence[Any], found: list[Record]) -> None:
        known: Spelt | None = None
        for number, message in enumerate(messages):
            state = self._held.get((message.topic(), message.partition()))  # type: ignore[call-overload]
            if state is None or not state.is_fetched:
                continue
            if message.error() is not None:
                self._heard_of(state, message.error(), message.offset())
                continue
            if (offset := message.offset()) < state.ahead:
                continue
            headers = headers_of(message) if known is None else known[state.partition, offset]
            if headers is None:
                known = spelt(self._places, message, messages[number + 1 :])
                headers = known[state.partition, offset]
            state.ahead = offset + 1
            record = _record(message, state, headers)
            if state.is_paused:
                self._park(state, record)
            else:
                state.next = state.ahead
                found.append(record)

    def _park(self, state: _Held, record: Record) -> None:
        state.parked.append(record)
        self._parked_bytes += _cost(record)
        if self._parked_bytes > self._most_parked_bytes:
            self._give_up(state)

    def _heard(self, error: Any) -> None:
        """librdkafka's own errors. Of one broker of several its log tells; the others go on."""
        failure = translated(error)
        if error.code() == KafkaError._ALL_BROKERS_DOWN or isinstance(failure, Fatal):
            self._fail(failure)

    def _fail(self, failure: Exception) -> None:
        """A refusal is followed by the news that no broker is there."""
        if not isinstance(self._failure, Fatal):
            self._failure = failure

    def _heard_of(self, state: _Held, error: Any, offset: int) -> None:
        offset = max(offset, state.ahead)
        if error.code() != KafkaError._PARTITION_EOF:
            self._fail(translated(error, *state.partition, offset))
        else:  # behind the log's last record lie a transaction's markers, or what was aborted
            state.ahead = offset
            if not state.parked:
                state.next = offset

    def position(self, partition: Partition) -> int | None:
        """See worker.ports.Fetcher."""
        state = self._held.get(partition)
        return self._group.position(partition) if state is None or state.next is None else state.next

    def seek(self, partition: Partition, offset: int) -> None:
        """See worker.ports.Fetcher. The group's consumer goes along: its own place would grow old."""
        self._group.seek(partition, offset)
        if (state := self._held.get(partition)) is not None:
            self._stop(state)
            self._go(state, offset)

    def seek_to_start(self, partitions: Iterable[Partition]) -> None:
        """See worker.ports.Fetcher. Whatever is new in the group's assignment comes by here first."""
        begun = list(partitions)
        self._group.seek_to_start(begun)
        self._group.pause(begun)
        for state in [self._held[one] for one in begun if one in self._held]:
            self._stop(state)
            self._go(state, None)

    @property
    def paused(self) -> set[Partition]:
        """See worker.ports.Fetcher."""
        return {partition for partition, state in self._held.items() if state.is_paused}

    def pause(self, partitions: Iterable[Partition]) -> None:
        """See worker.ports.Fetcher."""
        for state in [self._held[one] for one in partitions if one in self._held]:
            state.is_paused = True

    def resume(self, partitions: Iterable[Partition]) -> None:
        """See worker.ports.Fetcher."""
        for state in [self._held[one] for one in partitions if one in self._held]:
            state.is_paused, self._is_changed = False, True

    def close(self) -> None:
        """Ends librdkafka's consumer."""
        self._consumer.close()
        self._places.close()


def _record(message: Any, state: _Held, headers: Headers) -> Record:
    kind, timestamp_ms = message.timestamp()
    if kind == TIMESTAMP_NOT_AVAILABLE:
        timestamp_ms = -1
    topic, number = state.partition
    return Record(
        topic, number, message.offset(), timestamp_ms, message.key(), message.value(), headers, state.lease
    )  # fmt: skip


def _cost(record: Record) -> int:
    return RECORD_BYTES + len(record.key or b"") + len(record.value or b"")
