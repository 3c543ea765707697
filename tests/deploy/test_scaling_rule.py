"""The scaling rule in simulated hours: enough workers for the load, none for what waits, and no going to and fro."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from tests.deploy.helm import documents, rendered
from tests.deploy.objects import of_kind
from tests.deploy.rule import Autoscaler, Rule, Told
from worker.stages.workload import Workload

MOST = 100.0  # anchors a second of one worker
LOOKS_A_SECOND = 5
# A partition stands still for so long when a member joins or ends, at most (docs/performance.md, Pools).
PAUSE_SECONDS = 3.0
PARTITIONS = 12
pytestmark = pytest.mark.timeout(1200)


def rule() -> Rule:
    """The chart's own."""
    (scaled,) = of_kind(documents(rendered("keda")), "ScaledObject")
    return Rule.of(scaled)


class Pool:
    """Simulated workers that share what comes; whenever their number changes all stand still for a moment."""

    def __init__(self, load: Callable[[float], float]) -> None:
        self.scaler, self.load = Autoscaler(rule(), 1), load
        self.workers: dict[str, tuple[Workload, list[float]]] = {}
        self.now, self.left, self._resumes, self._number = 1.0, 0.0, 0.0, 0
        self.counts: list[int] = []
        self._resize(1)

    def _resize(self, number: int) -> None:
        if number != len(self.workers):
            self._resumes = self.now + PAUSE_SECONDS
        while len(self.workers) < number:
            self._number += 1
            self.workers[str(self._number)] = Workload(), [0.0, 0.0]
        while len(self.workers) > number:
            self.workers.popitem()

    def run(self, seconds: float) -> None:
        """So long, with a look of the autoscaler at each polling."""
        for _ in range(round(seconds * LOOKS_A_SECOND)):
            self.now += 1 / LOOKS_A_SECOND
            comes = self.load(self.now) / LOOKS_A_SECOND
            self.left += comes
            does = 0.0 if self.now < self._resumes else min(self.left, MOST * len(self.workers) / LOOKS_A_SECOND)
            self.left -= does
            told = {name: self._told(workload, sums, does) for name, (workload, sums) in self.workers.items()}
            if int(self.now / self.scaler.rule.polling_seconds) > int(
                (self.now - 1 / LOOKS_A_SECOND) / self.scaler.rule.polling_seconds
            ):
                self._resize(self.scaler.look(self.now, told))
            self.counts.append(len(self.workers))

    def _told(self, workload: Workload, sums: list[float], does: float) -> Told:
        sums[0] += does / len(self.workers)
        work = workload.saw(self.now, int(sums[0]), int(self.left / len(self.workers)))
        sums[1] += work.done
        return Told(work.left, sums[1])

    def changes(self, seconds: float) -> int:
        """How often the number changed within the last so many seconds."""
        last = self.counts[-round(seconds * LOOKS_A_SECOND) :]
        return sum(first != second for first, second in itertools.pairwise(last))


def test_what_the_chart_says() -> None:
    """The numbers that docs/kubernetes.md argues."""
    assert rule() == Rule(1, PARTITIONS, 0.8, 30.0, 60.0, 15, 30, 360, 60)


@pytest.mark.parametrize("times", [0.3, 0.7, 1.7, 2.5, 5.2, 9.0])
def test_a_steady_load_has_a_steady_number(times: float) -> None:
    """After half an hour there are enough, no more than one too many, and their number rests for an hour."""
    pool = Pool(lambda now: times * MOST)
    pool.run(1800)
    pool.run(3600)
    assert pool.changes(3600) == 0
    assert times < len(pool.workers) <= times / 0.8 + 1
    assert pool.left < MOST * len(pool.workers)


def test_a_backlog_is_worked_off_by_many_and_then_they_go() -> None:
    """20 minutes of one worker's work: as many workers as there are partitions within two minutes, one again after."""
    pool = Pool(lambda now: 20.0)
    pool.left = 1_200 * MOST
    pool.run(120)
    assert len(pool.workers) == PARTITIONS
    pool.run(3600)
    assert (len(pool.workers), int(pool.left)) == (1, 0)


def test_a_burst_that_one_worker_does_in_time_adds_none() -> None:
    """10 s of work every five minutes."""
    pool = Pool(lambda now: 30.0 + (1_000.0 if now % 300 < 1 else 0.0))
    pool.run(3600)
    assert set(pool.counts) == {1}


def test_up_and_down_once_for_each_rise_and_fall() -> None:
    """A day in an hour and a half: the number follows, and costs no more than a hundredth of the time in pauses."""
    pool = Pool(lambda now: MOST * (0.3 if now < 1_800 or now > 3_600 else 2.5))
    pool.run(1_800)
    assert len(pool.workers) == 1
    pool.run(1_800)
    assert len(pool.workers) in (3, 4)
    pool.run(3_600)
    assert len(pool.workers) == 1
    assert pool.changes(7_200) * PAUSE_SECONDS < 0.01 * 7_200


def test_without_an_answer_nothing_is_wanted_and_waiting_anchors_ask_for_nobody() -> None:
    """Both metrics are 0 for a worker whose anchors all wait, however many there are."""
    scaler = Autoscaler(rule(), 1)
    for now in range(0, 600, 15):
        assert scaler.look(float(now), {"a": Told(0.0, 7.0)}) == 1
    assert scaler.wanted == 0


def test_a_page_of_metrics_is_read() -> None:
    """Both must be there: a worker that starts has none."""
    page = "# HELP a b\nfusion_work_left_seconds 1.5\nfusion_work_done_seconds_total 2e+1\n"
    assert Told.by(page) == Told(1.5, 20.0)
    assert Told.by("fusion_work_left_seconds 1.5\n") is None
