"""worker/stages/ledgers.py: in = out + given back + pending, whatever becomes of them; what breaks it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.source import FakeSource
from tests.unit.worker_in_memory import FRAMES, TEXTS, InMemory, reading, text, workers
from worker.records import Outcome, Outgoing, Partition, Record
from worker.stages.ledger import Ledger
from worker.stages.ledgers import Books, Ledgers

SECOND_US = 1_000_000
ANCHORS = [Partition("texts", number) for number in range(3)]
STEPS = st.tuples(st.sampled_from(["open", "read", "done", "forget"]), st.integers(0, 2), st.integers(1, 5))


def record(partition: Partition, offset: int, lease: int) -> Record:
    """An anchor."""
    return Record(partition.topic, partition.number, offset, 0, b"k", b"v", (), lease)


@given(st.lists(STEPS, max_size=40))
def test_the_books_are_even_whatever_comes(steps: list[tuple[str, int, int]]) -> None:
    """Leases begin, end and begin anew in any order, and between them anchors are read and done."""
    ledgers, leases = Ledgers(lambda *told: ""), dict.fromkeys(ANCHORS, 0)
    open_: dict[Partition, list[int]] = {}
    committed = dict.fromkeys(ANCHORS, 0)
    read = done = 0
    for what, number, amount in steps:
        partition = ANCHORS[number]
        if what == "open":
            leases[partition] += 1
            ledgers.open(partition, Ledger(leases[partition], committed[partition]), context=False)
            open_[partition] = []
        elif what == "forget":
            ledgers.forget((partition,))
            open_.pop(partition, None)
        elif partition in open_ and what == "read":
            first = max(open_[partition], default=committed[partition] - 1) + 1
            for offset in range(first, first + amount):
                read += ledgers.read(record(partition, offset, leases[partition]))
                open_[partition].append(offset)
        elif partition in open_:
            offsets = [offset for offset in open_[partition] if offset >= committed[partition]][:amount]
            ledgers[partition].finish(offsets)
            out = (Outgoing("fusions", b"k", b"{}", ()),)
            ledgers.done(Outcome(record(partition, offset, leases[partition]), out) for offset in offsets)
            committed[partition] += len(offsets)
            done += len(offsets)
        assert ledgers.books().imbalance == 0
        assert (ledgers.books().read, ledgers.books().done) == (read, done)


def test_context_is_not_in_the_books() -> None:
    """Context events and their dead letters are no anchors."""
    ledgers, frames = Ledgers(lambda *told: ""), Partition("frames", 0)
    ledgers.open(frames, Ledger(1, 0), context=True)
    assert ledgers.read(record(frames, 0, 1))
    ledgers.done([Outcome(record(frames, 0, 1), (Outgoing("dead", b"k", b"", ()),))])
    ledgers.forget((frames,))
    assert ledgers.books() == Books()


@pytest.fixture
def make() -> Iterator[Callable[..., InMemory]]:
    """Workers in memory that are closed at the end."""
    with workers() as build:
        yield build


def fed(worker: InMemory, source: FakeSource, count: int) -> None:
    """So many anchors with their context, each with an outcome."""
    for second in range(count):
        source.send(text(second * SECOND_US))
        source.send(reading(second * SECOND_US))
    source.send(reading(count * SECOND_US))
    assert worker.turn_until(lambda: worker.committer.books().done == count)


def test_a_worker_tells_its_books(make: Callable[..., InMemory]) -> None:
    """Ten anchors read and done, none in between; as counters that grow and a gauge that stays 0."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source)
    fed(worker, source, 10)
    assert worker.turn_until(lambda: worker.counted["anchors_total", "done"] == 10)
    assert worker.counted["anchors_total", "read"] == 10
    assert worker.counted["anchors_total", "given_back"] == worker.budget._books.imbalance == 0


def test_an_outcome_with_nothing_in_it_is_told_as_a_loss(make: Callable[..., InMemory], monkeypatch: Any) -> None:
    """A worker that commits an anchor's offset without its result or dead letter: unaccounted_anchors says 0."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source)
    right = worker.outcomes._outcome
    monkeypatch.setattr(worker.outcomes, "_outcome", lambda *given: replace(right(*given), outgoing=()))
    source.send(text(0))
    source.send(reading(0))
    source.send(reading(SECOND_US))
    assert worker.turn_until(lambda: worker.budget._books.imbalance == 1)
    assert worker.committer.unfinished() == 0
