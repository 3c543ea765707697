"""Workers of two releases in one pool, real processes: an old one runs, a new one joins, the old one leaves, and back.

The old releases are commits of this repository, each the last before a format changed that workers of a pool share.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.story import minutes_ago, nearest_frame, story
from tests.town import Town, Worker, town, verdicts
from worker.store.form import FORM

HERE = Path(__file__).resolve().parents[2]


class Releases:
    """Starts workers of this release, or of an old one."""

    def __init__(self, old: Path) -> None:
        self._old = old
        self.of_old, self.lacks_fetcher = False, True

    def start(self, path: Path, log: Path) -> Worker:
        """As Town asks for it."""
        tree = self._old if self.of_old else HERE
        given = json.loads(path.read_text())
        if self.of_old and self.lacks_fetcher:
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


def test_another_form_of_keys_does_not_begin_beside_one_that_runs(stack: Any, tmp_path: Path) -> None:
    """A release that keeps keys otherwise ends by itself with a line, and those that run go on; once they have left, it
    begins, and the first is the one that does not."""
    other = tmp_path / "other"
    for part in ("worker", "schemas", "tests"):
        shutil.copytree(HERE / part, other / part, ignore=shutil.ignore_patterns("__pycache__"))
    form = other / "worker/store/form.py"
    form.write_text(form.read_text().replace(f'FORM = "{FORM}"', 'FORM = "other"'))
    releases = Releases(other)
    releases.lacks_fetcher = False
    events = story(12, minutes_ago(60), keys=4, anchors_per_key=60)
    texts, step = sum(event.stream == "texts" for event in events), len(events) // 4
    settings = {"kafka": {"startup_timeout": "3s"}, "streams": {"frames": {"max_wait": "120s"}}}
    with town(stack, tmp_path, nursery=releases, **settings) as made:
        for number, (of_old, theirs, own) in enumerate(((False, "other", FORM), (True, FORM, "other"))):
            made.feed(events[2 * number * step : (2 * number + 1) * step])
            runs = joined(made, releases, old=of_old)
            done = len(made.results)
            releases.of_old = not of_old
            refused = made.start()[-1]
            made.feed(events[(2 * number + 1) * step : (2 * number + 2) * step if number == 0 else None])
            assert refused.wait(120) == 3, made.log()
            made.workers.remove(refused)
            assert f"in form {own}, this one in {theirs}; end all of them before this release begins" in made.log()
            made.read_until(lambda n=done: len(made.results) > n, 60)  # type: ignore[misc]
            if number == 0:
                leaves(made, runs)
                with closing(redis.from_url(stack.redis_url)) as client:
                    assert client.pexpire(f"fw:{made.name}:form", 1), "its lease lasts for a while"
        made.read_until(lambda: len(made.results) >= texts, 120)
        assert max(Counter(result["id"] for result in made.results).values()) == 1
        assert verdicts(made.results) == nearest_frame(events)
        assert not made.dead
        assert "redis lost context" not in made.log()
        assert made.stop() == [0]
