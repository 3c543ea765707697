"""The demo's table on terminals of several widths."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from worker.demo.board import _table
from worker.demo.tally import Shown

RESULT = Shown("junction-1", "Heavy but steady traffic " * 4, "seed0-junction-1-f000144", -101.0, "free_flow", 0.86, "")


@pytest.mark.parametrize("width", [72, 80, 100, 149, 150, 200])
def test_what_a_verdict_is_is_told_at_any_width(width: int) -> None:
    """Key, distance, label and score are never cut; the frame's id is there where there is room."""
    out = io.StringIO()
    Console(file=out, width=width).print(_table([RESULT], width))
    head, row = out.getvalue().splitlines()
    assert len(row) <= width
    assert head.split()[0] == "key"
    assert all(one in row for one in ("junction-1 ", " Heavy", "-101 ms", "free_flow", "0.86"))
    assert ("seed0-junction-1-f000144" in row) == (width >= 150)
