"""Durations of the configuration: `"500ms"`, `"2s"`, `"1h"` <-> timedelta."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

_UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
# Kafka carries durations as 32-bit milliseconds, which end after 24.8 days.
MAX_DURATION = timedelta(days=24)


def parse_duration(value: Any) -> Any:
    """Turns `"500ms"`, `"2s"`, `"1.5h"` into a timedelta; a bare number has no unit and is refused."""
    if isinstance(value, timedelta):
        return value
    found = re.fullmatch(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*(us|ms|s|m|h|d)\s*", str(value), re.ASCII)
    if not found:
        raise ValueError(f"{value!r} is not a duration; write a number and a unit, such as 500ms, 2s, 1h")
    microseconds = round(float(found[1]) * _UNITS[found[2]])
    return timedelta(microseconds=min(microseconds, _UNITS["d"] * 1_000_000))


def format_duration(value: timedelta) -> str:
    """The shortest exact writing of a duration: `500ms`, `90s`, `1h`."""
    whole = micros(value)
    unit = next((u for u in reversed(_UNITS) if whole and whole % _UNITS[u] == 0), "ms")
    return f"{whole // _UNITS[unit]}{unit}"


def micros(value: timedelta) -> int:
    """Whole microseconds of a duration."""
    return value // timedelta(microseconds=1)


def _in_range(value: timedelta) -> timedelta:
    if not timedelta(0) <= value <= MAX_DURATION:
        raise ValueError(f"a duration is from 0ms to {format_duration(MAX_DURATION)}")
    return value


def _positive(value: timedelta) -> timedelta:
    if value < timedelta(milliseconds=1):
        raise ValueError("a timeout is at least 1ms")
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration), AfterValidator(_in_range)]
Timeout = Annotated[Duration, AfterValidator(_positive)]
