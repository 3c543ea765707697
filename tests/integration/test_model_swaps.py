"""Models are swapped under load in a real worker on real servers: nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.signing import key_of, sign
from tests.story import minutes_ago, nearest_frame, story
from tests.tiny import write_tiny_model
from tests.town import Town, town, verdicts
from worker.model.sums import write_sums

TAKEN = 'fusion_model_reloads_total{outcome="taken_over"} '


def point(link: Path, to: Path) -> None:
    """The link leads to another folder from one moment to the next."""
    link.with_suffix(".new").symlink_to(to)
    os.replace(link.with_suffix(".new"), link)


def version(folder: Path, name: str) -> Path:
    """A tiny model of that version."""
    made = write_tiny_model(folder / name)
    config = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps({**config, "version": name}))
    write_sums(made)
    return made


def taken(made: Town) -> int:
    """How many models were taken over so far."""
    lines = [line for line in made.metrics().splitlines() if line.startswith(TAKEN)]
    return sum(int(float(line.removeprefix(TAKEN))) for line in lines)


@pytest.mark.parametrize("swaps", [4, pytest.param(50, marks=pytest.mark.long)])
def test_models_are_swapped_under_load(stack: Any, tmp_path: Path, swaps: int) -> None:
    """By SIGHUP, one after the other; a folder that holds none is refused in between, and costs nothing."""
    folders, link = [version(tmp_path, name) for name in ("one", "two")], tmp_path / "now"
    (empty := tmp_path / "empty").mkdir()
    point(link, folders[0])
    events = story(5, minutes_ago(60), keys=8, anchors_per_key=25 * (swaps + 1))
    texts = sum(event.stream == "texts" for event in events)
    step = len(events) // (swaps + 2)
    waits = {"frames": {"max_wait": "90s"}}  # A step's last texts have their frames in the next.
    with town(stack, tmp_path, cost_ms=None, model={"path": str(link)}, streams=waits) as made:
        made.feed(events[:step])
        (worker,) = made.start()
        made.read_until(lambda: bool(made.results), 180)
        for number in range(1, swaps + 1):
            point(link, empty)
            worker.send_signal(signal.SIGHUP)
            made.feed(events[number * step : (number + 1) * step])
            made.read_until(lambda n=number: f'outcome="refused"}} {n}.0' in made.metrics())  # type: ignore[misc]
            point(link, folders[number % 2])
            worker.send_signal(signal.SIGHUP)
            made.read_until(lambda n=number: taken(made) == n)  # type: ignore[misc]
        made.feed(events[(swaps + 1) * step :])
        made.read_until(lambda: len(made.results) >= texts)
        assert verdicts(made.results) == nearest_frame(events)
        assert max(Counter(result["id"] for result in made.results).values()) == 1
        assert not made.dead
        told = Counter(result["model"]["version"] for result in made.results)
        assert set(told) == {"one", "two"}
        assert made.metrics().count("fusion_model_info{") == 1
        assert made.stop() == [0]


def test_a_model_that_was_tampered_with_is_refused(stack: Any, tmp_path: Path) -> None:
    """Unsigned, signed and then changed, signed by another: the old one goes on; the next that is signed is taken."""
    (private, public), (other, _) = key_of(tmp_path, "own"), key_of(tmp_path, "other")
    folders = {name: version(tmp_path, name) for name in ("one", "two", "unsigned", "changed", "another")}
    for name, folder in folders.items():
        if name != "unsigned":
            sign(folder, other if name == "another" else private)
    (folders["changed"] / "config.json").write_text((folders["two"] / "config.json").read_text())
    said = {"unsigned": "SHA256SUMS.sig: is not there", "changed": "config.json: differs", "another": "none of this"}
    link = tmp_path / "now"
    point(link, folders["one"])
    model = {"path": str(link), "trusted_key": str(public)}
    events = story(7, minutes_ago(60), keys=2, anchors_per_key=20)
    half = len(events) // 2
    waits = {"frames": {"max_wait": "90s"}}
    with town(stack, tmp_path, cost_ms=None, model=model, streams=waits) as made:
        made.feed(events[:half])
        (worker,) = made.start()
        made.read_until(lambda: bool(made.results), 180)
        for number, (name, reason) in enumerate(said.items(), 1):
            point(link, folders[name])
            worker.send_signal(signal.SIGHUP)
            made.read_until(lambda n=number: f'outcome="refused"}} {n}.0' in made.metrics())  # type: ignore[misc]
            assert reason in made.log(), name
        point(link, folders["two"])
        worker.send_signal(signal.SIGHUP)
        made.read_until(lambda: taken(made) == 1)
        made.feed(events[half:])
        made.read_until(lambda: len(made.results) == 40)
        assert {result["model"]["version"] for result in made.results} == {"one", "two"}
        assert made.stop() == [0]
        point(link, folders["changed"])
        (worker,) = made.start()
        assert worker.wait(60) == 2
        assert "config.json: differs" in made.log()
        made.workers.clear()


def test_a_folder_that_is_watched(stack: Any, tmp_path: Path) -> None:
    """`[model] watch`: no signal is needed."""
    folders, link = [version(tmp_path, name) for name in ("one", "two")], tmp_path / "now"
    point(link, folders[0])
    events = story(6, minutes_ago(60), keys=2, anchors_per_key=20)
    half = len(events) // 2
    waits = {"frames": {"max_wait": "90s"}}
    watched = {"path": str(link), "watch": "200ms"}
    with town(stack, tmp_path, cost_ms=None, model=watched, streams=waits) as made:
        made.feed(events[:half])
        made.start()
        made.read_until(lambda: bool(made.results), 180)
        point(link, folders[1])
        made.read_until(lambda: taken(made) == 1)
        seen = len(made.results)
        made.feed(events[half:])
        made.read_until(lambda: len(made.results) == 40)
        assert {result["model"]["version"] for result in made.results[seen + half :]} <= {"two"}
        assert {result["model"]["version"] for result in made.results} == {"one", "two"}
        assert made.stop() == [0]
