"""The fields of a folder's readings, looked at together: numbers in quotes, kinds that mix, what is not looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from worker.errors import ConfigError
from worker.readings import fields_of
from worker.strict_json import read_json
from worker.training.labels import same
from worker.training.rows import Sample

_NUMBER, _WORD, _QUOTED, _BOOLEAN = _KINDS = ("numbers", "words", "numbers in quotes", "true or false")
_EMPTY, _OBJECT = "an empty word", "an object"
# A field in fewer readings than this share is rare, and may be another one misspelt.
_RARE = 0.1


@dataclass(slots=True)
class _Field:
    """In which readings it is; of each kind of value how many have it, and the first; its words by their look."""

    places: list[str] = field(default_factory=list)
    count: Counter[str] = field(default_factory=Counter)
    first: dict[str, tuple[str, Any]] = field(default_factory=dict)
    words: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, place: str, values: Sequence[Any]) -> None:
        """The values of one reading."""
        self.places.append(place)
        kinds = {_kind(one): one for one in reversed(values) if one is not None}
        for kind, one in kinds.items():
            self.count[kind] += 1
            self.first.setdefault(kind, (place, one))
        for word in (one for one in values if isinstance(one, str)):
            self.words.setdefault(same(word), {}).setdefault(word, place)


def told_of_fields(inputs: Mapping[str, str], splits: Mapping[str, Sequence[Sample]]) -> Iterator[str]:
    """Warnings on the readings of each sensor.

    Raises:
        ConfigError: a field has numbers, and in other rows numbers in quotes.
    """
    for name in [name for name, modality in inputs.items() if modality == "sensor"]:
        fields: dict[str, _Field] = {}
        silent: list[str] = []
        for sample in (sample for samples in splits.values() for sample in samples):
            for body in sample.bodies.get(name, ()):
                told = fields_of(read_json(body.payload))
                read = {one: value if isinstance(value, list) else [value] for one, value in told.items()}
                for one, values in read.items():
                    fields.setdefault(one, _Field()).add(sample.place, values)
                if not any(value is not None for values in read.values() for value in values):
                    silent.append(sample.place)
        if silent:
            yield f"{name} is null in every field of {_readings(len(silent))}, first {silent[0]}"
        yield from _misspelt(name, fields)
        for one, found in sorted(fields.items()):
            _check_quoted(name, one, found)
            yield from _told(f"field {one!r:.80} of {name}", found)


def _misspelt(name: str, fields: Mapping[str, _Field]) -> Iterator[str]:
    most = max((len(found.places) for found in fields.values()), default=0)
    common = [one for one, found in fields.items() if len(found.places) > most / 2]
    for one, found in sorted(fields.items()):
        if len(found.places) <= _RARE * most and (near := get_close_matches(one, common, 1)):
            yield (
                f"field {one!r:.80} of {name} is in {_readings(len(found.places))}, first {found.places[0]}; "
                f"did you mean {near[0]!r:.80}?"
            )


def _check_quoted(name: str, one: str, found: _Field) -> None:
    if found.count[_NUMBER] and found.count[_QUOTED]:
        (place, value), (other, _) = found.first[_QUOTED], found.first[_NUMBER]
        raise ConfigError(
            f"{place}: {name}: field {one!r:.80}: {value!r:.80} is a word, in {_readings(found.count[_QUOTED])}; "
            f"{_readings(found.count[_NUMBER])} have a number there, such as {other}; numbers go without quotes, and a "
            "missing one is null"
        )


def _told(what: str, found: _Field) -> Iterator[str]:
    kinds = [kind for kind in _KINDS if found.count[kind]]
    if len(kinds) > 1 or kinds == [_QUOTED]:
        each = ", ".join(
            f"{kind} in {_readings(found.count[kind])} ({found.first[kind][1]!r:.40} at {found.first[kind][0]})"
            for kind in kinds
        )
        yield f"{what} holds {each}" + ("; numbers in quotes are taken for words" if _QUOTED in kinds else "")
    if count := found.count[_EMPTY]:
        yield f"{what} is an empty word in {_readings(count)}, first {found.first[_EMPTY][0]}; a missing one is null"
    if count := found.count[_OBJECT]:
        yield f"{what} is an object in {_readings(count)}, first {found.first[_OBJECT][0]}, and is not looked at"
    if alike := [words for words in found.words.values() if len(words) > 1]:
        each = ", ".join(f"{word!r:.40} (first {place})" for word, place in alike[0].items())
        more = f", and {len(alike) - 1} more such" if len(alike) > 1 else ""
        yield f"{what} has words that differ in case, white space or form alone: {each}{more}"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return _BOOLEAN
    if isinstance(value, int | float):
        return _NUMBER
    if not isinstance(value, str):
        return _OBJECT
    if not value.strip():
        return _EMPTY
    try:
        float(value)
    except ValueError:
        return _WORD
    return _QUOTED


def _readings(count: int) -> str:
    return "1 reading" if count == 1 else f"{count} readings"
