"""A folder of one's own, JSONL with files or Parquet -> labelled samples; a row that cannot be used is named."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.errors import ConfigError
from worker.model.config import MODALITIES
from worker.model.preprocess import Body

SPLITS = ("train", "dev", "test")
_SUFFIXES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".wav": "audio/wav"}
_CONTENT_TYPES = {"image": "image/jpeg", "text": "text/plain", "sensor": "application/json", "audio": "audio/wav"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled moment.

    Attributes:
        bodies: per input by its name; an input that is missing is absent.
        place: names it in messages, such as `data/train.jsonl:7`.
    """

    bodies: Mapping[str, tuple[Body, ...]]
    label: str
    place: str


@dataclass(frozen=True, slots=True)
class Row:
    """A sample with the modality of each of its inputs."""

    sample: Sample
    modalities: Mapping[str, str]


def folder_rows(folder: Path, split: str) -> Iterator[Row]:
    """Rows of `<split>.jsonl` or `<split>.parquet`.

    A row names its bodies by modality, `{"image": "a.jpg", "text": "...", "sensor": {"speed": 3}, "audio": "a.wav",
    "label": "x"}` (files below the folder), or by stream as `fusion-worker record` writes it: `{"inputs": {"cams":
    [{"file": "a.jpg"}], "notes": [{"text": "..."}]}, "modalities": {"cams": "image", "notes": "text"}, "label": "x"}`.

    Raises:
        ConfigError: names the file and row that cannot be used.
    """
    lines, table = folder / f"{split}.jsonl", folder / f"{split}.parquet"
    if lines.is_file():
        for number, line in enumerate(lines.read_bytes().splitlines(), 1):
            if line.strip():
                yield _row(folder, f"{lines}:{number}", _object(f"{lines}:{number}", line))
    elif table.is_file():
        for number, row in enumerate(_parquet(table), 1):
            yield _row(folder, f"{table}:{number}", row)
    else:
        needed = ", ".join(f"{name}.jsonl" for name in SPLITS)
        raise ConfigError(f"--data {folder}: no {split}.jsonl there; needed are {needed} (or .parquet)")


def _object(place: str, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{place}: is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise ConfigError(f"{place}: must be a JSON object with a label and image, text, sensor or audio")
    return row


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise ConfigError(f"{path}: needs pyarrow; install fusion-worker[parquet]") from error
    try:
        file = parquet.ParquetFile(path)
        names = _class_names(file.schema_arrow.metadata or {})
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                label = row.get("label")
                if isinstance(label, int) and names and 0 <= label < len(names):
                    row["label"] = names[label]
                yield row
    except (ArrowException, OSError) as error:
        raise ConfigError(f"{path}: is not Parquet that can be read: {error}") from error


def _class_names(metadata: Mapping[bytes, bytes]) -> list[str]:
    """The labels' names, as the `datasets` library writes them beside their numbers."""
    told = json.loads(metadata.get(b"huggingface", b"{}"))
    names: list[str] = told.get("info", {}).get("features", {}).get("label", {}).get("names", [])
    return names


def _row(folder: Path, place: str, row: Mapping[str, Any]) -> Row:
    label = row.get("label")
    if label is None or label == "":
        raise ConfigError(f"{place}: has no label")
    if not isinstance(label, str | int | float):
        raise ConfigError(f"{place}: label {label!r} must be a string or a number")
    if "inputs" in row:
        bodies, modalities = _streams(folder, place, row)
    else:
        modalities = {name: name for name in MODALITIES if row.get(name) is not None and row.get(name) != ""}
        bodies = {name: (_body(folder, place, name, name, row[name]),) for name in modalities}
    if not any(bodies.values()):
        raise ConfigError(f"{place}: has no input: neither image, text, sensor nor audio")
    return Row(Sample({name: one for name, one in bodies.items() if one}, str(label), place), modalities)


def _streams(folder: Path, place: str, row: Mapping[str, Any]) -> tuple[dict[str, tuple[Body, ...]], dict[str, str]]:
    modalities, inputs = row.get("modalities"), row["inputs"]
    if not isinstance(modalities, dict) or not isinstance(inputs, dict):
        raise ConfigError(f"{place}: inputs and modalities must be objects by stream")
    bodies = {}
    for name, given in inputs.items():
        modality = modalities.get(name)
        if modality not in MODALITIES:
            raise ConfigError(f"{place}: modality of {name!r} is {modality!r}; must be one of {', '.join(MODALITIES)}")
        entries = given if isinstance(given, list) else [given]
        bodies[name] = tuple(_body(folder, place, name, modality, one) for one in entries)
    return bodies, modalities


def _body(folder: Path, place: str, name: str, modality: str, given: Any) -> Body:
    body = _bytes(folder, place, name, modality, given)
    if modality == "sensor":
        _check_numbers(place, name, body.payload)
    return body


def _bytes(folder: Path, place: str, name: str, modality: str, given: Any) -> Body:
    content_type = _CONTENT_TYPES[modality]
    if isinstance(given, dict) and ("file" in given or "bytes" in given or "path" in given or "text" in given):
        content_type = given.get("content_type", content_type)
        if given.get("bytes") is not None:
            return Body(given["bytes"], content_type, name)
        given = given.get("text") if "text" in given else given.get("file", given.get("path"))
    if isinstance(given, bytes):
        return Body(given, content_type, name)
    if modality == "text":
        if not isinstance(given, str):
            raise ConfigError(f"{place}: {name} must be a string")
        return Body(given.encode(), "text/plain", name)
    if modality == "sensor" and isinstance(given, dict):
        return Body(json.dumps(given).encode(), content_type, name)
    if modality == "sensor" and isinstance(given, str) and given.lstrip().startswith("{"):
        return Body(given.encode(), content_type, name)
    if not isinstance(given, str):
        raise ConfigError(f"{place}: {name} must name a file below {folder}")
    return Body(_read(folder, place, name, given), _SUFFIXES.get(Path(given).suffix.lower(), content_type), name)


def _check_numbers(place: str, name: str, payload: bytes) -> None:
    """A number that is none would be found only when it is used, epochs later."""
    try:
        reading = json.loads(payload)
        items = dict(reading.get("values", reading)).items()
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{place}: {name} is no JSON object of numbers: {error}") from error
    for channel, value in items:
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, float) and not math.isfinite(number):
                raise ConfigError(f"{place}: {name}: {channel} is {number}; a missing number is null")


def _read(folder: Path, place: str, name: str, given: str) -> bytes:
    if "\0" in given:
        raise ConfigError(f"{place}: {name} {given!r} is no name of a file")
    path = (folder / given).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ConfigError(f"{place}: {name} {given!r} lies outside {folder}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{place}: {name} {given!r}: {error.strerror}") from error
