"""`--unlabelled` -> rows without labels, of the inputs that the data has, and none that dev or test holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from worker.errors import ConfigError
from worker.training.bodies import series_of
from worker.training.doubles import held_already
from worker.training.rows import Row, Sample
from worker.training.samples import SPLITS, folder_rows, has_split, listing
from worker.training.sources import Data
from worker.training.start import listed

NAMES = ("unlabelled", *SPLITS)


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """Rows whose labels nobody knows, or nobody looks at.

    Attributes:
        samples: with the first of the data's labels in the place of their own, which nothing may go by.
        told: what was read and what was left out, a sentence each.
    """

    samples: list[Sample]
    told: tuple[str, ...]


def read_unlabelled(folder: Path, data: Data, inputs: Sequence[str] | None, old: Sequence[Sample] = ()) -> Unlabelled:
    """All rows of `unlabelled`, `train`, `dev` and `test`, as far as these are there; looked at as those of `--data`.

    `inputs`: of `--inputs`; others are left out then. `old`: a further test split.

    Raises:
        ConfigError: there is none of these files, a row cannot be used, or an input is none of the data's, or a
            sensor has none of its fields.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"--unlabelled {folder}: {'is a file; name a folder' if folder.exists() else 'no such folder'}"
        )
    found = [name for name in NAMES if has_split(folder, name)]
    if not found:
        raise ConfigError(
            f"--unlabelled {folder}: needed are one or more of {', '.join(f'{name}.jsonl' for name in NAMES)} "
            f"(or .parquet); {listing(folder)}"
        )
    rows = [row for name in found for row in folder_rows(folder, name, labelled=False)]
    _check_inputs(folder, rows, data, inputs)
    label = data.labels[0]
    cut = [
        replace(row.sample, bodies={n: b for n, b in row.sample.bodies.items() if n in data.inputs}, label=label)
        for row in rows
    ]
    samples = [sample for sample in cut if sample.bodies]
    alone = _fields_alone(folder, samples, data)
    out = held_already(samples, {**data.splits, "old-data": old})
    kept = [sample for number, sample in enumerate(samples) if number not in out]
    if not kept:
        raise ConfigError(f"--unlabelled {folder}: all {len(rows)} rows are in --data already, or have no input of it")
    return Unlabelled(kept, (*_told(folder, rows, len(kept), Counter(out.values())), *alone))


def _check_inputs(folder: Path, rows: Sequence[Row], data: Data, inputs: Sequence[str] | None) -> None:
    there = {name: modality for row in rows for name, modality in row.modalities.items() if name in row.sample.bodies}
    foreign = [
        name for name, modality in there.items()
        if data.inputs.get(name, None if inputs is None else modality) != modality
    ]  # fmt: skip
    if foreign or not there.keys() & data.inputs.keys():
        known, given = (", ".join(f"{name} ({one})" for name, one in some.items()) for some in (data.inputs, there))
        raise ConfigError(
            f"--unlabelled {folder}: has {given or 'no input'}; it may have what --data has: {known}; name them alike, "
            "or take the others out"
        )


def _fields_alone(folder: Path, samples: Sequence[Sample], data: Data) -> list[str]:
    """Of each sensor the fields that these rows alone have, a sentence each.

    Raises:
        ConfigError: a sensor has no field in common with the data's: it is another one of the same name.
    """
    told = []
    for name in [name for name, modality in data.inputs.items() if modality == "sensor"]:
        known, there = (_fields(name, some) for some in (data.splits["train"], samples))
        if there and known and not known & there:
            raise ConfigError(
                f"--unlabelled {folder}: {name} has the fields {listed(sorted(there))}, in --data "
                f"{listed(sorted(known))}, and none in common: name the fields alike, or one of the inputs otherwise"
            )
        if alone := sorted(there - known):
            told.append(f"unlabelled: {name} has fields that --data does not have: {listed(alone)}")
    return told


def _fields(name: str, samples: Sequence[Sample]) -> set[str]:
    return {one for sample in samples for body in sample.bodies.get(name, ()) for one in series_of(body)}


def _told(folder: Path, rows: Sequence[Row], kept: int, out: Counter[str]) -> list[str]:
    told = [f"unlabelled: {kept} of {len(rows)} rows of {folder.name} are used"]
    if labelled := sum(row.label not in ("", None) for row in rows):
        told.append(f"unlabelled: {labelled} rows have a label, which is not looked at")
    if with_targets := sum(bool(row.targets) for row in rows):
        told.append(f"unlabelled: {with_targets} rows have targets, which are not looked at")
    for split, count in out.items():
        more = "" if split == "train" else ", or a body of theirs"
        told.append(f"unlabelled: {count} rows left out, since {split} has them{more}")
    return told
