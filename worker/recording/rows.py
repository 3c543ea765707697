"""Gathered -> rows of a training folder, and the bodies that they name."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.names import JPEG, JSON, PNG, WAV
from worker.broker.log import LogReader
from worker.errors import ConfigError, Poison
from worker.recording.gather import Anchor, Gathered, Place, partition_of
from worker.records import Candidate, Event, MatchRule, Missing, Record
from worker.stages.cloudevents import told_beside
from worker.stages.publish import rfc3339
from worker.stages.rule import Choice
from worker.stages.validate import Validator
from worker.text_files import is_utf8

BODIES = "bodies"
_SUFFIXES = {JPEG: ".jpg", PNG: ".png", WAV: ".wav", JSON: ".json"}
# 128 bits, as of a result's id: two bodies with one name would be one body.
_NAME_BYTES = 16
_LONGEST_WORD = 100  # What is longer names no group.


@dataclass(slots=True)
class Bodies:
    """What the second pass has read: per place the row's entry, and of anchors what they tell of themselves, and the
    label that the body names.

    Bodies of the same bytes are one file, named by its content.
    """

    folder: Path
    entries: dict[Place, dict[str, Any]] = field(default_factory=dict)
    attributes: dict[Place, dict[str, Any]] = field(default_factory=dict)
    labels: dict[Place, str] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)

    def add(self, event: Event, modality: str, *, is_anchor: bool = False, attribute: str | None = None) -> None:
        """Keeps a body: a text in its row, any other as a file. `attribute`: the field that names an anchor's label."""
        place = Place(event.record.topic, event.record.partition, event.record.offset)
        entry: dict[str, Any] = {"time": rfc3339(event.time_us), "id": event.id}
        if modality == "text":
            body = event.payload.decode()
            entry = {"text": json.loads(body)["text"] if event.content_type == JSON else body, **entry}
        else:
            entry = {"file": self._write(event), "content_type": event.content_type, **entry}
        self.entries[place] = entry
        if not is_anchor:
            return
        self.attributes[place] = _attributes(event, modality, attribute)
        if attribute is not None and event.content_type == JSON:
            told = json.loads(event.payload).get(attribute)
            if isinstance(told, str) and told.strip() and is_utf8(told):
                self.labels[place] = told.strip()

    def _write(self, event: Event) -> str:
        digest = hashlib.blake2b(event.payload, digest_size=_NAME_BYTES).hexdigest()
        name = f"{BODIES}/{digest}{_SUFFIXES[event.content_type]}"
        if name not in self.files:
            self.files.add(name)
            path = self.folder / name
            unfinished = path.with_suffix(".part")
            unfinished.write_bytes(event.payload)
            os.replace(unfinished, path)
        return name


def _attributes(event: Event, modality: str, label: str | None) -> dict[str, Any]:
    """What rows can be grouped by: of what the event tells beside its text each word, whole number, true or false.

    `label`: the field that names it.
    """
    told = told_beside(event.record)
    if modality == "text" and event.content_type == JSON:
        told |= {name: one for name, one in json.loads(event.payload).items() if name not in ("text", label)}
    return {name: one for name, one in told.items() if _is_word(name) and (isinstance(one, int) or _is_word(one))}


def _is_word(told: Any) -> bool:
    return isinstance(told, str) and 0 < len(told) <= _LONGEST_WORD and is_utf8(told)


@dataclass(frozen=True, slots=True)
class Chosen:
    """An anchor and the places of what is matched to it, per stream in time order."""

    anchor: Anchor
    places: Mapping[str, tuple[Place, ...]]
    missing: Mapping[str, Missing]


def chosen_of(gathered: Gathered, anchors: Iterable[Anchor]) -> list[Chosen]:
    """The anchors in the order of their times, with what is matched."""
    made = []
    for anchor in sorted(anchors, key=lambda one: (one.time_us, one.key, one.id, one.place)):
        choices = gathered.choices(anchor)
        places = {name: _places(gathered, name, anchor.key, choice) for name, choice in choices.items()}
        missing = {name: choice.missing for name, choice in choices.items() if choice.missing is not None}
        made.append(Chosen(anchor, {name: one for name, one in places.items() if one}, missing))
    return made


def _places(gathered: Gathered, stream: str, key: str, choice: Choice) -> tuple[Place, ...]:
    known: Mapping[Candidate, Place] = gathered.line(stream, key).places
    return tuple(known[candidate] for candidate in choice.chosen)


def read_bodies(
    log: LogReader, validator: Validator, chosen: Sequence[Chosen], bodies: Bodies,
    modalities: Mapping[str, str], attribute: str | None, tick: Callable[[int, int], None],
) -> None:  # fmt: skip
    """Reads what is matched by its places, each once. `tick` hears how many of how many are read."""
    wanted = {one.anchor.place for one in chosen} | {p for one in chosen for all_ in one.places.values() for p in all_}
    anchors = {one.anchor.place for one in chosen}
    for done, record in enumerate(_records(log, wanted), 1):
        try:
            event = validator.reread(record)
        except Poison:  # It cannot be masked: its row counts it as gone.
            continue
        own = Place(record.topic, record.partition, record.offset) in anchors
        bodies.add(event, modalities[event.stream], is_anchor=own, attribute=attribute)
        tick(done, len(wanted))


def _records(log: LogReader, wanted: Iterable[Place]) -> Iterator[Record]:
    offsets: defaultdict[Any, list[int]] = defaultdict(list)
    for place in sorted(wanted):
        offsets[partition_of(place)].append(place.offset)
    for partition, some in offsets.items():
        yield from log.pick(partition, some)


@dataclass(slots=True)
class Written:
    """What became rows, for the summary."""

    rows: list[tuple[Anchor, dict[str, Any]]] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    expired: int = 0
    required: int = 0


def rows_of(
    chosen: Sequence[Chosen], bodies: Bodies, label_of: Callable[[Anchor], str | None], modalities: Mapping[str, str],
    anchor: str, rules: Mapping[str, MatchRule],
) -> Written:  # fmt: skip
    """A row per anchor; `anchor` is its stream. One that the worker would make a dead letter for want of a required
    stream is counted and left out, and so is one whose body retention has deleted since."""
    made = Written()
    for one in chosen:
        own = bodies.entries.get(one.anchor.place)
        if own is None:
            made.expired += 1
            continue
        found = {
            name: [bodies.entries[p] for p in places if p in bodies.entries] for name, places in one.places.items()
        }
        missing = dict(one.missing) | {name: Missing.PAYLOAD_EXPIRED for name, some in found.items() if not some}
        if any(rules[name].required for name in missing):
            made.required += 1
            continue
        label = bodies.labels.get(one.anchor.place) or label_of(one.anchor)
        made.labels[label or ""] += 1
        made.missing.update(f"{name} {reason}" for name, reason in missing.items())
        inputs = {anchor: [own], **{name: some for name, some in sorted(found.items()) if some}}
        row = {
            "inputs": inputs, "modalities": dict(modalities), "label": label, "key": one.anchor.key,
            "time": rfc3339(one.anchor.time_us), "missing": {name: str(missing[name]) for name in sorted(missing)},
        }  # fmt: skip
        if attributes := bodies.attributes.get(one.anchor.place):
            row["attributes"] = attributes
        made.rows.append((one.anchor, row))
    return made


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A row a line."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    except FileExistsError as error:
        raise ConfigError(f"--out: {path} is there already; name another folder") from error
