"""Live events -> Kafka: in order, within a bound of memory, and told where Kafka is slow or away."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from schemas import names
from worker.errors import Fatal, Retryable, TooLarge
from worker.ops.catalogue import Name
from worker.ports.ops import Health, Log
from worker.records import Outgoing

BUFFER_BYTES = 64 * 2**20
# What one call of `publish` takes: a bound on what is sent again after a failure.
_BATCH_EVENTS, _BATCH_BYTES = 500, 4 * 2**20
# An event that Kafka has not acknowledged for so long is told: a healthy broker takes milliseconds.
SLOW_SECONDS = 2.0
_AGAIN_SECONDS = 0.5
_EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """One event of a live source.

    Attributes:
        stream: the configured stream, a label of metrics.
        time_us: event time, microseconds since 1970.
        attributes: CloudEvents extension attributes; names of lower-case letters and digits.
    """

    stream: str
    topic: str
    key: str
    id: str
    source: str
    type: str
    time_us: int
    content_type: str
    body: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)

    def record(self) -> Outgoing:
        """The Kafka record: CloudEvents 1.0 in binary mode.

        Raises:
            ValueError: an attribute's name that CloudEvents does not allow.
        """
        at = (_EPOCH + timedelta(microseconds=self.time_us)).isoformat(timespec="microseconds") + "Z"
        headers = {
            names.CE_SPECVERSION: names.SPEC_VERSION, names.CE_ID: self.id, names.CE_SOURCE: self.source,
            names.CE_TYPE: self.type, names.CE_TIME: at, names.CONTENT_TYPE: self.content_type,
        }  # fmt: skip
        for name, value in self.attributes.items():
            if not (name.isascii() and name.isalnum() and name == name.lower()) or names.CE_PREFIX + name in headers:
                raise ValueError(f"attribute {name!r}: an extension attribute has lower-case letters and digits alone")
            headers[names.CE_PREFIX + name] = value
        return Outgoing(self.topic, self.key.encode(), self.body, tuple((n, v.encode()) for n, v in headers.items()))


@dataclass(frozen=True, slots=True)
class _Put:
    """An event and when it was put, in monotonic seconds."""

    since: float
    event: LiveEvent
    settled: Callable[[], None] | None


def _settle(done: Sequence[_Put]) -> None:
    for one in done:
        if one.settled is not None:
            one.settled()


class Outlet:
    """Takes events from any number of threads and publishes them in the order in which they came.

    Guarantees: an event that `put` took is published, or counted as dropped with its reason: `buffer_full` (the oldest
    go, where a live source does not wait), `too_large` (Kafka does not take it), `stopped` (Kafka took no more when the
    process had to end). After a failure up to one batch is sent again: same ids, so readers take it as one event.
    """

    def __init__(
        self,
        publish: Callable[[Sequence[Outgoing]], None],
        observer: Any,
        health: Health,
        log: Log,
        *,
        buffer_bytes: int = BUFFER_BYTES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`publish` returns when Kafka has acknowledged all of it, and raises Retryable, TooLarge or Fatal;
        `observer` is a PrometheusObserver; `monotonic` gives seconds that never go back."""
        self._publish, self._observer, self._health, self._log = publish, observer, health, log
        self._bound, self._monotonic = buffer_bytes, monotonic
        self._changed = threading.Condition()
        self._waiting: deque[_Put] = deque()
        self._sending: list[_Put] = []
        self._bytes, self._slow, self._ended, self._given_up = 0, False, False, False
        self.failed: Fatal | None = None
        self.sent = 0
        observer.ask(Name.FEED_BUFFERED, self.buffered_bytes, place="outlet")
        observer.ask(Name.FEED_BEHIND, self.behind_seconds, place="outlet")
        self._thread = threading.Thread(target=self._run, name="outlet", daemon=True)
        self._thread.start()

    def put(self, event: LiveEvent, *, wait: bool = False, settled: Callable[[], None] | None = None) -> None:
        """Takes one event. Past the bound it waits for room (`wait`), or the oldest events are dropped and counted.

        `settled` is called by the outlet's thread once Kafka has the event, or will never take it. An event with
        `settled` is not dropped for room: whoever sends it again bounds how many there are.

        Raises:
            Fatal: Kafka refuses for good what repeating cannot help, such as missing rights.
        """
        with self._changed:
            self._tell_slow()
            while wait and self._bytes + len(event.body) > self._bound and self._bytes and not self._over():
                self._changed.wait(0.2)
                self._tell_slow()
            if self.failed is not None:
                raise self.failed
            self._waiting.append(_Put(self._monotonic(), event, settled))
            self._bytes += len(event.body)
            self._make_room()
            self._changed.notify_all()

    def _make_room(self) -> None:
        while self._bytes > self._bound and len(self._waiting) > 1:
            place = next((n for n, one in enumerate(self._waiting) if one.settled is None), len(self._waiting))
            if place >= len(self._waiting) - 1:
                return
            self._drop(self._waiting[place].event, "buffer_full")
            del self._waiting[place]

    def buffered_bytes(self) -> float:
        """Bodies that Kafka has not acknowledged."""
        return float(self._bytes)

    def behind_seconds(self) -> float:
        """How long the oldest of them has waited."""
        with self._changed:
            return self._age()

    def close(self, timeout_seconds: float) -> int:
        """Publishes what is there, for so long at most; the number of events that are left, which are counted."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(timeout_seconds)
        with self._changed:
            self._given_up = True
            left = [one.event for one in (*self._sending, *self._waiting)]
            for event in left:
                self._drop(event, "stopped")
            self._sending, self._waiting = [], deque()
            self._changed.notify_all()
        return len(left)

    def _over(self) -> bool:
        return self._ended or self.failed is not None

    def _age(self) -> float:
        oldest = self._sending or self._waiting
        return self._monotonic() - oldest[0].since if oldest else 0.0

    def _tell_slow(self) -> None:
        if not self._slow and self._age() > SLOW_SECONDS:
            self._slow = True
            self._health.block("kafka", f"Kafka has not acknowledged an event for {SLOW_SECONDS:g} s")
            self._log.warning("Kafka is slow or away", behind_seconds=round(self._age(), 1), bytes=self._bytes)

    def _drop(self, event: LiveEvent, reason: str) -> None:
        self._bytes -= len(event.body)
        self._observer.count(Name.FEED_DROPPED, stream=event.stream, reason=reason)

    def _run(self) -> None:
        while self._take():
            try:
                self._publish([one.event.record() for one in self._sending])
            except TooLarge as error:
                self._without(error)
            except Retryable as error:
                self._again(str(error))
            except Fatal as error:
                with self._changed:
                    self.failed = error
                    self._health.block("kafka", str(error))
                    self._changed.notify_all()
                return
            else:
                self._acknowledged()

    def _take(self) -> bool:
        """Whether there is something to send, or to send again; waits until there is."""
        with self._changed:
            while not self._sending and not self._waiting:
                if self._ended:
                    return False
                self._changed.wait()
            size = 0
            while not self._again_first(size):
                self._sending.append(self._waiting.popleft())
                size += len(self._sending[-1].event.body)
            return not self._given_up

    def _again_first(self, size: int) -> bool:
        """A batch that failed goes again as it was; else it is filled up to the bounds."""
        again = bool(self._sending) and size == 0
        return again or not self._waiting or len(self._sending) >= _BATCH_EVENTS or size >= _BATCH_BYTES

    def _acknowledged(self) -> None:
        with self._changed:
            done = self._sending
            for one in done:
                self._bytes -= len(one.event.body)
                self._observer.count(Name.FEED_SENT, stream=one.event.stream)
                self.sent += 1
            self._sending = []
            if self._slow and self._age() <= SLOW_SECONDS:
                self._slow = False
                self._health.clear("kafka")
                self._log.info("Kafka takes events again", bytes=self._bytes)
            self._changed.notify_all()
        _settle(done)

    def _without(self, error: TooLarge) -> None:
        with self._changed:
            done = [self._sending[place] for place in error.places]
            for event in (one.event for one in done):
                self._drop(event, "too_large")
                self._log.warning("too large for its topic", id=event.id, bytes=len(event.body), topic=event.topic)
            self._sending = [kept for n, kept in enumerate(self._sending) if n not in error.places]
        _settle(done)

    def _again(self, said: str) -> None:
        with self._changed:
            self._tell_slow()
            self._log.warning("not published; tried again", reason=said)
            self._changed.wait_for(lambda: self._given_up, _AGAIN_SECONDS)
