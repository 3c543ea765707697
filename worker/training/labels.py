"""The labels and ids of a folder's rows, looked at together: what no row tells by itself."""

from __future__ import annotations

import json
import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence

from worker.errors import ConfigError
from worker.training.rows import NO_LABEL, Row
from worker.training.words import is_blank

_KINDS = {str: "a string", int: "a whole number"}


def check_kinds(rows: Mapping[str, Sequence[Row]]) -> None:
    """Labels are all strings or all whole numbers: `1` beside `"calm"` is a slip, not a class of its own.

    Raises:
        ConfigError: names the first row of the rarer kind, and what the others have.
    """
    _check_none([row for found in rows.values() for row in found])
    kinds: dict[type, list[Row]] = {kind: [] for kind in _KINDS}
    for row in (row for found in rows.values() for row in found):
        kinds[type(row.label)].append(row)
    odd, usual = sorted(kinds, key=lambda kind: len(kinds[kind]))
    if kinds[odd]:
        first, other = kinds[odd][0], kinds[usual][0]
        raise ConfigError(
            f"{first.sample.place}: label {_shown(first)} is {_KINDS[odd]}, as in {_rows(kinds[odd])}, where "
            f"{_rows(kinds[usual])} have {_KINDS[usual]}, such as {_shown(other)} at {other.sample.place}; "
            "write all as one of the two"
        )


def _check_none(rows: Sequence[Row]) -> None:
    """Either all rows have a label, or none has, where there are further heads."""
    without = [row for row in rows if row.sample.label == NO_LABEL and row.sample.targets]
    others = [row for row in rows if row.sample.label != NO_LABEL]
    if without and others:
        raise ConfigError(
            f"{without[0].sample.place}: has no label, as {_rows(without)}, where {_rows(others)} have one, such as "
            f"{_shown(others[0])} at {others[0].sample.place}; either all rows have one, or none beside its targets"
        )


def told_of_labels(rows: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """Warnings: labels that look the same but for case, white space or form; ids that two rows have."""
    first: dict[str, Row] = {}
    count: defaultdict[str, int] = defaultdict(int)
    ids: dict[Hashable, Row] = {}
    again: list[tuple[Row, Row]] = []
    for row in (row for found in rows.values() for row in found):
        first.setdefault(row.sample.label, row)
        count[row.sample.label] += 1
        if row.id is not None and (other := ids.setdefault(_key(row.id), row)) is not row:
            again.append((row, other))
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for label in first:
        alike[same(label)].append(label)
    for labels in (labels for labels in alike.values() if len(labels) > 1):
        each = ", ".join(f"{one!r} ({count[one]} rows, first {first[one].sample.place})" for one in labels)
        yield f"labels that differ in case, white space or form alone are classes of their own: {each}"
    if again:
        row, other = again[0]
        of = f"{other.sample.place}, {row.id!r:.80}"
        yield f"{_rows(again)} with the id of another: {row.sample.place} has that of {of}"


def same(text: str) -> str:
    """What texts have in common that a reader would take for the same."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(one for one in folded if unicodedata.category(one)[0] == "M" or not is_blank(one))


def _key(given: object) -> Hashable:
    return json.dumps(given, sort_keys=True, default=str)


def _shown(row: Row) -> str:
    return f"{row.label!r:.80}"


def _rows(found: Sequence[object]) -> str:
    return "1 row" if len(found) == 1 else f"{len(found)} rows"
