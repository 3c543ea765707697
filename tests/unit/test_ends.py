"""The watch over the logs' ends: a part that cannot be asked fails alone, and what ends its thread is heard."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.errors import KafkaError
from kafka.future import Future
from kafka.structs import OffsetAndTimestamp

from worker.broker import ends
from worker.broker.ends import EndsWatch
from worker.records import Partition

A, B, C = (Partition("frames", n) for n in range(3))


class Brokers:
    """Two of them: partition 0 and 2 are led by the first, 1 by the second; what each answers is the test's."""

    def __init__(self, answers: dict[Any, Any]) -> None:
        self.answers, self.made = answers, 0

    def __call__(self, connection: Any, topics: Any, heard: Callable[[], None]) -> Brokers:
        self.made += 1
        return self

    def leaders(self, partitions: Sequence[TopicPartition]) -> dict[int, list[TopicPartition]]:
        led: dict[int, list[TopicPartition]] = {}
        for one in partitions:
            led.setdefault(one.partition % 2, []).append(one)
        return {leader: some for leader, some in led.items() if self.answers.get(leader) != "no leader"}

    def ends(self, leader: int, partitions: Sequence[TopicPartition]) -> Any:
        answer = self.answers[leader]
        if answer == "hangs":
            return Future()
        if isinstance(answer, Exception):
            return Future().failure(answer)
        return Future().success(({one: OffsetAndTimestamp(answer, -1, -1) for one in partitions}, set()))

    def counts(self) -> Any:
        return Future().success({"frames": (self.answers["count"], self.answers.get("id"))})

    def close(self, timeout_ms: int) -> None:
        raise KafkaError("away")


def until(found: Callable[[], object]) -> None:
    """Waits until it is so."""
    deadline = time.monotonic() + 5
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("fault", ["hangs", "no leader", KafkaError("away"), KeyError(TopicPartition("frames", 1))])
def test_a_part_that_cannot_be_asked_fails_alone(monkeypatch: pytest.MonkeyPatch, fault: Any) -> None:
    """The others' ends go on; its own last answer stays, with the time when it was asked for."""
    brokers = Brokers({0: 10, 1: 20})
    monkeypatch.setattr(ends, "Questions", brokers)
    watch = EndsWatch({})
    watch.watch([A, B, C])
    until(lambda: watch.latest().keys() == {A, B, C})
    brokers.answers[1] = fault
    before = watch.latest()
    brokers.answers[0] = 11
    until(lambda: watch.latest()[A][0] == 11)
    frozen = watch.latest()[B]
    asked_at = watch.latest()[A][1]
    until(lambda: watch.latest()[A][1] > asked_at)
    assert watch.latest()[C][0] == 11
    assert watch.latest()[B] == frozen
    assert frozen[0] == before[B][0] == 20
    brokers.answers[1] = 21
    if fault != "hangs":
        until(lambda: watch.latest()[B][0] == 21)
    watch.close()


def test_the_count_of_partitions_tells_when_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never is 0.0; a broker that has not heard of a new partition yet takes none away."""
    brokers = Brokers({"count": 3})
    monkeypatch.setattr(ends, "Questions", brokers)
    began = time.monotonic()
    watch = EndsWatch({}, ["frames"])
    assert watch.count("texts") == (0, 0.0)
    until(lambda: watch.count("frames")[0] == 3)
    first = watch.count("frames")[1]
    assert began <= first <= time.monotonic()
    brokers.answers["count"] = 4
    until(lambda: watch.count("frames")[0] == 4)
    assert watch.count("frames")[1] > first
    brokers.answers["count"] = 3
    second = watch.count("frames")[1]
    until(lambda: watch.count("frames")[1] > second)
    assert watch.count("frames")[0] == 4
    watch.close()


def test_what_ends_the_watch_is_heard_by_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody foresaw stops the worker instead of every max_wait clock, in silence."""
    monkeypatch.setattr(ends, "Questions", Brokers({0: AttributeError("a new fault of the client")}))
    watch = EndsWatch({})
    watch.watch([A])
    watch._thread.join(3)
    with pytest.raises(AttributeError, match="a new fault"):
        watch.latest()
    watch.close()


def test_connections_that_say_nothing_any_more_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka is away: that is no error of the watch's own, also where they cannot even be closed."""
    brokers = Brokers({0: KafkaError("away")})
    monkeypatch.setattr(ends, "Questions", brokers)
    monkeypatch.setattr(ends, "SILENCE_SECONDS", 0.2)
    watch = EndsWatch({})
    watch.watch([A])
    until(lambda: brokers.made >= 2)
    assert watch.latest() == {}
    watch.close()
