"""A verdict that was published is rebuilt from the log, and what cannot be rebuilt is told apart."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.story import minutes_ago, story
from tests.town import Town
from worker.cli import main
from worker.demo.stack import Stack


def overrides(made: Town) -> list[str]:
    """The town's settings as arguments."""
    given = []
    for section in ("kafka", "redis", "output"):
        given += [f"{section}.{key}={value}" for key, value in made.settings[section].items()]
    for name, stream in made.settings["streams"].items():
        given += [f"streams.{name}.{key}={value}" for key, value in stream.items()]
    return [part for one in given for part in ("--set", one)]


def test_explain_rebuilds_what_was_published(stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of every result: the same label and inputs; with --out pictures and numbers; errors name what is there."""
    events = story(11, minutes_ago(10), 3, 4)
    made = Town(stack, tmp_path, {}, cost_ms=None)
    try:
        made.feed(events)
        made.start()
        made.read_until(lambda: len(made.results) >= sum(event.stream == "texts" for event in events))
        assert made.stop() == [0]
        given = overrides(made)
        for result in made.results[:4]:
            own = result["inputs"]["texts"]
            assert main(["explain", f"{own['topic']}/{own['partition']}/{own['offset']}", *given]) == 0
            told = capsys.readouterr().out
            assert "the same label and the same inputs" in told, told
            assert result["label"] in told
        place = f"{own['topic']}/{own['partition']}/{own['offset']}"
        assert main(["explain", place, "--out", str(tmp_path / "out"), *given]) == 0
        assert re.search(r"deletion of all: \d\.\d+ \(random \d\.\d+", capsys.readouterr().out)
        written = json.loads((tmp_path / "out" / "explanation.json").read_text())
        assert written["published"]["differences"] == []
        assert all((tmp_path / "out" / name).is_file() for name in written["files"])
        for place, said in (
            (f"{made.name}.frames/0/0", "anchors are read from topic"),
            (f"{made.name}.texts/99/0", "has partitions 0 to 3, not 99"),
            (f"{made.name}.texts/0/999999", "the log ends before offset"),
            ("texts", "is not TOPIC/PARTITION/OFFSET"),
        ):
            assert main(["explain", place, *given]) == 2
            assert said in capsys.readouterr().err
    finally:
        made.close()


def test_a_dead_letter_has_no_verdict(stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Explain says at which stage the record was refused, and why."""
    made = Town(stack, tmp_path, {"texts": 1})
    try:
        made.send("texts", "junction-1", b"\xff\xfe no text")
        made.flush()
        assert main(["explain", f"{made.name}.texts/0/0", *overrides(made)]) == 1
        assert "has no verdict, it is a dead letter (stage VALIDATE, text_not_utf8)" in capsys.readouterr().err
    finally:
        made.close()


def test_an_anchor_is_found_by_its_key_or_id(stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its result's id, its own, its key's newest; a dead letter's too, but none of a frame; else an error."""
    events = story(12, minutes_ago(10), 2, 3)
    made = Town(stack, tmp_path, {"texts": 1})
    try:
        made.feed(events)
        made.send("texts", "junction-lost", b"\xff\xfe no text")
        made.send("frames", "junction-lost", b"no picture")
        made.send("frames", "junction-blind", b"no picture")
        made.flush()
        made.start()
        made.read_until(lambda: len(made.results) >= 6 and len(made.dead) >= 3)
        assert made.stop() == [0]
        of_key = sorted((one["inputs"]["texts"]["offset"], one) for one in made.results if one["key"] == "junction-1")
        place, (offset, one) = f"anchor {made.name}.texts/0/", of_key[0]
        for wanted, at in ((one["id"], offset), (one["inputs"]["texts"]["id"], offset), ("junction-1", of_key[-1][0])):
            assert main(["explain", f"--find={wanted}", *overrides(made)]) == 0
            assert capsys.readouterr().out.startswith(f"{place}{at}: ")
        assert main(["explain", "--find", "junction-lost", *overrides(made)]) == 1
        assert "has no verdict, it is a dead letter (stage VALIDATE" in capsys.readouterr().err
        for nobody in ("nobody", "junction-blind"):
            assert main(["explain", f"--find={nobody}", *overrides(made)]) == 2
            told = rf"'{nobody}': no key and no id of the newest 2000 .* \(9 read of "
            assert re.search(told, capsys.readouterr().err)
        assert main(["explain", *overrides(made)]) == 2
        assert main(["explain", f"{made.name}.texts/0/0", "--find=x", *overrides(made)]) == 2
    finally:
        made.close()
