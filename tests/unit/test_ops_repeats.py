"""worker/ops/repeats.py: a warning that repeats is written once in a while, and none is left out uncounted."""

from __future__ import annotations

import contextlib
from typing import Any

import structlog
from hypothesis import given
from hypothesis import strategies as st

from worker.ops.repeats import MOST_SENTENCES, Repeats


class Lines:
    """A processor with a clock of its own, and what came of it."""

    def __init__(self) -> None:
        self.now, self.written, self.told = 0.0, list[dict[str, Any]](), list[tuple[str, int]]()
        self.repeats = Repeats(lambda event, times: self.told.append((event, times)), 10.0, lambda: self.now)

    def log(self, level: str, event: str, **fields: Any) -> None:
        with contextlib.suppress(structlog.DropEvent):
            self.written.append(dict(self.repeats(None, level, {"level": level, "event": event, **fields})))


def test_a_warning_repeats_once_in_ten_seconds_with_the_count() -> None:
    """Numbers in its reason make no new one; the line that comes after the time says how many were left out."""
    lines = Lines()
    for number in range(101):
        lines.now = number * 0.1
        lines.log("warning", "kafka away", reason=f"no answer within {number} ms")
    assert [line.get("left_out") for line in lines.written] == [None, 99]
    assert not lines.told


def test_what_is_left_out_last_is_told_by_the_next_line() -> None:
    """The storm ends; an ordinary line after the time brings the count, once."""
    lines = Lines()
    for _ in range(5):
        lines.log("error", "away")
    lines.log("info", "soon")
    assert not lines.told
    lines.now = 10.0
    lines.log("info", "later")
    lines.log("info", "later")
    assert lines.told == [("away", 4)]


def test_what_names_another_thing_is_another_warning() -> None:
    """Each source, stream and list of partitions is told; information is never left out."""
    lines = Lines()
    for number in range(3):
        lines.log("warning", "a source's clock is off", source=f"cam-{number}", offset_seconds=number)
        lines.log("warning", "reading pauses", partitions=[f"texts/{number}"])
        lines.log("info", "partitions")
    assert len(lines.written) == 9


@given(
    st.lists(st.tuples(st.floats(0, 30), st.integers(0, 5), st.sampled_from(["warning", "error", "info"])), max_size=60)
)
def test_nothing_is_lost_uncounted(storm: list[tuple[float, int, str]]) -> None:
    """Lines given = lines written + lines told as left out, for any storm."""
    lines = Lines()
    for wait, which, level in storm:
        lines.now += wait
        lines.log(level, "abcdef"[which])
    lines.now += 100
    lines.log("info", "end")
    told = sum(times for _, times in lines.told) + sum(line.get("left_out", 0) for line in lines.written)
    assert len(lines.written) + told == len(storm) + 1


def test_names_from_outside_fill_no_memory() -> None:
    """The oldest sentence goes, and its count is told."""
    lines = Lines()
    for _ in range(3):
        lines.log("warning", "off", source="first")
    for number in range(2 * MOST_SENTENCES):
        lines.log("warning", "off", source=f"cam-{number}")
    assert len(lines.repeats._written) <= MOST_SENTENCES
    assert lines.told == [("off", 2)]
