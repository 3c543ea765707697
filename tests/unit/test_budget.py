"""Anchors and bytes from read to committed are one sum under one bound, whatever stands (CONTRACT 4.6)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.source import FakeSource
from tests.unit.test_batch import EchoModel
from tests.unit.worker_in_memory import FRAMES, TEXTS, InMemory, reading, text, workers
from worker.pipeline.budget import AWAITED, DEAD_LETTERS, HELD, INSIDE, OUTCOME_BYTES, QUEUED, RING, WAITING
from worker.records import Partition, Record, Verdict
from worker.stages.backlog import Load

SECOND_US = 1_000_000
BOUNDS = {"max_pending": 60, "max_pending_bytes": 100_000, "ring_bytes": 40_000, "inline_bytes": 100}
FRAME, LONG = b'{"speed": 1' + b" " * 500 + b"}", b"x" * 300
SMALL = b'{"speed": 1}'


@pytest.fixture
def make() -> Iterator[Callable[..., InMemory]]:
    """Workers in memory that are closed at the end."""
    with workers() as build:
        yield build


class Watched:
    """A worker whose account is looked at after every turn."""

    def __init__(self, worker: InMemory) -> None:
        self.worker, self.highest = worker, Load()
        turn = worker.pipeline.turn

        def watched() -> None:
            turn()
            self.look()

        worker.pipeline.turn = watched  # type: ignore[method-assign]

    def look(self) -> None:
        """Notes how far the sum has come; no place is ever negative."""
        places, _ = at_rest(self.worker)
        assert all(load.count >= 0 and load.bytes >= 0 for load in places.values()), places
        count = sum(load.count for place, load in places.items() if place != DEAD_LETTERS)
        size = sum(load.bytes for load in places.values())
        self.highest = Load(max(self.highest.count, count), max(self.highest.bytes, size))

    def within(self, needed: int = 0) -> bool:
        """Whether it has always been under its bounds, but for one body; `needed`: anchors that context waited for."""
        budget = self.worker.budget
        return self.highest in Load(budget.bounds.max_pending_anchors + needed, budget.most_bytes + len(FRAME))


@pytest.mark.parametrize("sizes", [{}, {"max_pending": 10_000, "max_pending_bytes": 20_000}], ids=["count", "bytes"])
def test_while_kafka_takes_no_transaction_the_sum_stays(make: Callable[..., InMemory], sizes: dict[str, int]) -> None:
    """Input flows, nothing is committed: reading pauses before the bound is passed; then all goes out once."""
    source = FakeSource({TEXTS: 2, FRAMES: 1})
    watched = Watched(worker := make(source, **{**BOUNDS, **sizes}))
    source.max_poll_records = 25
    for second in range(200):
        source.send(reading(second * SECOND_US, value=FRAME, key=str(second % 2)))
        source.send(text(second * SECOND_US, value=LONG, key=str(second % 2), partition=second % 2))
    worker.sink.refuses = True
    anchors = {Partition(TEXTS, 0), Partition(TEXTS, 1)}
    assert worker.turn_until(lambda: source.paused >= anchors and worker.committer.queued(TEXTS).count > 5, 30.0)
    worker.turn_until(lambda: False, 0.2)
    assert source.paused >= anchors
    worker.sink.refuses = False
    assert worker.turn_until(lambda: len(worker.sink.results) == 200, 60.0)
    assert len({result["id"] for result in worker.sink.results}) == 200
    assert watched.within(needed=25), watched.highest
    assert all(load == Load() for place, load in worker.budget.account().items() if place != RING)


@pytest.mark.parametrize("bad", [text(0, value=b"\xff" * 50), reading(0, value=b"{" * 50)], ids=["anchors", "context"])
@pytest.mark.parametrize("sizes", [{"max_pending": 10_000}, {"max_pending_bytes": 10**7}], ids=["bytes", "count"])
def test_thousands_of_dead_letters_stay_under_the_bound(
    make: Callable[..., InMemory], bad: Record, sizes: dict[str, int]
) -> None:
    """They are larger than what was read, and wait for Kafka with all else."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    watched = Watched(worker := make(source, **{**BOUNDS, **sizes}))
    for _ in range(3_000):
        source.send(bad)
    worker.sink.refuses = True
    assert worker.turn_until(lambda: Partition(bad.topic, 0) in source.paused, 30.0)
    worker.turn_until(lambda: False, 0.1)
    assert source.positions[Partition(bad.topic, 0)] < 1_000
    worker.sink.refuses = False
    assert worker.turn_until(lambda: len(worker.sink.dead) == 3_000, 60.0)
    assert not worker.turn_until(lambda: len(worker.sink.dead) != 3_000, 0.1)
    assert watched.within(), watched.highest


