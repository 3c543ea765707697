"""Two mechanisms at once: a backlog, a loss of Redis, a full Redis, a Kafka that refuses, a model that stands."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.fakes.context_store import FakeServer
from tests.fakes.source import FakeSource
from tests.unit.test_batch import EchoModel
from tests.unit.worker_in_memory import FRAMES, TEXTS, InMemory, found, reading, text, workers
from worker.pipeline import progress
from worker.records import Partition, Verdict
from worker.stages import hold

HOUR_US, SECOND_US = 3_600_000_000, 1_000_000


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., InMemory]]:
    """Workers in memory that are closed at the end; a partition pauses after 50 held events."""
    monkeypatch.setattr(progress, "EXCHANGE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(hold, "MOST_HELD", 50)
    with workers() as build:
        yield build


class Standing(EchoModel):
    """A model that answers once it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def infer(self, batch: Sequence[Any]) -> list[Verdict]:
        """Waits."""
        self.go.wait(20)
        return super().infer(batch)


class Small(FakeServer):
    """A server that has room for `most` events."""

    most = 10**6

    @property
    def full(self) -> bool:
        """Whether it takes no more."""
        mine = [entity for (epoch, *_), entity in self.entities.items() if epoch == self.epoch]
        return sum(len(entity.records) for entity in mine) >= self.most

    @full.setter
    def full(self, full: bool) -> None:
        """Not to be set."""


