"""Real workers come and go by the chart's rule while events flow: nothing is lost, doubled or changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.chaos.ground import Ground
from tests.chaos.scaling import BATCH, MOST, PATIENT, say, up_and_down
from tests.story import Fed, minutes_ago
from tests.town import Town, town
from tests.unit.incoming import JPEG

# Of the one worker, by what a batch costs; on a busy machine it does fewer.
MOST_A_SECOND = 80


@pytest.mark.long
@pytest.mark.timeout(600)
def test_one_three_one_by_the_rule_loses_and_doubles_nothing(ground: Ground, tmp_path: Path) -> None:
    """A low load, one that three workers can do, and the low one again."""
    course, found = up_and_down(ground, tmp_path)
    line = say(course, found)
    print(line)
    assert not found, line
    assert set(course.codes) == {0}, line
    assert (course.steps[0], max(course.steps), course.steps[-1]) == (1, MOST, 1), line


def told(made: Town, name: str) -> float:
    """The value of one metric of the one worker."""
    found = re.search(rf"^fusion_{name} (\S+)$", made.metrics(), re.MULTILINE)
    return float(found[1]) if found else -1.0


def test_an_anchor_that_waits_is_no_work(ground: Ground, tmp_path: Path) -> None:
    """A backlog is told in seconds; anchors whose camera is dead are held, and are none."""
    settings = {"model": {"max_batch": BATCH}, "streams": PATIENT, "nursery": ground.nursery}
    with town(ground, tmp_path, {"texts": 1, "frames": 1}, **settings) as made:
        made.cost_ms = 1000 * BATCH / MOST_A_SECOND
        start_us = minutes_ago(3)
        texts = [Fed(start_us + n * 1_000, "texts", f"k{n % 8}", f"t{n}", b"now") for n in range(900)]
        made.feed([*texts, *(Fed(one.time_us, "frames", one.key, f"f{one.id}", JPEG) for one in texts)])
        made.start()
        made.read_until(lambda: told(made, "work_left_seconds") > 0)
        seconds, left = told(made, "work_left_seconds"), len(texts) - len(made.results)
        assert seconds > left / MOST_A_SECOND / 2
        made.read_until(lambda: len(made.results) >= len(texts))
        made.feed([Fed(start_us + 10_000_000 + n, "texts", "dark", f"d{n}", b"now") for n in range(300)])
        made.read_until(lambda: told(made, "pending_anchors") == 300)
        made.read_until(lambda: told(made, "work_left_seconds") == 0)
        assert told(made, "pending_anchors") == 300
        assert told(made, "work_done_seconds_total") > 1
        made.feed([Fed(start_us + second * 1_000_000, "frames", "dark", f"g{second}", JPEG) for second in (10, 12)])
        made.read_until(lambda: len(made.results) >= len(texts) + 300)
        assert made.stop() == [0]
