"""The watch over the logs' ends: what ends its thread is heard, since without it no wait would ever end."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from worker.broker import ends
from worker.broker.ends import EndsWatch
from worker.records import Partition


def test_what_ends_the_watch_is_heard_by_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody foresaw stops the worker instead of every max_wait clock, in silence."""

    def stumble(*_: object, **__: object) -> None:
        raise AttributeError("a new fault of the client")

    monkeypatch.setattr(ends, "KafkaConsumer", lambda **_: SimpleNamespace(end_offsets=stumble))
    watch = EndsWatch({})
    watch.watch([Partition("frames", 0)])
    watch._thread.join(3)
    with pytest.raises(AttributeError, match="a new fault"):
        watch.latest()
    watch.close()


def test_a_connection_that_cannot_even_be_closed_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka is away: that is no error of the watch's own."""
    made: list[int] = []

    def away(*_: object, **__: object) -> None:
        raise ends.KafkaError("away")

    def make(**_: object) -> SimpleNamespace:
        made.append(len(made))
        return SimpleNamespace(end_offsets=away, close=away)

    monkeypatch.setattr(ends, "KafkaConsumer", make)
    watch = EndsWatch({})
    watch.watch([Partition("frames", 0)])
    deadline = time.monotonic() + 3
    while len(made) < 2 and time.monotonic() < deadline:
        watch.latest()
        time.sleep(0.02)
    watch.close()
    assert len(made) >= 2
