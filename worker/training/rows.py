"""One row of a training folder -> a labelled sample, each of its bodies checked, or a RowError with the reason."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from schemas.names import MEDIA_TYPES
from worker.errors import Poison
from worker.model.config import MODALITIES
from worker.model.preprocess import Body, text_of
from worker.stages.wire import parse_time
from worker.training.bodies import check_body, content_type_of
from worker.training.targets import Target, targets_of
from worker.training.words import RowError, check_word, is_blank

ROW_FIELDS = (*MODALITIES, "inputs", "modalities", "label", "targets", "key", "time", "missing", "id", "attributes")
ENTRY_FIELDS = ("file", "path", "bytes", "text", "content_type", "time", "id")
# What begins so is the reader's own note.
_NOTE = "_"
_KINDS = {bool: "a boolean", float: "a number with a fraction", list: "a list", dict: "an object"}
# Of a model that only has further heads.
NO_LABEL = "no_label"
_NOTHING = "the text is empty, or has white space alone; where there is none, leave it out or say null"


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled moment.

    Attributes:
        bodies: per input by its name; an input that is missing is absent.
        label: NO_LABEL where the row tells further heads alone.
        place: names it in messages, such as `data/train.jsonl:7`.
        targets: what it tells of further heads, by name.
        key: of the anchor; "" where it is not told.
        attributes: what else is told of it, such as the light or the district: `evaluate --by` groups by them.
    """

    bodies: Mapping[str, tuple[Body, ...]]
    label: str
    place: str
    targets: Mapping[str, Target] = field(default_factory=dict)
    key: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """A sample with the modality of each of its inputs, and the label, the id and the targets, as far as they are not
    its own, that stand in the row."""

    sample: Sample
    modalities: Mapping[str, str]
    label: str | int = ""
    id: Any = None
    targets: Any = None


def row_of(folder: Path, place: str, row: Mapping[str, Any], *, labelled: bool = True) -> Row:
    """The sample that a row describes; not `labelled`: with no label, whatever stands there.

    Its bodies are named by modality, `{"image": "a.jpg", "text": "...", "sensor": {"speed": 3}, "audio": "a.wav",
    "label": "x"}` (files below the folder), or by stream as `fusion-worker record` writes it: `{"inputs": {"cams":
    [{"file": "a.jpg"}], "notes": [{"text": "..."}]}, "modalities": {"cams": "image", "notes": "text"}, "label": "x"}`.

    Raises:
        RowError: a field is unknown, there is no label or no input, or a body is none that serving would read.
    """
    _check_fields(row, ROW_FIELDS, "a row has", "")
    targets = targets_of(row.get("targets")) if labelled else {}
    if labelled:
        label = NO_LABEL if targets and row.get("label") is None else _label(row.get("label"))
    else:
        label = row.get("label") or ""
    named = [name for name in MODALITIES if row.get(name) is not None]
    if row.get("inputs") is not None:
        if named:
            raise RowError(f"names its bodies by inputs and by {named[0]}; use one of the two")
        bodies, modalities = _streams(folder, row)
    else:
        modalities = {name: name for name in named}
        bodies = {name: (_body(folder, name, name, row[name]),) for name in named}
    if not any(bodies.values()):
        raise RowError("has no input: neither image, text, sensor nor audio")
    own = str(label) if labelled else ""
    key, attributes = row.get("key"), _attributes(row.get("attributes"))
    sample = Sample(
        {name: one for name, one in bodies.items() if one}, own, place, targets,
        key=str(key) if isinstance(key, str | int) else "", attributes=attributes,
    )  # fmt: skip
    return Row(sample, modalities, label, row.get("id"), None if labelled else row.get("targets"))


