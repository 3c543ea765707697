"""A sensor's reading as it came -> its fields."""

from __future__ import annotations

from typing import Any


def fields_of(reading: dict[str, Any]) -> dict[str, Any]:
    """Those of the object `values` where the reading has one, else its own."""
    values = reading.get("values")
    return values if isinstance(values, dict) else reading
