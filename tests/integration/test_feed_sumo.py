"""A simulated junction through a real worker, with lost frames, late readings and a wrong clock."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.bench.sumo import EXAMPLE, played, sumo_town
from tests.tiny import write_tiny_model
from worker.cli import main
from worker.feeds.faults import Faults
from worker.feeds.sumo.events import STREAMS, sumo_events

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


@pytest.mark.parametrize("skew_us", [0, pytest.param(5_000_000, marks=pytest.mark.long)])
def test_nothing_is_lost_and_matches_are_the_rule_s(stack: Any, tmp_path: Path, model: Path, skew_us: int) -> None:
    """One result a report, inputs as the rule picks of what was sent; the frames are the true ones unless one nearer
    was lost, and none of them where the cameras' clocks are five seconds ahead."""
    events = list(sumo_events(11, 2, SECONDS, 5.0, 0.5))
    faults = Faults({"frames": 0.2}, {"loops": 2_000_000}, {"frames": skew_us})
    with sumo_town(stack, tmp_path, model) as made:
        got = played(made, events, faults, SECONDS, 4.0)
    assert got.reports == sum(event.stream == "texts" for event in events) > 50
    assert (got.lost, got.doubled, got.dead, got.ruled) == (0, 0, 0, got.reports)
    # A camera's clock five seconds ahead has no frame for the reports of the first seconds.
    assert got.framed > 0.8 * got.reports
    if skew_us:
        assert got.true_frames == 0
    else:
        assert 0.6 * got.reports < got.true_frames < got.reports


def test_the_command_sends_the_story_with_its_faults(stack: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """With the example's file: streams are found by what they carry, a dead camera sends nothing, counts are told."""
    name = f"sumo-{uuid.uuid4().hex[:8]}"
    at = {
        "kafka.bootstrap_servers": stack.bootstrap_servers,
        "output.topic": f"{name}.out",
        "output.dead_letter_topic": f"{name}.dead",
        **{f"streams.{stream}.topic": f"{name}.{stream}" for stream in STREAMS},
    }
    given = ["--config", str(EXAMPLE), *(part for key, value in at.items() for part in ("--set", f"{key}={value}"))]
    assert main(["topics", *given]) == 0
    story = ["--story", "sumo", "--junctions", "1", "--seconds", "20", "--speed", "0", "--lose", "frames=1"]
    assert main(["feed", *given, *story]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == f"sent 0 frames to {name}.frames and 19 loops to {name}.loops and 4 texts to {name}.texts"
