"""What is wrong with the form of a mapping -> one phrase, in the mapping's own words."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

_SAID = {
    "string_type": "must be a text",
    "tuple_type": "must be a list, in [ ]",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "bool_type": "must be true or false",
}
_RULES = "must be rules, each under [[rule]]"


def sentence(error: ValidationError, table: Mapping[str, Any], known: Mapping[str, Collection[str]]) -> str:
    """The first thing that is wrong, where it stands in `table`; a rule is called by its name.

    Args:
        known: the keys of a mapping under "", and those of what stands under `rule`, `join` and `body`.
    """
    errors: list[dict[str, Any]] = [dict(one) for one in error.errors()]
    # Of a value that may be of several kinds pydantic tells what it lacks to be each: the nearest says most.
    alike = [one for one in errors if one["loc"][:3] == errors[0]["loc"][:3]]
    nearest = max(alike, key=lambda one: len(_place(one, table)))
    place = _place(nearest, table)
    said = _said(nearest, place, known)
    if place[:1] == ["rule"] and len(place) > 1 and isinstance(own := table["rule"][int(place[1])], dict):
        place[1] = str(own.get("name", place[1]))
    return f"{'.'.join(place)}: {said}" if place else said


def _said(error: Mapping[str, Any], place: Sequence[str], known: Mapping[str, Collection[str]]) -> str:
    kind = error["type"]
    if place[:1] == ["rule"] and len(place) < 3 and kind in ("tuple_type", "model_type", "too_short"):
        return _RULES
    if place[2:3] == ["when"] and len(place) > 3 and kind == "string_type":
        return "must be a text, a number, true or false"
    if kind == "extra_forbidden":
        section = "" if len(place) == 1 else "rule" if len(place) == 3 else place[2]
        near = difflib.get_close_matches(place[-1], known.get(section, ()), n=1)
        return f"there is no such key; did you mean {near[0]}?" if near else "there is no such key"
    return _SAID.get(kind, str(error["msg"]).removeprefix("Value error, "))


def _place(error: Mapping[str, Any], table: Mapping[str, Any]) -> list[str]:
    """Where it stands: pydantic's own names of kinds are left out, what is missing is not."""
    held: Any = table
    place = list[str]()
    loc = error["loc"]
    for number, part in enumerate(loc):
        if (isinstance(held, dict) and part in held) or (isinstance(held, list) and isinstance(part, int)):
            place.append(str(part))
            held = held[part]
        elif error["type"] == "missing" and number == len(loc) - 1:
            place.append(str(part))
    return place
