"""`targets` of a row -> what it tells of each further head, or a RowError with what it may be."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from worker.model.kinds import LABEL, LABELS, NAME, NAME_FORM, NUMBER
from worker.training.words import RowError, check_word, is_blank

Target = str | int | float | tuple[str, ...]
_SHOWN = 80
MAY_BE = {
    LABEL: "a word, such as \"kitchen\"",
    LABELS: "a list of words, such as [\"smoke\", \"water\"], or [] for none",
    NUMBER: "a finite number, such as 21.5",
}  # fmt: skip


def targets_of(given: Any) -> dict[str, Target]:
    """The `targets` of a row, each by the head's name; null is none.

    Raises:
        RowError: one is no word, no list of words and no finite number, or its name none that a head may have.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise RowError(f'targets must be an object by head, such as {{"setpoint": 21.5}}, not {shown(given)}')
    return {name: _target(name, one) for name, one in given.items() if one is not None}


def _target(name: str, given: Any) -> Target:
    where = f"targets.{name}"
    if not NAME.fullmatch(name):
        raise RowError(f"targets: name {name!r:.{_SHOWN}} {NAME_FORM}")
    if isinstance(given, list):
        words = [_word(where, one) for one in given]
        if twice := [word for word, count in Counter(words).items() if count > 1]:
            raise RowError(f"{where}: {twice[0]!r:.{_SHOWN}} stands twice")
        return tuple(sorted(words))
    if isinstance(given, int | float) and not isinstance(given, bool):
        if not math.isfinite(_float(given)):
            raise RowError(f"{where}: {shown(given)} is not finite; it may be {_any()}")
        return float(given) if isinstance(given, float) else given
    return _word(where, given)


def _float(given: float) -> float:
    try:
        return float(given)
    except OverflowError:
        return math.inf


def _word(where: str, given: Any) -> str:
    if not isinstance(given, str):
        raise RowError(f"{where}: {shown(given)} is none; it may be {_any()}")
    if is_blank(given):
        raise RowError(f"{where}: {shown(given)} is no label: nothing can be seen of it")
    check_word(where, given)
    return given


def _any() -> str:
    return f"{MAY_BE[NUMBER]}, {MAY_BE[LABEL]}, or {MAY_BE[LABELS]}; null where it is not known"


def kind_of(target: Target) -> str:
    """What a value is by itself: a list is labels, a number a number, a word a label."""
    return LABELS if isinstance(target, tuple) else LABEL if isinstance(target, str) else NUMBER


def shown(given: Any) -> str:
    """For messages: as JSON has it, cut."""
    plain = list(given) if isinstance(given, tuple) else given
    return f"{json.dumps(plain, ensure_ascii=False, default=str):.{_SHOWN}}"
