"""Decided anchors await their bodies in their key's order, and hold up nobody else (CONTRACT 4.1, 4.3, 4.6, 4.8)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.source import FakeSource
from tests.unit.test_batch import EchoModel
from tests.unit.worker_in_memory import FRAMES, RULE, TEXTS, InMemory, found, reading, text, workers
from worker.pipeline import progress
from worker.records import Partition, Verdict

SECOND_US = 1_000_000
SLOW = Partition(FRAMES, 0)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., InMemory]]:
    """Workers all of whose bodies lie in Kafka alone, with a ring that holds none."""
    monkeypatch.setattr(progress, "EXCHANGE_EVERY_SECONDS", 0.0)
    with workers() as build:
        yield lambda source, **changes: build(source, **{"inline_bytes": -1, "ring_bytes": 1, **changes})


def feed(source: FakeSource, key: str, partition: int, count: int) -> None:
    """Pairs, a second apart."""
    for second in range(count):
        source.send(reading(second * SECOND_US, key=key, partition=partition))
        source.send(text(second * SECOND_US, key=key, partition=partition))


def until(worker: InMemory, done: Callable[[], bool]) -> bool:
    """Turns until it is so; long enough for a machine that has much else to do."""
    return worker.turn_until(done, 30.0)


def waiting(make: Callable[..., InMemory], count: int) -> InMemory:
    """One whose anchors all await bodies that do not come."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source)
    worker.reader.pick = lambda wanted: []
    feed(source, "k", 0, count)
    assert until(worker, lambda: len(worker.anchors) == count and bool(worker.reader.wanted))
    return worker


def test_a_partition_of_which_nothing_comes_stops_its_keys_alone(make: Callable[..., InMemory]) -> None:
    """Not even when more of its anchors wait than the model has room for; all of them go on once it answers."""
    source = FakeSource({TEXTS: 2, FRAMES: 2})
    worker = make(source)
    worker.reader.slow = {SLOW}
    feed(source, "slow", 0, 200)
    feed(source, "good", 1, 200)
    assert until(worker, lambda: len(found(worker, "good")) == 200)
    assert found(worker, "good") == list(range(200))
    assert found(worker, "slow") == []
    assert len(worker.anchors) == 200
    assert worker.reader.wanted == []
    assert source.commits[Partition(TEXTS, 0)][0] == 0
    worker.reader.slow = set()
    assert until(worker, lambda: len(found(worker, "slow")) == 200)
    assert found(worker, "slow") == list(range(200))


def test_one_that_falls_silent_gives_back_what_it_held(make: Callable[..., InMemory]) -> None:
    """Bodies that have come lie behind one that has not; others of Kafka's partitions need the room."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source, ring_bytes=10_000)
    worker.reader.pick = lambda wanted: wanted[1:]
    feed(source, "k", 0, 50)
    source.send(reading(60 * SECOND_US))
    worker.bodies.most_bytes = 400
    assert until(worker, lambda: len(worker.anchors) == 50 and bool(worker.reader.asked))
    assert 0 < worker.bodies.awaited_bytes <= 100
    worker.reader.slow = {SLOW}
    assert until(worker, lambda: worker.bodies.awaited_bytes == 0)
    assert worker.reader.wanted == []
    worker.reader.slow, worker.reader.pick = set(), lambda wanted: wanted
    assert until(worker, lambda: len(worker.sink.results) == 50)
    assert found(worker, "k") == list(range(50))


def test_what_anchors_hold_and_await_is_bounded(make: Callable[..., InMemory]) -> None:
    """By a quarter of the bound on bodies, or by one anchor's where that has more."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    size = len(b'{"speed": 1}')
    worker = make(source, ring_bytes=8 * size)
    highest = 0

    def look() -> bool:
        nonlocal highest
        highest = max(highest, len(worker.reader.wanted))
        return len(worker.sink.results) == 40

    worker.reader.pick = lambda wanted: wanted[:1]
    feed(source, "k", 0, 40)
    assert until(worker, look)
    assert 1 <= highest <= 2
    assert found(worker, "k") == list(range(40))


def test_a_revoked_partitions_anchors_are_forgotten(make: Callable[..., InMemory]) -> None:
    """Their bodies are not asked for any more, and the next owner reads them again."""
    source = FakeSource({TEXTS: 2, FRAMES: 2})
    worker = make(source)
    worker.reader.pick = lambda wanted: []
    feed(source, "a", 0, 20)
    feed(source, "b", 1, 20)
    assert until(worker, lambda: len(worker.anchors) == 40 and bool(worker.reader.wanted))
    source.revoke(Partition(TEXTS, 0))
    assert until(worker, lambda: len(worker.anchors) == 20)
    worker.reader.pick = lambda wanted: wanted
    assert until(worker, lambda: len(worker.sink.results) == 20)
    assert (found(worker, "a"), found(worker, "b")) == ([], list(range(20)))
    assert (worker.bodies.awaited_bytes, worker.reader.wanted) == (0, [])


def test_a_stop_leaves_those_that_wait_to_the_next_owner(make: Callable[..., InMemory]) -> None:
    """The drain takes no longer for them, and commits nothing of theirs."""
    worker = waiting(make, 20)
    worker.pipeline.stop()
    assert worker.pipeline.run()
    assert worker.sink.results == []
    assert worker.source.commits[Partition(TEXTS, 0)][0] == 0


