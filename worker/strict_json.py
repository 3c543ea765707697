"""UTF-8 bytes -> JSON, read one way wherever it comes from: records, events in them, bodies, rows of data; and back.

What is read holds no NaN, no number of over 4,300 digits and no nesting deeper than 64: a limit of our own, since the
interpreter's depends on how deep the caller's stack is, so that what passes at one place fails at the next.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

# Readings and texts are two or three deep; a parser on the way that recurses fails at some hundreds.
MOST_DEEP = 64
# Python's own, of a whole number that is read from a text.
_MOST_DIGITS = 4300
_SHOWN_CHARACTERS = 64


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(_not_finite(word))


def _not_finite(word: str) -> str:
    return f"{word} is not JSON, a missing number is null"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"field {twice[:_SHOWN_CHARACTERS]!r} stands twice")
    return made


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_ONCE_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_once)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))


def write_json(value: Any) -> bytes:
    """A record's value: compact, the same bytes for the same value.

    Raises:
        ValueError: a number is not finite.
    """
    return _ENCODER.encode(value).encode()


def read_json(raw: bytes, deepest: int = MOST_DEEP, *, once: bool = False) -> Any:
    """The value; `deepest` counts the lists and objects around the innermost one, and itself.

    With `once` no field may stand twice in an object; else the last one holds.

    Raises:
        ValueError: it is none, or nested deeper; names the field of a number that is none. UnicodeDecodeError where it
            is not UTF-8.
    """
    text = raw.decode()
    if text.startswith("\ufeff"):
        raise ValueError("it begins with a byte order mark; send UTF-8 without one")
    try:
        value = (_ONCE_DECODER if once else _DECODER).decode(text)
    except RecursionError:
        _too_deep(deepest)
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        raise ValueError(_odd_number(text) or str(error)) from error
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


@dataclass(frozen=True, slots=True)
class _Odd:
    """A number that is none, and why."""

    told: str


def _whole(digits: str) -> _Odd | int:
    count = len(digits.lstrip("-"))
    return 0 if count <= _MOST_DIGITS else _Odd(f"a number of {count} digits is over the limit of {_MOST_DIGITS}")


def _odd_number(text: str) -> str | None:
    """Where the first number stands that is none, and why; None where that cannot be told."""
    finder = json.JSONDecoder(parse_constant=lambda word: _Odd(_not_finite(word)), parse_int=_whole)
    try:
        left = [("", finder.decode(text))]
    except (ValueError, RecursionError):
        return None
    while left:
        path, value = left.pop()
        if isinstance(value, _Odd):
            return f"field {path!r}: {value.told}" if path else value.told
        if isinstance(value, dict):
            left += [(_below(path, f".{name}" if path else name), one) for name, one in reversed(value.items())]
        elif isinstance(value, list):
            left += [(_below(path, f"[{number}]"), value[number]) for number in reversed(range(len(value)))]
    return None


def _below(path: str, name: str) -> str:
    return path if len(path) > _SHOWN_CHARACTERS else path + name[:_SHOWN_CHARACTERS]
