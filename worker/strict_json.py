"""UTF-8 bytes -> JSON, read one way wherever it comes from: records, events in them, bodies, rows of data; and back.

What is read holds no NaN, no number of over 4,300 digits and no nesting deeper than 64: a limit of our own, since the
interpreter's depends on how deep the caller's stack is, so that what passes at one place fails at the next.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

# Readings and texts are two or three deep; a parser on the way that recurses fails at some hundreds.
MOST_DEEP = 64


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))


def write_json(value: Any) -> bytes:
    """A record's value: compact, the same bytes for the same value.

    Raises:
        ValueError: a number is not finite.
    """
    return _ENCODER.encode(value).encode()


def read_json(raw: bytes, deepest: int = MOST_DEEP) -> Any:
    """The value; `deepest` counts the lists and objects around the innermost one, and itself.

    Raises:
        ValueError: it is none, or nested deeper; UnicodeDecodeError where it is not UTF-8.
    """
    text = raw.decode()
    if text.startswith("\ufeff"):
        raise ValueError("it begins with a byte order mark; send UTF-8 without one")
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        _too_deep(deepest)
    if raw.count(b"[") + raw.count(b"{") > deepest:
        level = [value]
        for _ in range(deepest):
            level = [inner for one in level for inner in _inside(one) if isinstance(inner, dict | list)]
        if level:
            _too_deep(deepest)
    return value


def _inside(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _too_deep(deepest: int) -> NoReturn:
    raise ValueError(f"it is nested deeper than the limit of {deepest} levels; send it flatter")
