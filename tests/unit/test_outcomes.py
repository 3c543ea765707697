"""What is told of outcomes that are committed."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.unit.incoming import NOW_US, FixedClock, plain
from tests.unit.test_batch import Silent
from worker.from_settings import sheds_of
from worker.pipeline.outcomes import Outcomes
from worker.records import Outcome
from worker.stages.publish import ResultWriter

WRITER = ResultWriter("fusions", "dead", source="/t", model_name="m", model_version="1")
NOW_MS = NOW_US // 1000
DAY_MS = 86_400_000


class Observed(Silent):
    """Keeps what was observed."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float]] = []

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Keeps it."""
        self.seen.append((name, value))


@pytest.mark.parametrize(
    ("timestamp_ms", "seconds"),
    [
        (NOW_MS - 1_500, [1.5]),
        (NOW_MS, [0.0]),
        (NOW_MS - 300 * DAY_MS, [300 * 86_400.0]),
        (NOW_MS + 1, []),
        (4_102_444_800_000, []),
        (2**62, []),
        (-1, []),
        (0, []),
        (86_400_000, []),
        (-(2**62), []),
    ],
    ids=[
        "1.5 s",
        "now",
        "a year's replay",
        "1 ms ahead",
        "2100",
        "far",
        "none",
        "1970",
        "1970 and a day",
        "far before",
    ],
)
def test_a_time_that_says_nothing_is_not_observed(timestamp_ms: int, seconds: list[float]) -> None:
    """One record without a timestamp, or with one far off, would shift the sum of a histogram for ever."""
    observed, nobody = Observed(), cast(Any, None)
    outcomes = Outcomes(nobody, WRITER, {"texts-in": "texts"}, "texts-in", observed, FixedClock())
    outcomes.committed([Outcome(plain(b"v", timestamp_ms=timestamp_ms), ())])
    assert [value for name, value in observed.seen if name == "end_to_end_seconds"] == seconds


@pytest.mark.parametrize(("age_ms", "stale"), [(9_000, False), (11_000, True), (NOW_MS + 1, False), (-60_000, False)])
def test_only_a_record_that_is_known_to_be_old_is_shed(age_ms: int, stale: bool) -> None:
    """One without a timestamp (-1) may be of this moment."""
    limits = SimpleNamespace(shed="stale", max_age=timedelta(seconds=10))
    settings: Any = SimpleNamespace(limits=limits)
    clock: Any = FixedClock()
    assert sheds_of(settings, clock)(plain(b"v", timestamp_ms=NOW_MS - age_ms)) == stale
