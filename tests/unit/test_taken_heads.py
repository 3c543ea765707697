"""`train --init`: a number that both models tell is the same in its unit at first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import heads as house
from tests.unit.test_training import arguments
from tests.unit.test_training_choices import SMALL
from worker.errors import ConfigError
from worker.training.build import Built, build
from worker.training.evaluate import measure
from worker.training.head_measures import of_heads
from worker.training.presence import ALL
from worker.training.run import samples_of
from worker.training.sources import Data, read
from worker.training.start import Start


def made(data: Data, start: Start | None, *given: str) -> Built:
    """As `train` begins."""
    return build(arguments("--out", "x", "--max-tokens", "8", *SMALL, *given), data, start=start)


def with_numbers(data: Data, factor: float, more: float) -> Data:
    """The set-points moved and stretched, and the readings as they were."""

    def moved(sample: Any) -> Any:
        given = dict(sample.targets)
        if "setpoint" in given:
            given["setpoint"] = given["setpoint"] * factor + more
        return replace(sample, targets=given)

    return replace(data, splits={split: [*map(moved, rows)] for split, rows in data.splits.items()})


def test_a_number_is_the_same_in_its_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of data with another mean and spread, with both ends of its band; another unit is refused, none is shown."""
    monkeypatch.setattr(house, "ROWS", dict.fromkeys(house.ROWS, 24))
    data = read(str(house.write(tmp_path / "data")), 0, 0)
    old = made(data, None, "--head", "setpoint=number:C")
    start = Start(tmp_path, old.model.eval(), old.tokenizer.backend_tokenizer, old.tokenizer, "0" * 12)
    other = with_numbers(data, 2.5, 40.0)
    new = made(other, start)
    assert new.model.config.heads != old.model.config.heads
    said = []
    for built, rows in ((old, data), (new, other)):
        found = measure(built.model, samples_of(built, rows, "test"), 8, ALL)
        said.append({one.head.name: one.told for one in of_heads(built.model.config, found)})
    for head, told in said[0].items():
        np.testing.assert_allclose(said[1][head], told, rtol=1e-4, atol=1e-4, err_msg=head)
    assert new.begun is not None
    assert any("setpoint (number) (was setpoint (number in C))" in line for line in new.begun.table)
    with pytest.raises(ConfigError, match="tells setpoint in C, --head setpoint=number:F asks for another unit"):
        made(other, start, "--head", "setpoint=number:F")
