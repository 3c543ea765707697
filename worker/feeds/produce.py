"""A story's events -> Kafka, as CloudEvents in binary mode, paced by the clock."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from worker.broker.producer import RecordProducer, record_producer
from worker.feeds.outlet import LiveEvent
from worker.feeds.story import FeedEvent
from worker.records import Outgoing

SOURCE = "/fusion-worker/feeds/"
# Drawing a frame takes about 3 ms, so nothing is drawn when the next event is due sooner than a few of them.
_DRAWING_SECONDS = 0.01
# Events drawn ahead: 15 KB each. Enough to bridge any crowd of frames that are due at once.
_AHEAD = 512
_TELL_EVERY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Produced:
    """One event as it went to Kafka. `sent_ms` is the record's timestamp, `time_us` the event's, both since 1970."""

    event: FeedEvent
    id: str
    time_us: int
    sent_ms: int


@dataclass(frozen=True, slots=True)
class Sent:
    """What a feed has produced.

    Attributes:
        counts: events by stream.
        start_us: event time of the feed's beginning (microseconds since 1970).
        behind_seconds: how far the feed fell behind its pace at most; 0 when it has none.
        stopped: a signal or the caller ended it early.
    """

    counts: Mapping[str, int]
    payload_bytes: int
    start_us: int
    behind_seconds: float
    stopped: bool


def feed(
    connection: Mapping[str, Any],
    topics: Mapping[str, str],
    events: Iterator[FeedEvent],
    *,
    seconds: float,
    seed: int,
    speed: float,
    say: Callable[[str], None],
    prefix: str | None = None,
    stop: threading.Event | None = None,
    heard: Callable[[Produced], None] | None = None,
) -> Sent:
    """Produces a story's events and waits until Kafka has them all; SIGINT ends it early and cleanly.

    Args:
        connection: what `connection_options` gives.
        topics: stream of the story, such as `frames` -> topic.
        events: of a story that lasts `seconds`, in the order in which they are sent.
        speed: event seconds per second of the wall; 0: as fast as it goes.
        prefix: begins every event id; default: the seed and the start, so that no two feeds share an id.
        stop: set by the caller to end it early.
        heard: told of each event as it is handed to Kafka.

    Raises:
        Unreachable: Kafka does not take the records.
    """
    start_us = _start_us(seconds, speed)
    prefix = prefix if prefix is not None else f"{seed}-{start_us:x}"
    run = _Run(topics, start_us, prefix, say, heard)
    with record_producer(connection) as producer:
        stopped = False
        try:
            for event in _paced(events, speed, stop or threading.Event(), run):
                run.send(producer, event)
        except KeyboardInterrupt:
            stopped = True
        producer.flush()
    return run.sent(stopped or (stop is not None and stop.is_set()))


def _start_us(seconds: float, speed: float) -> int:
    """Now, or as much earlier as it takes for the last event not to lie in the future when it is sent."""
    lasts = seconds / speed if speed > 0 else 0.0
    return time.time_ns() // 1000 - int(max(0.0, seconds - lasts) * 1e6)


def _paced(events: Iterator[FeedEvent], speed: float, stop: threading.Event, run: _Run) -> Iterator[FeedEvent]:
    """Yields each event when it is due, and draws the next ones while it waits."""
    if speed <= 0:
        for event in events:
            if stop.is_set():
                return
            yield event
        return
    ahead: deque[FeedEvent] = deque()
    began = time.monotonic()
    while not stop.is_set():
        if not ahead:
            if (first := next(events, None)) is None:
                return
            ahead.append(first)
        left = began + ahead[0].sent_us / 1e6 / speed - time.monotonic()
        if left <= 0:
            run.behind_seconds = max(run.behind_seconds, -left)
            yield ahead.popleft()
        elif left > _DRAWING_SECONDS and len(ahead) < _AHEAD and (drawn := next(events, None)) is not None:
            ahead.append(drawn)
        else:
            stop.wait(left)


class _Run:
    """The counts of one feed, and the form of its records."""

    def __init__(
        self,
        topics: Mapping[str, str],
        start_us: int,
        prefix: str,
        say: Callable[[str], None],
        heard: Callable[[Produced], None] | None,
    ) -> None:
        self.behind_seconds = 0.0
        self._topics, self._start_us, self._prefix, self._say, self._heard = topics, start_us, prefix, say, heard
        self._counts: Counter[str] = Counter(dict.fromkeys(topics, 0))
        self._bytes = 0
        self._tell_at = time.monotonic() + _TELL_EVERY_SECONDS

    def send(self, producer: RecordProducer, event: FeedEvent) -> None:
        """Hands one event over and counts it."""
        produced = Produced(
            event, f"{self._prefix}-{event.id}", self._start_us + event.time_us, time.time_ns() // 1_000_000
        )
        if self._heard is not None:
            self._heard(produced)
        producer.send(cloud_event(self._topics[event.stream], produced), produced.sent_ms)
        self._counts[event.stream] += 1
        self._bytes += len(event.body)
        if time.monotonic() > self._tell_at:
            self._tell_at += _TELL_EVERY_SECONDS
            self._say(f"{' and '.join(f'{count:,} {stream}' for stream, count in self._counts.items())} sent")

    def sent(self, stopped: bool) -> Sent:
        """The counts so far."""
        return Sent(dict(self._counts), self._bytes, self._start_us, self.behind_seconds, stopped)


def cloud_event(topic: str, produced: Produced) -> Outgoing:
    """The Kafka record of an event; key = the place."""
    event = produced.event
    return LiveEvent(
        event.stream, topic, event.key, produced.id, SOURCE + event.type.partition(".")[0], event.type,
        produced.time_us, event.content_type, event.body,
    ).record()  # fmt: skip
