"""Records of Kafka topics -> events; an offset is committed when Kafka has the events of all before it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from worker.broker.intake import Intake as Records
from worker.broker.source import KafkaSource
from worker.errors import Retryable
from worker.feeds.messages.intake import Intake
from worker.feeds.messages.translate import Message
from worker.ports.ops import Health, Log
from worker.records import Partition, Record

CLOCK = "record"
_TURN_SECONDS, _AGAIN_SECONDS, _LEAVE_SECONDS = 0.1, 0.5, 3.0
# Read and not yet written: past it reading pauses.
_MOST_OPEN, _MOST_BYTES = 5_000, 32 * 2**20
_AHEAD_US = 30_000_000


class _Open:
    """A record of which Kafka does not have the event yet."""

    __slots__ = ("is_settled", "record", "size")

    def __init__(self, record: Record) -> None:
        self.record, self.size, self.is_settled = record, len(record.value or b""), False

    def settle(self) -> None:
        self.is_settled = True


class KafkaMessages:
    """One member of the feed's group.

    Guarantees: what was read is an event, or counted, before its offset is committed; after a crash it is read again,
    and gives the same events, with the same ids and times.
    """

    def __init__(
        self, topics: Sequence[str], make: Callable[[], Records], intake: Intake, health: Health, log: Log,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:  # fmt: skip
        """`make` joins the group; `now_us` is the wall clock."""
        self._topics, self._make, self._intake, self._health, self._log = list(topics), make, intake, health, log
        self._now_us = now_us
        self._records: Records | None = None
        self._open: dict[Partition, deque[_Open]] = {}
        self._bytes = self._count = 0
        self._lost: str | None = None
        self.name = f"records of {', '.join(topics)}"

    def run(self, stop: threading.Event) -> None:
        """Reads until `stop`; while Kafka is away it asks again.

        Raises:
            Fatal: offsets are gone, access is denied, or Kafka refuses an event for good.
        """
        self._health.block(self.name, "has not joined the group yet")
        while not stop.is_set():
            self._turn(stop, more=self._count < _MOST_OPEN and self._bytes < _MOST_BYTES)
        self._intake.end()
        until = time.monotonic() + _LEAVE_SECONDS
        while self._count and self._lost is None and time.monotonic() < until:
            self._turn(stop, more=False, takes=False)
        if self._records is not None:
            self._records.close()

    def _turn(self, stop: threading.Event, more: bool, takes: bool = True) -> None:
        """`more`: whether records are asked for; `takes`: whether those that come are taken, or left to a successor."""
        try:
            if self._records is None:
                self._records = self._make()
                self._log.info("listens", topics=self._topics)
            found, gone = self._records.poll(_TURN_SECONDS, more)
        except Retryable as error:
            self._tell_lost(str(error))
            stop.wait(_AGAIN_SECONDS)
            return
        self._tell_back()
        for partition in gone:
            self._forget(partition)
        for record in found if takes else ():
            self._take(record)
        self._intake.due(_stamp_us(found[-1], self._now_us()) if found else self._now_us())
        self._commit(self._records)

    def _take(self, record: Record) -> None:
        one = _Open(record)
        self._open.setdefault(record.lies_on, deque()).append(one)
        self._bytes += one.size
        self._count += 1
        key = (record.key or b"").decode("utf-8", "replace")
        at_us = _stamp_us(record, self._now_us())
        self._intake.take(
            Message(record.topic, record.value or b"", at_us, key, record.place, CLOCK, settled=one.settle)
        )

    def _forget(self, partition: Partition) -> None:
        """Another member reads these again; what is on its way is written twice, with the same ids."""
        for one in self._open.pop(partition, ()):
            self._bytes -= one.size
            self._count -= 1

    def _commit(self, records: Records) -> None:
        for waiting in self._open.values():
            while waiting and waiting[0].is_settled:
                one = waiting.popleft()
                self._bytes -= one.size
                self._count -= 1
                records.done(one.record, "")
        try:
            if records.uncommitted:
                records.commit()
        except Retryable as error:
            self._tell_lost(str(error))

    def _tell_lost(self, reason: str) -> None:
        self._health.block(self.name, reason)
        if self._lost is None:
            self._log.warning("Kafka gives no records; asked again", reason=reason)
        self._lost = reason

    def _tell_back(self) -> None:
        if self._lost is not None:
            self._log.info("Kafka gives records again")
        self._lost = None
        self._health.clear(self.name)


def reader_of(connection: Any, options: Any, topics: Sequence[str]) -> Callable[[], Records]:
    """What joins the group and reads the topics."""
    return lambda: Records(partial(KafkaSource, connection, options, list(topics)), lambda *_: None)


def _stamp_us(record: Record, now_us: int) -> int:
    """Its own time, unless it has none that a producer could have meant."""
    at_us = record.timestamp_ms * 1000
    return at_us if 0 <= at_us <= now_us + _AHEAD_US else now_us
