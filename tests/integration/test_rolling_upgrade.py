"""Workers of two releases in one pool, real processes: an old one runs, a new one joins, the old one leaves, and back.

The old releases are commits of this repository, each the last before a format changed that workers of a pool share.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.story import minutes_ago, nearest_frame, story
from tests.town import Town, Worker, town, verdicts

HERE = Path(__file__).resolve().parents[2]


class Releases:
    """Starts workers of this release, or of an old one."""

    def __init__(self, old: Path) -> None:
        self._old = old
        self.of_old = False

    def start(self, path: Path, log: Path) -> Worker:
        """As Town asks for it."""
        tree = self._old if self.of_old else HERE
        given = json.loads(path.read_text())
        if self.of_old:
            given["settings"]["kafka"].pop("fetcher")  # There was but one.
        own = path.with_name(f"{path.stem}-{'old' if self.of_old else 'new'}.json")
        own.write_text(json.dumps(given))
        command = [sys.executable, "-m", "tests.worker_process", str(own)]
        with log.open("ab") as out:
            return subprocess.Popen(
                command, stdout=out, stderr=out, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}
            )


def release(commit: str, folder: Path) -> Path:
    """The tree of a commit."""
    found = subprocess.run(
        ["git", "-C", str(HERE), "archive", commit, "worker", "schemas", "tests"], capture_output=True, check=False
    )
    assert not found.returncode, f"this clone's history does not reach back to {commit}: git fetch --unshallow"
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=found.stdout, check=True)
    return folder


def joined(made: Town, releases: Releases, *, old: bool) -> Worker:
    """A worker of that release, once it holds partitions."""
    releases.of_old = old
    (worker,) = made.start()
    made.read_until(lambda: made.ask("readyz").get(worker.pid, "").startswith("ready"), 120)
    return worker


def leaves(made: Town, worker: Worker) -> None:
    """By SIGTERM; it drains."""
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0, made.log()
    made.workers.remove(worker)


@pytest.mark.long
@pytest.mark.parametrize(
    ("commit", "together"),
    [
        # The Redis functions are others, what they keep is alike.
        pytest.param("698963e", True, id="other-functions"),
        # What Redis keeps of a key is another form: beside each other neither goes on.
        pytest.param("aa2dc56^", False, id="other-keys"),
        # Commits have no tally of dead letters yet.
        pytest.param("d5653c6^", False, id="other-ledger"),
    ],
)
def test_releases_take_turns(stack: Any, tmp_path: Path, commit: str, together: bool) -> None:
    """Each anchor's result is there once and right, whoever gave it; where `together`, also while both are there."""
    releases = Releases(release(commit, tmp_path / "old"))
    events = story(11, minutes_ago(60), keys=8, anchors_per_key=150)
    texts = sum(event.stream == "texts" for event in events)
    step = len(events) // 5
    parts = [events[number * step : (number + 1) * step if number < 4 else None] for number in range(5)]
    with town(stack, tmp_path, nursery=releases, streams={"frames": {"max_wait": "120s"}}) as made:
        made.feed(parts[0])
        old = joined(made, releases, old=True)
        made.read_until(lambda: bool(made.results))
        made.feed(parts[1])
        new = joined(made, releases, old=False)
        made.feed(parts[2])
        if together:
            made.read_until(lambda: len(made.results) > texts * 0.55)
        leaves(made, old)
        made.feed(parts[3])
        made.read_until(lambda: len(made.results) > texts * 0.7)
        old = joined(made, releases, old=True)
        made.feed(parts[4])
        if together:
            made.read_until(lambda: len(made.results) > texts * 0.9)
        leaves(made, new)
        made.read_until(lambda: len(made.results) >= texts, 120)
        assert max(Counter(result["id"] for result in made.results).values()) == 1
        assert verdicts(made.results) == nearest_frame(events)
        assert not made.dead
        assert made.stop() == [0]