def _attributes(given: Any) -> dict[str, str]:
    """Each with its value as a word; what is null is not told."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise RowError(f"attributes {given!r:.80}: must be an object, such as {{'light': 'dark', 'lanes': 2}}")
    for name, value in given.items():
        if value is not None and not isinstance(value, str | int | float):
            raise RowError(f"attributes: {name!r:.80} is {value!r:.80}; must be a string, a number, true or false")
    told = {name: one for name, one in given.items() if one is not None}
    return {name: json.dumps(one) if isinstance(one, bool) else str(one) for name, one in told.items()}


def reading_form(name: str) -> str:
    """How a row has a reading of this stream, for messages."""
    form = {"inputs": {name: {"speed": 31.5}}, "modalities": {name: "sensor"}, "label": "..."}
    return f"a reading is {json.dumps(form)}"


def _check_fields(given: Mapping[str, Any], known: Sequence[str], what: str, before: str) -> None:
    for name in given:
        if name not in known and not name.startswith(_NOTE):
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"{what} {', '.join(known)}"
            raise RowError(f"{before}unknown field {name!r}; {hint}")


def _label(label: Any) -> str | int:
    if label is None or (isinstance(label, str) and is_blank(label)):
        raise RowError("has no label")
    if not isinstance(label, str | int) or isinstance(label, bool):
        shown = json.dumps(label) if isinstance(label, bool) else f"{label!r:.80}"
        kind = _KINDS.get(type(label), f"of type {type(label).__name__}")
        raise RowError(f"label {shown} is {kind}; must be a string or a whole number")
    check_word("label", str(label))
    return label


def _streams(folder: Path, row: Mapping[str, Any]) -> tuple[dict[str, tuple[Body, ...]], dict[str, str]]:
    modalities, inputs = row.get("modalities"), row["inputs"]
    if not isinstance(modalities, dict) or not isinstance(inputs, dict):
        raise RowError(f"inputs and modalities must be objects by stream; {reading_form('radar')}")
    bodies = {}
    for name, modality in modalities.items():
        if modality not in MODALITIES:
            raise RowError(f"modality of {name!r} is {modality!r:.80}; must be one of {', '.join(MODALITIES)}")
    for name, given in inputs.items():
        if name not in modalities:
            near = get_close_matches(name, modalities, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"modalities has {', '.join(modalities) or 'none'}"
            raise RowError(f"inputs: unknown stream {name!r}; {hint}")
        entries = given if isinstance(given, list) else [given] * (given is not None)
        bodies[name] = tuple(
            _body(folder, name, modalities[name], one)._replace(seconds=_seconds(name, one, row.get("time")))
            for one in entries
        )
    return bodies, modalities


def _seconds(name: str, entry: Any, anchor: Any) -> float:
    """How long after the row's time this entry's is; NaN where one of them is not told."""
    given = entry.get("time") if isinstance(entry, dict) and _is_entry(entry) else None
    if given is None or anchor is None:
        return math.nan
    return (_micros(f"{name}: ", given) - _micros("", anchor)) / 1e6


def _micros(before: str, given: Any) -> int:
    if isinstance(given, datetime):
        return round((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp() * 1e6)
    try:
        return parse_time(given)
    except Poison as poison:
        raise RowError(f"{before}time: {str(poison).removeprefix('event time ')}") from poison


def _body(folder: Path, name: str, modality: str, given: Any) -> Body:
    payload, content_type, file = _given(folder, name, modality, given)
    shown = name if file is None else f"{name} {file!r}"
    if modality == "text" and not payload:
        raise RowError(f"{shown}: {_NOTHING}")
    try:
        body = Body(payload, content_type or content_type_of(payload, modality, file), name)
        check_body(body, modality)
    except Poison as poison:
        raise RowError(f"{shown}: {str(poison).removeprefix(f'stream {name!r}: ')}") from poison
    if modality == "text" and is_blank(text_of(*body[:3])):
        raise RowError(f"{shown}: {_NOTHING}")
    return body


def _given(folder: Path, name: str, modality: str, given: Any) -> tuple[bytes, str | None, str | None]:
    """Payload, content type where the row tells it, and the file's name where it is one."""
    if isinstance(given, dict) and (modality != "sensor" or _is_entry(given)):
        return _entry(folder, name, modality, given)
    if isinstance(given, bytes):
        return given, None, None
    if modality == "sensor" and isinstance(given, dict):
        if isinstance(given.get("sensor"), dict):
            raise RowError(f"{name}: its numbers stand in it without `sensor` around them; {reading_form(name)}")
        return json.dumps(given, ensure_ascii=False, default=str).encode(), None, None
    if not isinstance(given, str):
        wanted = {"text": "must be a string", "sensor": f"must be an object of numbers, or name a file below {folder}"}
        raise RowError(f"{name} {wanted.get(modality, f'must name a file below {folder}')}")
    if modality == "text" or (modality == "sensor" and given.lstrip().startswith("{")):
        return given.encode(), "text/plain" if modality == "text" else None, None
    return _read(folder, name, given), None, given


def _is_entry(given: Mapping[str, Any]) -> bool:
    """Whether an object tells where a reading is; else it is the reading, which may have a number of that name."""
    return any(isinstance(given.get(name), str | bytes) for name in ("file", "path", "bytes", "text"))


def _entry(folder: Path, name: str, modality: str, given: Mapping[str, Any]) -> tuple[bytes, str | None, str | None]:
    _check_fields(given, ENTRY_FIELDS, "an entry has", f"{name}: ")
    sources = [one for one in ("file", "bytes", "text") if given.get(one) is not None]
    if not sources and given.get("path") is not None:
        sources = ["path"]  # Beside bytes it only says what their file was called.
    if len(sources) != 1:
        said = f"{' and '.join(sources)}; name one of them" if sources else "no file, bytes or text"
        raise RowError(f"{name} names {said}")
    (source,) = sources
    value, content_type = given[source], _checked_type(name, modality, given.get("content_type"))
    if source == "bytes":
        if not isinstance(value, bytes):
            raise RowError(f"{name}: bytes must be the body itself, which Parquet alone can hold; name a file")
        return value, content_type, None
    if not isinstance(value, str):
        raise RowError(f"{name}: {source} {value!r:.80} must be a string")
    if source == "text":
        return value.encode(), "text/plain" if modality == "text" else None, None
    return _read(folder, name, value), content_type, value


def _checked_type(name: str, modality: str, given: Any) -> str | None:
    if given is None or (isinstance(given, str) and given in MEDIA_TYPES[modality]):
        return given
    raise RowError(f"{name}: content_type {given!r:.80} must be one of {', '.join(MEDIA_TYPES[modality])}")


def _read(folder: Path, name: str, given: str) -> bytes:
    if not given:
        raise RowError(f"{name} names no file")
    if "\0" in given:
        raise RowError(f"{name} {given!r:.80} is no name of a file")
    try:
        path = (folder / given).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise RowError(f"{name} {given!r} lies outside {folder}")
        if path.exists() and not path.is_file():
            raise RowError(f"{name} {given!r}: is not a regular file")
        return path.read_bytes()
    except RuntimeError as error:  # As Python 3.11 and 3.12 tell a loop.
        raise RowError(f"{name} {given!r}: links to itself") from error
    except OSError as error:
        reason = "links to itself" if error.errno == errno.ELOOP else error.strerror
        raise RowError(f"{name} {given!r:.80}: {reason}") from error
