"""Seconds of work: measured while a worker has no rest, and told without what waits for context."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_align import DONE, OPEN, RULES, anchor
from worker.stages.align import WaitingRoom
from worker.stages.workload import Work, Workload

LOOKS_A_SECOND = 10


class Run:
    """A worker that can do so many anchors a second, looked at ten times a second."""

    def __init__(self, most: float) -> None:
        self.workload, self.most = Workload(), most
        self.now, self.done, self.left = 100.0, 0.0, 0.0
        self.told: list[Work] = []

    def pass_by(self, seconds: float, comes: float, passing: float = 0.3) -> Work:
        """So many anchors come each second; each is inside for `passing` seconds even where nothing is before it."""
        for _ in range(round(seconds * LOOKS_A_SECOND)):
            self.left += comes / LOOKS_A_SECOND
            does = min(self.most / LOOKS_A_SECOND, self.left)
            self.left, self.done, self.now = self.left - does, self.done + does, self.now + 1 / LOOKS_A_SECOND
            inside = min(comes, self.most) * passing
            self.told.append(self.workload.saw(self.now, int(self.done), int(self.left + inside)))
        return self.told[-1]

    def load(self, seconds: float) -> float:
        """Of the last seconds the part that was work."""
        last = self.told[-round(seconds * LOOKS_A_SECOND) :]
        return sum(work.done for work in last) / seconds


def test_a_backlog_is_told_in_seconds() -> None:
    """5,000 anchors at 100 a second are 50 s of work, of which each second takes one."""
    run = Run(most=100)
    run.left = 5_000
    assert run.pass_by(4, comes=0).left == pytest.approx(46, rel=0.05)
    assert run.pass_by(10, comes=0).left == pytest.approx(36, rel=0.05)
    assert run.load(5) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("comes", [10, 50, 95])
def test_load_is_the_part_of_its_time_that_a_worker_needs(comes: float) -> None:
    """Measured over a backlog, it is known afterwards at whatever load; and what passes through is no backlog."""
    run = Run(most=100)
    run.left = 1_000
    run.pass_by(200, comes=comes)
    assert run.load(20) == pytest.approx(comes / 100, rel=0.1)
    assert run.told[-1].left < 0.5


@pytest.mark.parametrize("comes", [1, 20, 99])
def test_a_worker_at_ease_is_not_measured(comes: float) -> None:
    """What passes through looks like no limit: nothing is known yet, and 0 is told."""
    run = Run(most=100)
    run.pass_by(60, comes=comes)
    assert {*run.told} == {Work(0.0, 0.0)}


def test_a_server_that_is_away_does_not_make_a_worker_slow() -> None:
    """While nothing is done the measure stays, and what is left grows with what comes."""
    run = Run(most=100)
    run.left = 1_000
    run.pass_by(5, comes=0)
    before = run.workload.seconds_per_anchor
    run.most = 0
    assert run.pass_by(30, comes=50).left == pytest.approx((500 + 1500) / 100, rel=0.1)
    assert run.workload.seconds_per_anchor == before


def test_a_worker_that_becomes_faster_or_slower_is_measured_anew() -> None:
    """Ten seconds without rest are nine tenths of the measure; and who does more at ease than it could is faster."""
    run = Run(most=100)
    run.left = 10_000
    run.pass_by(10, comes=0)
    run.most = 50
    run.pass_by(14, comes=0)
    assert run.workload.seconds_per_anchor == pytest.approx(1 / 50, rel=0.1)
    run.left, run.most = 0, 200
    run.pass_by(3, comes=150)
    assert run.workload.seconds_per_anchor == pytest.approx(1 / 150, rel=0.1)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5_000)), max_size=60))
def test_what_is_told_is_never_negative_and_always_a_number(looks: Iterable[tuple[int, int]]) -> None:
    """Whatever is looked at."""
    workload, now, done = Workload(), 5.0, 0
    for finished, left in looks:
        now, done = now + 0.3, done + finished
        work = workload.saw(now, done, left)
        assert math.isfinite(work.left)
        assert work.left >= 0
        assert work.done >= 0


def test_an_anchor_that_waits_is_not_decided() -> None:
    """It is from its last stream's answer on, until it leaves, is dropped, or all ask anew."""
    room = WaitingRoom(RULES)
    for offset in range(4):
        room.add(anchor(str(offset), offset, partition=offset % 2), 0.0)
    queries = room.queries(room.tokens())
    assert room.decided == 0
    for query in queries[:6]:
        room.decide(query, DONE, expired=False)
    assert room.decided == 3
    assert not room.decide(queries[6], OPEN, expired=False)
    assert room.decided == 3
    room.leave(1)
    assert room.decided == 2
    room.drop({anchor("1", 1, partition=1).record.lies_on})
    assert room.decided == 1
    room.reopen(())
    assert room.decided == 0
