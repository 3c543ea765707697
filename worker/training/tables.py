"""Rows of cells -> lines whose columns stand below each other."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, the others to the right."""
    wide = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join([f"{first:<{wide[0]}}", *(f"{cell:>{width}}" for cell, width in zip(rest, wide[1:], strict=True))])
        for first, *rest in table
    ]
