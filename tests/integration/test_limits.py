"""Where the worker stops, and what a broken verdict costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.story import Fed, headers_of, minutes_ago, nearest_frame, story
from tests.town import Town, town, verdicts
from tests.unit.incoming import JPEG


def _bad_texts(made: Town, count: int) -> None:
    for n in range(count):
        made.send("texts", f"bad-{n}", b"\xff", headers_of(Fed(minutes_ago(5), "texts", f"bad-{n}", f"bad-{n}")))
    made.flush()


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"dead_letters_in_a_row": 20}, "20 dead letters in a row (limits.dead_letters_in_a_row = 20)"),
        (
            {"dead_letters_in_a_row": 0, "dead_letter_ratio": 0.03},
            "31 of the last 1000 records were dead letters (limits.dead_letter_ratio = 0.03)",
        ),
    ],
    ids=["in a row", "ratio"],
)
def test_too_many_dead_letters_stop_the_worker_before_they_are_lost(
    stack: Any, tmp_path: Path, limits: dict[str, Any], said: str
) -> None:
    """Exit 4 and one line; with the limit lifted the next worker reads them again, and each has one outcome."""
    events = story(3, minutes_ago(5), keys=3, anchors_per_key=5)
    with town(stack, tmp_path, {"texts": 1, "frames": 1}, limits=limits) as made:
        made.feed(events)
        _bad_texts(made, 40)
        (worker,) = made.start()
        assert worker.wait(60) == 4
        made.workers.clear()
        last = made.log().strip().splitlines()[-1]
        assert said in last
        assert "not UTF-8" in last
        made.settings["limits"] = {"dead_letters_in_a_row": 0, "dead_letter_ratio": 0.0}
        made.start()
        made.read_until(lambda: len(made.results) >= 15 and len(made.dead) >= 40)
        made.read(1.0)
        assert verdicts(made.results) == nearest_frame(events)
        assert (len(made.results), len(made.dead)) == (15, 40)
        assert made.stop() == [0]


def test_a_verdict_that_is_no_number_is_a_dead_letter(stack: Any, tmp_path: Path) -> None:
    """NaN from a model is stage PUBLISH, an item that fails the model stage MODEL; the others have their results."""
    at = minutes_ago(5)
    bodies = [b"fine", b"NAN", b"POISON", b"good"]
    with town(stack, tmp_path, {"texts": 1}) as made:
        made.feed([Fed(at, "frames", f"k{n}", f"f{n}", JPEG) for n in range(4)])
        made.feed([Fed(at, "texts", f"k{n}", f"t{n}", body) for n, body in enumerate(bodies)])
        made.start()
        made.read_until(lambda: len(made.results) + len(made.dead) >= 4)
        assert sorted(verdicts(made.results)) == ["t0", "t3"]
        stages = {letter.value: dict(letter.headers)["__connect.errors.stage"] for letter in made.dead}
        assert stages == {b"NAN": b"PUBLISH", b"POISON": b"MODEL"}
        assert made.stop() == [0]
