"""A model that `export` made, in a real worker on real servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.story import minutes_ago, nearest_frame, story
from tests.tiny import write_tiny_model
from tests.town import town, verdicts
from worker.cli import main


@pytest.mark.long
def test_a_worker_serves_an_int8_model(stack: Any, tmp_path: Path) -> None:
    """`[model] path` alone is enough: the results name its version, the metrics its precision."""
    source, small = write_tiny_model(tmp_path / "source"), tmp_path / "small"
    told = ["--model", str(source), "--out", str(small), "--to", "int8", "--samples", "64", "--rounds", "1"]
    assert main(["export", *told, "--max-drop", "0.9"]) == 0
    events = story(21, minutes_ago(5), keys=4, anchors_per_key=5)
    with town(stack, tmp_path, cost_ms=None, model={"path": str(small)}) as made:
        made.feed(events)
        made.start()
        made.read_until(lambda: len(made.results) >= 20)
        assert verdicts(made.results) == nearest_frame(events)
        assert all("+int8." in result["model"]["version"] for result in made.results)
        assert 'precision="int8"' in made.metrics()
        assert made.stop() == [0]
