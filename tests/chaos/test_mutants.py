"""The harness can fail: six wrong workers, and each is seen."""

from __future__ import annotations

import contextlib
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.checker import findings
from tests.chaos.ground import Ground
from tests.chaos.mutants import MUTANTS, gap_mark
from tests.chaos.storm import Storm, backlog, settings
from tests.story import minutes_ago, story
from tests.town import Worker, town

ANCHORS = 600
PATIENCE_SECONDS = 15.0
AIM_SECONDS = 3.0


class Aimed(Storm):
    """Strikes where a mistake shows: a worker in its gap; where none comes into one, that which works longest."""

    def victim(self) -> Worker:
        """Waits until some worker is there."""
        made = self.made
        with contextlib.suppress(AssertionError):
            made.read_until(lambda: any(self._exposed(one) for one in made.workers), AIM_SECONDS)
        return next(filter(self._exposed, made.workers), made.workers[0])

    def _exposed(self, worker: Worker) -> bool:
        return gap_mark(self.made.folder, worker.pid).exists()


def storm(ground: Ground, folder: Path, faults: list[str], mutant: str | None) -> str:
    """What is found after a storm; empty: nothing."""
    events = backlog(3, ANCHORS)
    with town(ground, folder, **settings(ground), mutant=mutant) as made:
        made.start(3)
        stalled = ""
        try:
            Aimed(ground, made, 3).rage(events, faults, PATIENCE_SECONDS)
            made.read(1.0)
            made.stop()
        except AssertionError as error:
            stalled = str(error)
        found = findings(events, made)
        return f"{found} {stalled}" if found else stalled


def stopped(ground: Ground, folder: Path, mutant: str | None) -> str:
    """What a worker leaves undone that is stopped with a batch on the model; empty: nothing."""
    events = story(4, minutes_ago(3), keys=2, anchors_per_key=4)
    slow: dict[str, Any] = settings(ground, cost_ms=1000.0, model={"max_delay": "100ms"})
    with town(ground, folder, **slow, mutant=mutant) as made:
        (worker,) = made.start()
        made.feed(events)
        made.read_until(lambda: 'count{stage="decode"} 8.0' in made.metrics())
        worker.send_signal(signal.SIGTERM)
        assert made.stop() == [0]
        made.read(1.0)
        found = findings(events, made)
        return str(found) if found else ""


SCENES = {
    "commit_before_publish": (["kill"] * 4, r"[1-9]\d* lost|\d+ results after"),
    "publish_outside_the_transaction": (["kill"] * 4, r"[1-9]\d* doubled"),
    "ledger_ignored": (["kill"] * 3, r"[1-9]\d* doubled"),
    "epoch_ignored": (["flush"] * 3, r"[1-9]\d* changed|\d+ results after"),
    "generation_not_passed": (["freeze"] * 4, r"[1-9]\d* doubled"),
}


def test_every_mutant_has_its_scene() -> None:
    """None is forgotten."""
    assert SCENES.keys() | {"drain_skipped"} == MUTANTS.keys()


@pytest.mark.long
@pytest.mark.parametrize("mutant", SCENES)
def test_a_wrong_worker_is_seen(ground: Ground, tmp_path: Path, mutant: str) -> None:
    """The same storms that the worker passes (test_storm) show what its mutant does."""
    faults, symptom = SCENES[mutant]
    found = storm(ground, tmp_path, faults, mutant)
    assert re.search(symptom, found), f"the mutant passed: {found or 'nothing found'}"
    assert "workers ended by themselves" not in found


def test_a_worker_that_does_not_drain_is_seen(ground: Ground, tmp_path: Path) -> None:
    """What is on the model at SIGTERM is committed, unless draining is skipped."""
    assert stopped(ground, tmp_path, None) == ""
    assert stopped(ground, tmp_path, "drain_skipped").startswith("8 lost")