def backlog(seconds: int, poll: int) -> FakeSource:
    """A reading and a text a second."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    source.max_poll_records = poll
    for second in range(seconds):
        source.send(reading(second * SECOND_US))
        source.send(text(second * SECOND_US))
    return source


def test_a_backlog_keeps_its_pairs_while_kafka_takes_no_transaction(make: Callable[..., InMemory]) -> None:
    """Anchors that wait for Kafka make context stand, and must not be taken for late ones."""
    worker = make(backlog(400, 50), max_pending=20)
    worker.turn_until(lambda: len(worker.sink.results) > 20)
    worker.sink.refuses = True
    worker.turn_until(lambda: False, 2.5)
    worker.sink.refuses = False
    assert worker.turn_until(lambda: len(worker.sink.results) == 400, 12.0)
    assert found(worker, "k") == list(range(400))


def test_a_backlog_keeps_its_pairs_when_redis_is_lost_while_the_model_stands(make: Callable[..., InMemory]) -> None:
    """What was read and held is not what Redis has lost: filling it again must not wait for that."""
    source, model = backlog(400, 250), Standing()
    worker = make(source, max_pending=20, model=model)
    worker.turn_until(lambda: Partition(FRAMES, 0) in source.paused, 1.0)
    source.max_poll_records = 30
    worker.server.empty()
    model.go.set()
    assert worker.turn_until(lambda: len(worker.sink.results) == 400, 12.0)
    assert found(worker, "k") == list(range(400))


def test_an_anchor_ahead_of_its_clock_takes_nobody_s_context(
    make: Callable[..., InMemory], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits, and is the oldest unfinished one for as long as no other is being read."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    source.max_poll_records = 30
    worker = make(source)
    source.send(text(2_000 * SECOND_US, key="ahead"))
    for second in range(400):
        source.send(reading(second * SECOND_US))
        source.send(text(second * SECOND_US))
    poll, turn = source.poll, iter(range(10**9))

    def texts_seldom(seconds: float) -> Any:
        hidden = {Partition(TEXTS, 0)} if next(turn) % 20 else set()
        source.paused |= (new := hidden - source.paused)
        polled = poll(seconds)
        source.paused -= new
        return polled

    monkeypatch.setattr(source, "poll", texts_seldom)
    assert worker.turn_until(lambda: len(found(worker, "k")) == 400, 15.0)
    assert found(worker, "k") == list(range(400))


@pytest.mark.parametrize("partitions", [1, 2])
def test_old_letters_are_bounded_while_the_model_stands(make: Callable[..., InMemory], partitions: int) -> None:
    """Late anchors hold nobody, and so nothing needs them to be read on."""
    source, model = FakeSource({TEXTS: partitions, FRAMES: 1}), Standing()
    worker = make(source, max_pending=100, model=model)
    for second in range(20):
        source.send(reading(second * SECOND_US))
    assert worker.turn_until(lambda: source.commits.get(Partition(FRAMES, 0), (0, ""))[0] == 20)
    for number in range(3_000):
        source.send(text(number - 2 * HOUR_US, key=f"old-{number % 50}", partition=partitions - 1))
    worker.turn_until(lambda: False, 1.5)
    assert len(worker.anchors) + worker.batcher.inside < 1_000
    model.go.set()


def test_a_full_server_does_not_keep_the_other_partition_from_being_read(make: Callable[..., InMemory]) -> None:
    """What the slowest anchor waits for may lie there; nothing can be given up before."""
    server, source = Small(), FakeSource({TEXTS: 1, FRAMES: 2})
    server.most, source.max_poll_records = 100, 150
    worker = make(source, server)
    for number in range(600):
        source.send(reading(number * SECOND_US // 20, key="a", partition=0))
    for number in range(200):
        source.send(reading(number * SECOND_US // 10, key="b", partition=1))
        source.send(text(number * SECOND_US // 10, key="b"))
    assert worker.turn_until(lambda: len(worker.sink.results) == 200, 10.0)
    assert found(worker, "b") == list(range(200))


def test_a_full_server_does_not_keep_a_key_behind_its_neighbours_from_being_read(make: Callable[..., InMemory]) -> None:
    """What the slowest anchor waits for may lie behind what its partition's other keys hold back."""
    server, source = Small(), FakeSource({TEXTS: 1, FRAMES: 1})
    server.most, source.max_poll_records = 50, 40
    worker = make(source, server)
    for number in range(200):
        for camera in range(3):
            source.send(reading(number * SECOND_US // 10 + 8 * SECOND_US, key=f"ahead-{camera}"))
        source.send(reading(number * SECOND_US // 10, key="b"))
        source.send(text(number * SECOND_US // 10, key="b"))
    assert worker.turn_until(lambda: len(worker.sink.results) == 200, 15.0)
    assert found(worker, "b") == list(range(3, 800, 4))


def test_a_wait_for_a_dark_camera_ends_though_redis_is_filled_again_and_full(make: Callable[..., InMemory]) -> None:
    """Only that can make room."""
    server, source = Small(), FakeSource({TEXTS: 1, FRAMES: 1})
    source.max_poll_records = 40
    worker = make(source, server)
    for number in range(200):
        source.send(reading(number * SECOND_US // 10))
    assert worker.turn_until(lambda: source.commits.get(Partition(FRAMES, 0), (0, ""))[0] == 200)
    server.most = 50
    server.empty()
    source.send(text(0, key="dark"))
    for number in range(200):
        source.send(text(number * SECOND_US // 10))
    assert worker.turn_until(lambda: len(worker.sink.results) >= 199, 10.0)
    assert found(worker, "dark") == [None]


def test_the_anchors_of_one_worker_leave_while_another_finds_no_room_for_their_context(
    make: Callable[..., InMemory],
) -> None:
    """Only they make room: the one that reads context tells that it cannot fill Redis again before."""
    server, frames, texts = Small(), FakeSource({TEXTS: 1, FRAMES: 1}), FakeSource({TEXTS: 1, FRAMES: 1})
    texts.logs, texts.commits = frames.logs, frames.commits
    frames.max_poll_records = 40
    frames.withheld, texts.withheld = {Partition(TEXTS, 0)}, {Partition(FRAMES, 0)}
    reader, other = make(frames, server, name="w1"), make(texts, server, name="w2")

    def turn_until(done: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not done() and time.monotonic() < deadline:
            other.turn_until(lambda: False, 0.01)
            reader.turn_until(lambda: False, 0.01)
        return done()

    for number in range(200):
        frames.send(reading(number * SECOND_US // 10))
    assert turn_until(lambda: frames.commits.get(Partition(FRAMES, 0), (0, ""))[0] == 200, 5.0)
    server.most = 50
    server.empty()
    for number in range(200):
        frames.send(text(number * SECOND_US // 10))
    assert turn_until(lambda: len(other.sink.results) >= 200, 20.0)
    assert found(other, "k") == list(range(200))


def test_decided_anchors_wait_for_their_bodies_when_the_new_server_is_full(make: Callable[..., InMemory]) -> None:
    """What they were matched to is gone with the old one; a fail-over leaves little room."""
    source, model = FakeSource({TEXTS: 1, FRAMES: 1}), Standing()
    worker = make(source, model=model)
    for number in range(100):
        source.send(reading(number * SECOND_US // 10))
        source.send(text(number * SECOND_US // 10))
    assert worker.turn_until(lambda: source.commits.get(Partition(FRAMES, 0), (0, ""))[0] == 100)
    worker.server.empty()
    worker.server.full = True
    worker.turn_until(lambda: False, 0.3)
    model.go.set()
    worker.turn_until(lambda: False, 0.5)
    worker.server.full = False
    assert worker.turn_until(lambda: len(worker.sink.results) == 100, 8.0)
    assert found(worker, "k") == list(range(100))


def test_redis_is_filled_again_though_the_ring_is_full_and_anchors_wait_for_the_model(
    make: Callable[..., InMemory],
) -> None:
    """The bodies of those that wait for the model must not keep context from being read."""
    source, model = FakeSource({TEXTS: 1, FRAMES: 1}), Standing()
    source.max_poll_records = 40
    worker = make(source, model=model, inline_bytes=-1, ring_bytes=4_000)
    for number in range(400):
        source.send(reading(number * SECOND_US // 10, value=b'{"speed": 1, "of": "%s"}' % (b"x" * 100)))
        source.send(text(number * SECOND_US // 10))
    assert worker.turn_until(lambda: worker.batcher.inside == 64 and worker.anchors.busy)
    worker.server.empty()
    worker.turn_until(lambda: False, 0.3)
    model.go.set()
    assert worker.turn_until(lambda: len(worker.sink.results) == 400, 8.0)
    assert found(worker, "k") == list(range(400))


def test_redis_is_filled_again_while_an_old_anchor_waits_for_its_body(make: Callable[..., InMemory]) -> None:
    """It knows where that lies, and needs nothing of Redis: it leaves, or what is filled again would wait for it."""
    source, frames = FakeSource({TEXTS: 1, FRAMES: 1}), Partition(FRAMES, 0)
    source.max_poll_records = 20
    worker = make(source, inline_bytes=-1, ring_bytes=1)
    for number in range(400):
        source.send(reading(number * SECOND_US // 10))
    assert worker.turn_until(lambda: source.commits.get(frames, (0, ""))[0] == 400)
    # A new owner has heard of nothing but the clock that is behind, and so its anchor is not late.
    source.revoke(frames)
    worker.turn_until(lambda: frames not in source.leases)
    source.withheld.clear()
    for number in range(2):
        source.send(reading(number * SECOND_US - 2 * HOUR_US, key="old"))
    assert worker.turn_until(lambda: source.commits.get(frames, (0, ""))[0] == 402)
    worker.reader.pick = lambda wanted: []
    source.send(text(-2 * HOUR_US, key="old"))
    assert worker.turn_until(lambda: bool(worker.reader.wanted))
    worker.server.empty()
    for number in range(200, 400):
        source.send(text(number * SECOND_US // 10))
    worker.turn_until(lambda: False, 0.3)
    worker.reader.pick = lambda wanted: wanted
    assert worker.turn_until(lambda: len(worker.sink.results) == 201, 8.0)
    assert found(worker, "old") == [400]
    assert found(worker, "k") == list(range(200, 400))
