"""A real worker's page: its figures are those of its results, and what is masked is masked on it too."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.integration.test_explain_command import overrides
from tests.integration.test_privacy_places import CAMERA, START_SECONDS, fed, found, opened, privacy
from tests.story import minutes_ago, nearest_frame, story
from tests.town import Town, town


@contextlib.contextmanager
def looking(port: int) -> Iterator[Iterator[tuple[str, Any]]]:
    """What the page is told, event by event."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/console/live", timeout=60) as answer:

        def events() -> Iterator[tuple[str, Any]]:
            name = ""
            for line in answer:
                field, _, value = line.decode().rstrip("\n").partition(": ")
                name = value if field == "event" else name
                if field == "data":
                    yield name, json.loads(value)

        yield events()


def shown(port: int, count: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The state, and the verdicts once there are so many."""
    state, verdicts = {}, list[dict[str, Any]]()
    with looking(port) as events:
        for name, told in events:
            state, verdicts = (told, verdicts) if name == "state" else (state, verdicts + told)
            if len(verdicts) >= count:
                break
    return state, verdicts


def test_what_is_shown_is_what_was_published(stack: Any, tmp_path: Path) -> None:
    """The last twelve, each as its result has it, with its frame's picture or the reason why there is none."""
    events = story(21, minutes_ago(10), 3, 8)
    frames = nearest_frame(events)
    with town(stack, tmp_path, {}, http={"console": True}) as made:
        made.feed(events)
        made.start()
        made.read_until(lambda: len(made.results) == 24)
        (port,) = made.ports().values()
        state, verdicts = shown(port, 12)
        results = {one["id"]: one for one in made.results}
        assert len(verdicts) == 12
        for one in verdicts:
            result = results[one["id"]]
            assert {name: one[name] for name in ("key", "time", "label", "score", "complete")} == {
                name: result[name] for name in ("key", "time", "label", "score", "complete")
            }
            text, *others = one["inputs"]
            assert text["text"] == f"report {result['key']} {text['id'].rpartition('t')[2]}"
            assert [other["id"] for other in others] == [name for name in [frames[text["id"]]] if name]
            assert all(other["picture"].startswith("data:image/jpeg;base64,") for other in others)
            assert [[name, why] for name, why, _ in one["missing"]] == [list(gap) for gap in result["missing"].items()]
            own = result["inputs"]["texts"]
            assert one["place"] == f"{own['topic']}/{own['partition']}/{own['offset']}"
        assert state["about"]["group"] == made.name
        assert state["about"]["model"] == "echo 1, cpu fp32"
        assert {one["name"]: one["events"] for one in state["streams"]} == {
            name: sum(event.stream == name for event in events) for name in ("texts", "frames")
        }
        assert state["reasons"] == []
        assert made.stop() == [0]


@pytest.mark.long  # Twice half a minute.
@pytest.mark.parametrize("before_model", [True, False])
def test_what_is_masked_is_masked_on_the_page(stack: Any, tmp_path: Path, before_model: bool) -> None:
    """Also where the model, and it alone, sees the bodies as they came: texts have their marks, pictures their box."""
    section = privacy(tmp_path, before_model=before_model)
    with opened(stack, tmp_path, section, http={"console": True}) as made:
        fed(made, minutes_ago(0.1))
        (port,) = made.ports().values()
        state, verdicts = shown(port, 3)
        told = json.dumps([state, verdicts], ensure_ascii=False)
        assert found(iter([("page", told.encode())])) == []
        texts = [one["inputs"][0]["text"] for one in verdicts if one["key"] == CAMERA and one["label"]]
        assert len(texts) == 3
        assert all("[email]" in text and "[name]" in text for text in texts)
        pictures = [one["picture"] for verdict in verdicts for one in verdict["inputs"] if "picture" in one]
        assert pictures
        for picture in pictures:
            pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))))
            high, wide, _ = pixels.shape
            box = pixels[int(high * 0.3) : int(high * 0.7), int(wide * 0.3) : int(wide * 0.7)]
            assert np.ptp(box) <= 6
            assert abs(int(pixels[5, 5, 0]) - 200) < 5


def running(made: Town) -> subprocess.Popen[bytes]:
    """`fusion-worker run`, with the model that ships."""
    command = [sys.executable, "-m", "worker", "run", *overrides(made), "--set", "log.format=json"]
    command += ["--set", "http.port=0", "--set", "http.console=true"]
    with (made.folder / "run.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=os.environ)


def port_of(made: Town) -> int:
    """Where it listens, once it does."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        lines = (made.folder / "run.log").read_text().splitlines()
        for line in lines:
            if '"listening"' in line:
                return int(json.loads(line)["port"])
        assert time.monotonic() < deadline, lines
        time.sleep(0.1)


@pytest.mark.long
def test_the_search_explains(stack: Any, tmp_path: Path) -> None:
    """By a key that is on the page, and by one that only the log knows: what `explain` says, from a worker's own page;
    a key that nobody knows is an error in words. The worker goes on meanwhile, and ends as it is told."""
    events = story(22, minutes_ago(10), 16, 1)
    with town(stack, tmp_path, {}) as made:
        made.feed(events)
        process = running(made)
        try:
            port = port_of(made)
            made.read_until(lambda: len(made.results) == 16, START_SECONDS)
            _, verdicts = shown(port, 12)
            on = {one["key"] for one in verdicts}
            off = next(one["key"] for one in made.results if one["key"] not in on)
            for key in (verdicts[0]["key"], off, "nobody"):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/console/explain?q={key}", timeout=180) as answer:
                    said = answer.read().decode()
                if key == "nobody":
                    assert "'nobody': no key and no id of the newest" in said
                else:
                    assert f"of key '{key}'" in said, said
                    assert "the same label and the same inputs" in said, said
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()


def test_the_page_does_not_change_what_is_published(stack: Any, tmp_path: Path) -> None:
    """Result by result the same, with it and without it."""
    events = story(23, minutes_ago(10), 2, 10)
    with town(stack, tmp_path, {}) as made:
        made.feed(events)
        published = []
        for console in (False, True):
            with made.twin() as other:
                other.settings["http"] = {"port": 0, "console": console}
                other.start()
                other.read_until(lambda one=other: len(one.results) == 20)  # type: ignore[misc]
                published.append(sorted(json.dumps(one, sort_keys=True) for one in other.results))
                assert other.stop() == [0]
        assert published[0] == published[1]
