"""A simulated junction through a real worker, with lost frames, late readings and a wrong clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.bench.sumo import played, sumo_town
from tests.tiny import write_tiny_model
from worker.feeds.faults import Faults
from worker.feeds.sumo.events import sumo_events

SECONDS = 60.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the inputs that docs/examples/sumo.toml asks for."""
    channels = [
        f"{arm}_{what}" for arm in ("north", "east", "south", "west") for what in ("count", "occupied", "speed")
    ]
    return write_tiny_model(
        tmp_path_factory.mktemp("sumo"), ["image", "sensor", "text"], channels, ["frames", "loops", "texts"]
    )


@pytest.mark.parametrize("skew_us", [0, 5_000_000])
def test_nothing_is_lost_and_matches_are_the_rule_s(stack: Any, tmp_path: Path, model: Path, skew_us: int) -> None:
    """One result a report, inputs as the rule picks of what was sent; the frames are the true ones unless one nearer
    was lost, and none of them where the cameras' clocks are five seconds ahead."""
    events = list(sumo_events(11, 2, SECONDS, 5.0, 0.5))
    faults = Faults({"frames": 0.2}, {"loops": 2_000_000}, {"frames": skew_us})
    with sumo_town(stack, tmp_path, model) as made:
        got = played(made, events, faults, SECONDS, 4.0)
    assert got.reports == sum(event.stream == "texts" for event in events) > 50
    assert (got.lost, got.doubled, got.dead, got.ruled) == (0, 0, 0, got.reports)
    assert got.framed > 0.9 * (got.reports - 10)
    if skew_us:
        assert got.true_frames == 0
    else:
        assert 0.6 * got.reports < got.true_frames < got.reports
