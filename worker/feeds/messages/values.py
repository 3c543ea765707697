"""What a mapping says of a value -> the value: `/after/score` (JSON Pointer, RFC 6901), or text with `{...}` in it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from worker.strict_json import write_json

_PLACE = re.compile(r"\{([^{}]*)\}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_POINTER = re.compile(r"(?:([a-z][a-z_]*)#)?((?:/[^{}]*)?)", re.DOTALL)
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)
_EPOCH = datetime(1970, 1, 1)
# A number is seconds, milliseconds or microseconds by its size: seconds reach 1e11 in the year 5138.
_UNITS_US = ((1e11, 1_000_000), (1e14, 1_000), (1e17, 1))


class Missing(Exception):
    """The message has no such value; the text says which."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one message.

    Attributes:
        names: levels of its topic, and what the feed itself knows of it.
        payload: JSON, text or bytes.
        joined: payloads of other messages that belong to it, by the name of the join's rule.
    """

    names: Mapping[str, str]
    payload: Any
    joined: Mapping[str, Any] = field(default_factory=dict)


class Value:
    """One value of a mapping.

    Attributes:
        text: as it stands in the mapping.
        pointers: what it reads of the payload.
        joins: the rules of whose messages it reads.
        names: the names that it holds.
    """

    def __init__(self, text: str) -> None:
        """Raises ValueError: it is neither a pointer nor a text whose braces hold names or pointers."""
        self.text = text
        self.alone = _pointer_of(text)
        parts = [] if self.alone else [_pointer_of(one) or one for one in _PLACE.findall(text)]
        if self.alone is None and re.search(r"[{}]", _PLACE.sub("", text)):
            raise ValueError(f"{text!r}: a brace that is not closed")
        found = [self.alone] if self.alone else [one for one in parts if isinstance(one, tuple)]
        self.pointers = tuple(path for rule, path in found if not rule)
        self.joins = tuple(rule for rule, _ in found if rule)
        self.names = tuple(one for one in parts if isinstance(one, str))

    def of(self, facts: Facts) -> Any:
        """The value in one message: of a pointer as it is, else text. Raises Missing."""
        if self.alone is not None:
            return _read(self.alone, facts)
        return _PLACE.sub(lambda place: self._part(place[1], facts), self.text)

    def _part(self, name: str, facts: Facts) -> str:
        pointer = _pointer_of(name)
        found = facts.names.get(name) if pointer is None else _read(pointer, facts)
        if found is None:
            raise Missing(name)
        return written(found)


@lru_cache(maxsize=4096)
def value_of(text: str) -> Value:
    """The value that is written so."""
    return Value(text)


def written(value: Any) -> str:
    """A value within a text: of a list what is in it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list):
        return ",".join(written(one) for one in value if one is not None)
    return write_json(value).decode()


def _pointer_of(text: str) -> tuple[str, str] | None:
    """(rule whose message it reads or empty, path); None: it is no pointer. The empty text is the whole payload."""
    found = _POINTER.fullmatch(text)
    return None if found is None or (text and not found[1] and not found[2]) else (found[1] or "", found[2])


def _read(pointer: tuple[str, str], facts: Facts) -> Any:
    rule, path = pointer
    if rule and rule not in facts.joined:
        raise Missing(f"{rule}#{path}")
    value = facts.joined[rule] if rule else facts.payload
    for step in path.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and _INDEX.fullmatch(name) and int(name) < len(value):
            value = value[int(name)]
        else:
            raise Missing(path)
    return value


def number_in(value: Any) -> Any:
    """A text that is a number, as one; anything else as it is."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value.strip()):
        return value
    number = float(value)
    if math.isinf(number):
        return value
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def time_us(value: Any, zone: ZoneInfo | None) -> int:
    """Microseconds since 1970 of a number (seconds, ms or us, by its size) or an ISO 8601 text.

    Raises:
        ValueError: it is no time, or has no zone and `zone` is None.
    """
    value = number_in(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        unit = next((unit for below, unit in _UNITS_US if 0 < value < below), None)
        if unit is None:
            raise ValueError(f"{value!r} is no time")
        return round(value * unit)
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is no time")
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value!r:.40} is no time such as 2026-01-01T12:00:00Z") from None
    if at.tzinfo is None and zone is None:
        raise ValueError(f"{value!r:.40} has no zone; say `zone` in the mapping")
    at = at if at.tzinfo else at.replace(tzinfo=zone)
    return (at.replace(tzinfo=None) - _EPOCH - (at.utcoffset() or timedelta(0))) // timedelta(microseconds=1)
