"""SIGTERM ends the process in bounded time, whatever hangs; what was left is told, and is done by the next owner."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.nursery import Nursery, nursery
from tests.story import minutes_ago, nearest_frame, story
from tests.town import Town, Worker, town, verdicts
from worker.demo.valkey import EmbeddedValkey

DRAIN_SECONDS = 2.0
# `drain_timeout` + 5 s is the promise; the rest is for a machine with two busy cores.
BOUND_SECONDS = DRAIN_SECONDS + 5.0 + 5.0
PATIENCE_SECONDS = 60.0
DELIVERY = {"drain_timeout": f"{DRAIN_SECONDS:g}s"}


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Workers in moments."""
    with nursery(tmp_path_factory.mktemp("forks")) as opened:
        yield opened


def eventually(found: Callable[[], Any], made: Town) -> None:
    """Waits until it is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not found():
        assert time.monotonic() < deadline, made.log()
        time.sleep(0.02)


def livez(made: Town) -> int:
    """The status of the only worker's /livez; 0: no answer."""
    for port in made.ports().values():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0
    return 0


def ended(made: Town, worker: Worker) -> int:
    """The exit code; a worker that outlives the bound fails the test."""
    code = worker.wait(BOUND_SECONDS)
    made.workers.remove(worker)
    return code


def told(made: Town, event: str) -> list[dict[str, Any]]:
    """The log's lines of this event."""
    lines = (made.folder / f"{made.name}.log").read_text().splitlines()
    return [line for line in map(json.loads, filter(lambda one: one.startswith("{"), lines)) if line["event"] == event]


STALLED = pytest.param("poll_blocks", marks=pytest.mark.long)  # as `poll_turns`, seen from outside


@pytest.mark.parametrize("what", ["poll_turns", STALLED, "model", "decoder", "commit"])
def test_sigterm_ends_a_worker_whose_library_hangs(stack: Any, forks: Nursery, tmp_path: Path, what: str) -> None:
    """Exit 1 within the bound, a line that says how much was left; the next worker gives each anchor its result."""
    events = story(41, minutes_ago(2), 2, 6)
    partitions = {"texts": 1, "frames": 1}
    with town(stack, tmp_path, partitions, mutant=f"tests.hangs:{what}", delivery=DELIVERY, nursery=forks) as made:
        made.feed(events)
        (worker,) = made.start()
        eventually((tmp_path / "hangs").exists, made)
        worker.send_signal(signal.SIGTERM)
        worker.send_signal(signal.SIGTERM)
        assert ended(made, worker) == 1
        (line,) = [*told(made, "drain timed out"), *told(made, "ended by force")][-1:]
        assert "read and not committed" in line["left"]
        made.mutant = None
        made.start()
        made.read_until(lambda: len(made.results) >= 12)
        assert made.stop() == [0]
        assert verdicts(made.results) == nearest_frame(events)
        assert len(made.results) == 12


@pytest.mark.parametrize("what", ["poll_turns", STALLED])
def test_livez_sees_a_loop_that_stands(stack: Any, forks: Nursery, tmp_path: Path, what: str) -> None:
    """A poll that never returns is no life, though the process is there and its port answers."""
    quick = {"kafka": {"max_poll_interval": "7s"}, "delivery": {**DELIVERY, "commit_timeout": "1s"}}
    with town(stack, tmp_path, {"texts": 1, "frames": 1}, mutant=f"tests.hangs:{what}", nursery=forks, **quick) as made:
        (worker,) = made.start()
        eventually(lambda: livez(made) == 200, made)
        made.feed(story(43, minutes_ago(2), 1, 2))
        eventually(lambda: livez(made) == 503, made)
        worker.send_signal(signal.SIGTERM)
        assert ended(made, worker) == 1


def test_nothing_left_is_0_also_when_the_farewell_hangs(stack: Any, forks: Nursery, tmp_path: Path) -> None:
    """All is committed; the group hears by its session timeout that the member is gone."""
    events = story(47, minutes_ago(2), 2, 4)
    with town(stack, tmp_path, {"texts": 1}, mutant="tests.hangs:farewell", delivery=DELIVERY, nursery=forks) as made:
        made.feed(events)
        (worker,) = made.start()
        made.read_until(lambda: len(made.results) >= 8)
        eventually(lambda: "fusion_pending_anchors 0.0" in made.metrics(), made)
        worker.send_signal(signal.SIGTERM)
        assert ended(made, worker) == 0
        assert len(told(made, "ended by force")) == 1


LATE = """
import contextlib, threading, types
from worker import assemble
from worker.config import Settings

class Late:
    def __del__(self):
        print("freed", flush=True)
        threading.Event().wait()

late = Late()
pipeline = types.SimpleNamespace(budget=types.SimpleNamespace(left=str), run=lambda: True, stop=str)
assemble.worker = lambda *_: contextlib.nullcontext(pipeline)
print("begun")
assemble.run(Settings.model_validate({"http": {"port": 0}}))
"""


def test_what_python_frees_at_its_end_holds_nobody_up() -> None:
    """No thread of Python runs any more then, so no watchdog could end it."""
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0
    assert "begun" in done.stdout
    assert "freed" not in done.stdout


def test_a_second_signal_changes_nothing(stack: Any, forks: Nursery, tmp_path: Path) -> None:
    """Supervisors and terminals send two at a time: what is on the model is finished and committed all the same."""
    events = story(53, minutes_ago(2), 2, 4)
    with town(stack, tmp_path, {"texts": 1}, cost_ms=1500.0, delivery={"drain_timeout": "20s"}, nursery=forks) as made:
        made.feed(events)
        (worker,) = made.start()
        eventually(lambda: 'fusion_stage_seconds_count{stage="decode"} 8' in made.metrics(), made)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            worker.send_signal(number)
        assert worker.wait(30) == 0
        made.workers.clear()
        made.read(1.0)
        assert verdicts(made.results) == nearest_frame(events)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A server of this test's own, that it may freeze."""
    server = EmbeddedValkey(tmp_path)
    yield server
    os.kill(server.pid, signal.SIGCONT)
    server.stop()


def test_sigterm_ends_a_worker_whose_redis_is_frozen(
    stack: Any, forks: Nursery, tmp_path: Path, valkey: EmbeddedValkey
) -> None:
    """Anchors that wait are left to the next owner; the frozen server holds nobody."""
    events = [event for event in story(59, minutes_ago(0), 2, 6) if event.stream == "texts"]
    redis = {"url": valkey.url, "timeout": "3s"}
    streams = {"frames": {"max_wait": "60s"}}
    with town(stack, tmp_path, {"texts": 1}, redis=redis, streams=streams, delivery=DELIVERY, nursery=forks) as made:
        (worker,) = made.start()
        made.feed(events)
        eventually(lambda: "fusion_pending_anchors 12.0" in made.metrics(), made)
        os.kill(valkey.pid, signal.SIGSTOP)
        worker.send_signal(signal.SIGTERM)
        assert ended(made, worker) in (0, 1)