class Standing(EchoModel):
    """A model that answers once it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def infer(self, batch: Sequence[Any]) -> list[Verdict]:
        """Waits."""
        self.go.wait(30)
        return super().infer(batch)


def test_bodies_on_the_model_are_part_of_the_sum(make: Callable[..., InMemory]) -> None:
    """Fewer anchors go on to it when each takes much."""
    source, model = FakeSource({TEXTS: 1, FRAMES: 1}), Standing()
    watched = Watched(
        worker := make(source, model=model, **{**BOUNDS, "max_pending_bytes": 40_000, "ring_bytes": 9_000})
    )
    for second in range(60):
        source.send(reading(second * SECOND_US // 4, value=FRAME))
        source.send(text(second * SECOND_US // 4))
    assert worker.turn_until(lambda: worker.budget.account()[INSIDE].count > 5, 30.0)
    worker.turn_until(lambda: False, 0.2)
    model.go.set()
    assert worker.turn_until(lambda: len(worker.sink.results) == 60, 30.0)
    assert watched.within(), watched.highest


def test_what_does_not_fit_is_read_again(make: Callable[..., InMemory]) -> None:
    """A poll that brings more than there is room for: nothing of it is lost, and each record is taken once."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    watched = Watched(worker := make(source, **{**BOUNDS, "max_pending": 20}))
    for second in range(300):
        source.send(text(second * 1_000))
    source.send(reading(SECOND_US))
    assert worker.turn_until(lambda: len(worker.sink.results) == 300, 60.0)
    assert [result["inputs"]["texts"]["offset"] for result in worker.sink.results] == list(range(300))
    assert watched.highest.count == 20


def parts(worker: InMemory) -> dict[str, Load]:
    """The account, summed up anew from all that is there."""
    leaving = worker.anchors._leaving
    lines = [leaver for line in leaving._lines._lines.values() for leaver in line.leavers]
    given = sum(body.size for leaver in lines for wanted, body in leaver.bodies.items()
                if isinstance(body, Record) and wanted not in leaver.references)  # fmt: skip
    waiting = [*worker.anchors._room._by_token.values(), *leaving._asking, *(one.waiting for one in lines)]
    queue = [(outcome.record.topic, size) for outcome, size in worker.committer._queue._outcomes]
    held = [event for held in worker.contexts._indexing.hold._held.values() for event in held.events]
    ring = [record for record, _ in worker.bodies._ring.values()]
    anchors, context = ([size for topic, size in queue if (topic == TEXTS) is own] for own in (True, False))
    inside = list(worker.batcher._sizes.values())
    return {
        WAITING: Load(len(waiting), sum(one.anchor.size + OUTCOME_BYTES for one in waiting) + given),
        INSIDE: Load(len(inside), sum(size + OUTCOME_BYTES for size in inside)),
        QUEUED: Load(len(anchors), sum(anchors)),
        DEAD_LETTERS: Load(len(context), sum(context)),
        HELD: Load(0, sum(len(event.record.value or b"") for event in held)),
        AWAITED: Load(0, sum(leaver.size for leaver in lines if leaver.taken)),
        RING: Load(0, sum(len(record.value or b"") for record in ring)),
    }


def at_rest(worker: InMemory) -> tuple[dict[str, Load], dict[str, Load]]:
    """The account and its parts, of a moment at which no other thread has moved anything."""
    for _ in range(1_000):
        before, found, after = worker.budget.account(), parts(worker), worker.budget.account()
        if before == after:
            return before, found
    raise AssertionError("it never rests")


def test_small_bodies_of_those_that_wait_behind_are_part_of_the_sum(make: Callable[..., InMemory]) -> None:
    """Redis has given them; their anchor waits for one of its key whose body does not come."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source, **{**BOUNDS, "ring_bytes": 1})
    worker.reader.slow = {Partition(FRAMES, 0)}
    for second, value in enumerate((FRAME, SMALL)):
        source.send(reading(second * SECOND_US, value=value))
        source.send(text(second * SECOND_US))
    assert worker.turn_until(lambda: len(worker.anchors._leaving._lines) == 2, 30.0)
    account, found = at_rest(worker)
    assert account == found
    assert account[WAITING].bytes > 2 * (OUTCOME_BYTES + text(0).size) + len(SMALL)


STEPS = ["text", "text", "reading", "reading", "bad", "bad text", "refuse", "take", "stand", "go", "slow", "revoke"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), steps=st.lists(st.sampled_from(STEPS), max_size=60))
def test_the_account_is_the_sum_of_its_parts(seed: int, steps: list[str]) -> None:
    """At each turn, whatever comes, stands, falls silent or is revoked."""
    chance, source, model = Random(seed), FakeSource({TEXTS: 2, FRAMES: 2}), Standing()
    model.go.set()
    with workers() as make:
        watched = Watched(worker := make(source, model=model, **BOUNDS))
        for now, step in enumerate(steps):
            at, partition = now * SECOND_US // 2, chance.randrange(2)
            for _ in range(chance.randint(1, 9) if step in ("text", "reading", "bad", "bad text") else 0):
                made = reading if step in ("reading", "bad") else text
                value = b"\xff" if "bad" in step else chance.choice((FRAME, SMALL)) if made is reading else LONG
                source.send(made(at, key=chance.choice("ab"), partition=partition, value=value))
            worker.sink.refuses = step == "refuse" or (worker.sink.refuses and step != "take")
            (model.go.clear if step == "stand" else model.go.set if step == "go" else str)()
            worker.reader.slow = {Partition(FRAMES, partition)} if step == "slow" else set()
            if step == "revoke" and (held := Partition(TEXTS, partition)) in source.leases:
                source.revoke(held)
            worker.turn_until(lambda: False, 0.004)
            account, found = at_rest(worker)
            assert account == found
        model.go.set()
        assert watched.within(needed=9), watched.highest