def test_a_loss_of_redis_costs_no_body_that_lies_in_kafka(make: Callable[..., InMemory]) -> None:
    """Those that know where their bodies are go on, and the others ask again."""
    worker = waiting(make, 100)
    worker.server.empty()
    worker.turn_until(lambda: False, 0.1)
    worker.reader.pick = lambda wanted: wanted
    assert until(worker, lambda: len(worker.sink.results) == 100)
    assert found(worker, "k") == list(range(100))


def test_one_that_has_got_stale_leaves_without_its_bodies(make: Callable[..., InMemory]) -> None:
    """Whether nothing comes of its partition, or it only waits; and those behind it come next."""
    source, stale = FakeSource({TEXTS: 2, FRAMES: 2}), set[int]()
    worker = make(source, is_stale=lambda record: record.offset in stale)
    worker.reader.slow, worker.reader.pick = {SLOW}, lambda wanted: []
    feed(source, "silent", 0, 10)
    feed(source, "waits", 1, 10)
    assert until(worker, lambda: len(worker.anchors) == 20 and bool(worker.reader.wanted))
    stale.update(range(5))
    assert until(worker, lambda: len(worker.sink.results) == 10)
    assert {one["label"] for one in worker.sink.results} == {"shed"}
    worker.reader.slow, worker.reader.pick = set(), lambda wanted: wanted
    assert until(worker, lambda: len(worker.sink.results) == 20)
    assert found(worker, "silent") == found(worker, "waits") == [None] * 5 + list(range(5, 10))
    assert (worker.bodies.awaited_bytes, worker.reader.wanted) == (0, [])


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("cause", ["retention", "a topic made again"])
def test_what_kafka_has_no_more_is_expired(make: Callable[..., InMemory], required: bool, cause: str) -> None:
    """The anchor goes without it; where the stream is required it is a dead letter."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source, rule=replace(RULE, required=required))
    feed(source, "k", 0, 3)
    source.send(reading(9 * SECOND_US))
    if cause == "retention":
        worker.reader.gone = {(SLOW, 1)}
    else:
        at, log = worker.reader._at, source.logs[SLOW]
        other = replace(reading(777), offset=1)
        worker.reader._at = lambda place: other if log[place.offset].offset == 1 else at(place)  # type: ignore[method-assign]
    assert until(worker, lambda: len(worker.sink.results) + len(worker.sink.dead) == 3)
    assert worker.counted["bound_hits_total", "retention"] == 1
    if required:
        assert found(worker, "k") == [0, 2]
        headers = dict(worker.sink.dead[0].headers)
        assert headers["__connect.errors.stage"] == b"ALIGN"
        assert b"payload_expired" in (headers["__connect.errors.exception.message"] or b"")
    else:
        assert [one["missing"] for one in worker.sink.results] == [{}, {"sensors": "payload_expired"}, {}]


def test_bytes_that_cannot_be_unpacked_are_undecodable(make: Callable[..., InMemory]) -> None:
    """Of a batch that has rotted on the broker's disk, since it was read, the anchor goes without."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source)
    feed(source, "k", 0, 2)
    worker.reader.rotten = {(SLOW, 0), (SLOW, 1)}
    assert until(worker, lambda: len(worker.sink.results) == 2)
    assert [one["missing"] for one in worker.sink.results] == [{"sensors": "undecodable"}] * 2
    assert len(worker.sink.dead) == 2


def test_one_body_is_fetched_once_for_all_that_await_it(make: Callable[..., InMemory]) -> None:
    """Several texts may be nearest to one frame."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source)
    source.send(reading(0))
    source.send(reading(9 * SECOND_US))
    assert until(worker, lambda: source.commits.get(SLOW, (0, ""))[0] == 2)
    worker.bodies.most_bytes = 2**20
    for number in range(10):
        source.send(text(number))
    assert until(worker, lambda: len(worker.sink.results) == 10)
    assert found(worker, "k") == [0] * 10
    assert len(worker.reader.asked) == 1


def test_those_that_wait_are_in_the_books(make: Callable[..., InMemory]) -> None:
    """None is unaccounted for, and the oldest is told."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source)
    gauges: dict[str, float] = {}
    worker.budget._observer.gauge = lambda name, value, **_: gauges.update({name: value})  # type: ignore[method-assign]
    worker.reader.pick = lambda wanted: []
    feed(source, "k", 0, 5)
    assert until(worker, lambda: bool(worker.reader.wanted))
    assert until(worker, lambda: gauges["oldest_pending_seconds"] > 0.05)
    assert (gauges["pending_anchors"], gauges["unaccounted_anchors"]) == (5, 0)


def test_a_backlog_is_read_no_faster_than_the_ring_can_keep(make: Callable[..., InMemory]) -> None:
    """Context may be read a horizon ahead, but not so far that it pushes out what the model is about to want."""
    source, model = FakeSource({TEXTS: 1, FRAMES: 1}), Slow()
    source.max_poll_records = 20
    size = len(b'{"speed": 1}')
    worker = make(source, ring_bytes=100 * size, model=model)
    for number in range(300):
        source.send(text(number * SECOND_US // 20))
    for number in range(300):
        source.send(reading(number * SECOND_US // 20))
    assert until(worker, lambda: len(worker.sink.results) == 300)
    assert found(worker, "k") == list(range(300))
    assert len(worker.reader.asked) < 60
    assert worker.counted["bodies_total", "ring"] > 240


class Slow(EchoModel):
    """Takes its time."""

    def infer(self, batch: Sequence[Any]) -> list[Verdict]:
        """As its parent, later."""
        time.sleep(0.02)
        return super().infer(batch)
