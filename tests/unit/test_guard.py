"""Limits on dead letters: of each input topic, over restarts, of what is committed and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.source import FakeSource
from tests.unit.incoming import FixedClock
from tests.unit.worker_in_memory import FRAMES, TEXTS, InMemory, reading, text, workers
from worker.errors import DeadLetterLimit, Fatal, Retryable
from worker.stages import guard
from worker.stages.guard import DeadLetterGuard, Tally, suffix
from worker.stages.ledger import MAX_METADATA_BYTES

BAD, BAD_READING = b"\xff", b"{"


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., InMemory]]:
    """Workers in memory that are closed at the end."""
    monkeypatch.setattr(guard, "WINDOW_RECORDS", 40)
    with workers() as build:
        yield build


def killed(source: FakeSource) -> FakeSource:
    """The same logs and commits for the next member of the group."""
    again = FakeSource(source.counts)
    again.logs, again.commits = source.logs, source.commits
    again.max_poll_records = 1
    return again


def crash_loop(make: Callable[..., InMemory], source: FakeSource, **limits: Any) -> int:
    """Starts workers, each of which is killed after five dead letters, until one stops by itself; all dead letters."""
    dead = 0
    for _ in range(20):
        source = killed(source)
        worker = make(source, **limits)
        try:
            worker.turn_until(lambda worker=worker: len(worker.sink.dead) >= 5)
        except DeadLetterLimit:
            return dead + len(worker.sink.dead)
        worker.close()
        dead += len(worker.sink.dead)
    return dead


@pytest.mark.parametrize("limits", [{"in_a_row": 12}, {"ratio": 0.3}], ids=["in a row", "ratio"])
@pytest.mark.parametrize("stream", ["texts", "frames"])
def test_a_crash_loop_drains_no_more_than_one_life(
    make: Callable[..., InMemory], stream: str, limits: dict[str, Any]
) -> None:
    """Each new owner goes on counting from what was committed, of anchors and of context; a transaction with one too
    many commits none of its own."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    for _ in range(100):
        source.send(text(0, value=BAD) if stream == "texts" else reading(0, value=BAD_READING))
    assert 5 <= crash_loop(make, source, **limits) <= 12


def test_the_counts_move_with_a_partition(make: Callable[..., InMemory]) -> None:
    """A worker that begins one goes on from it; one that has counted records since keeps its own count."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    for _ in range(11):
        source.send(text(0, value=BAD))
    first = make(source, in_a_row=12)
    assert first.turn_until(lambda: len(first.sink.dead) == 11)
    first.close()
    source.send(text(0, value=b"good"))
    source = killed(source)
    second = make(source, in_a_row=12)
    assert second.turn_until(lambda: len(second.sink.results) == 1)
    source.send(text(0, value=BAD))
    assert second.turn_until(lambda: len(second.sink.dead) == 1)
    third = make(killed(source), in_a_row=2)
    source.send(text(0, value=BAD))
    with pytest.raises(DeadLetterLimit, match="2 dead letters in a row"):
        third.turn_until(lambda: False)


def test_only_what_is_committed_counts(make: Callable[..., InMemory]) -> None:
    """A transaction that is refused and tried again counts its records once."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    for _ in range(6):
        source.send(text(0, value=BAD))
    worker = make(source, in_a_row=12)
    worker.sink.errors = [Retryable("away")] * 3
    assert worker.turn_until(lambda: len(worker.sink.dead) == 6)


def test_context_that_is_read_again_is_not_counted_again(make: Callable[..., InMemory]) -> None:
    """Else the good records before them would hide the bad ones from a limit, in every life anew."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    for n in range(30):
        source.send(reading(n * 1_000, value=BAD_READING if n % 5 else b'{"speed": 1}'))
    first = make(source, ratio=0.9)
    assert first.turn_until(lambda: len(first.sink.dead) == 24)
    first.close()
    again = killed(source)
    again.max_poll_records = 500
    second = make(again, ratio=0.9)
    second.turn_until(lambda: False, 0.3)
    assert second.committer._guard._tallies[FRAMES].window.bit_count() == 24
    assert second.committer._guard._tallies[FRAMES].row == 4


@given(st.integers(0, 10**9), st.integers(0, 2**1000 - 1), st.integers(1, 10**13))
def test_a_tally_survives_a_commits_metadata(row: int, window: int, at_ms: int) -> None:
    """Behind whatever form of metadata, and within what the broker takes."""
    for before in ("", "a1:Vb85", "c2:e:1:2:3"):
        resumed = DeadLetterGuard(0, 0, FixedClock())
        resumed.resume("texts", before + suffix(Tally(row, window, at_ms)))
        assert resumed.after({}) == {"texts": Tally(row, window, at_ms)}
    assert MAX_METADATA_BYTES + len(suffix(Tally(row, window, at_ms))) <= 4_096


@pytest.mark.parametrize("metadata", ["", "a1:Vb85", "c1:e:1", "c2:e:1:2:3", "hello"])
def test_metadata_of_before_has_no_tally(metadata: str) -> None:
    """And where nothing was ever bad, nothing is added to it."""
    resumed = DeadLetterGuard(0, 0, FixedClock())
    resumed.resume("texts", metadata)
    assert resumed.after({"texts": [(False, "")]}) == {"texts": Tally()}
    assert suffix(Tally()) == ""


def test_a_tally_that_cannot_be_read_is_told() -> None:
    """Nobody would know how much had been lost already."""
    with pytest.raises(Fatal, match=r"tally 'x,y' in a commit's metadata cannot be read"):
        DeadLetterGuard(0, 0, FixedClock()).resume("texts", "a1:abc:g1,x,y")


def test_a_limit_that_was_lowered_stops_at_the_next_dead_letter_not_at_a_good_record() -> None:
    """A mended release must be able to go on."""
    strict = DeadLetterGuard(10, 0.1, FixedClock())
    strict.resume("texts", suffix(Tally(50, 2**300 - 1, 1)))
    assert strict.after({"texts": [(False, "")]})["texts"].row == 0
    with pytest.raises(DeadLetterLimit, match=r"51 dead letters in a row .* of topic texts; the last: why"):
        strict.after({"texts": [(True, "why")]})


@pytest.mark.parametrize("no_time_left", [False, True])
def test_a_limit_that_is_hit_while_the_worker_stops_is_told(make: Callable[..., InMemory], no_time_left: bool) -> None:
    """It ends by 4 at once; waiting for a thread that has ended would make it 1, and late."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source, in_a_row=3)
    assert worker.turn_until(lambda: bool(worker.committer._ledgers.anchors))
    for _ in range(3):
        source.send(text(0, value=BAD))
    with worker.committer._gate:
        assert worker.turn_until(lambda: worker.committer.queued(TEXTS).count == 3)
    if no_time_left:
        worker.budget.bounds = replace(worker.budget.bounds, drain_timeout_seconds=0.0)
        worker.committer._thread.join()
    with pytest.raises(DeadLetterLimit, match="3 dead letters in a row"):
        worker.pipeline._drain()
    assert not worker.committer.drain(3600.0)
