"""`--unlabelled` -> rows without labels, of the inputs that the data has, and none that dev or test holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from worker.errors import ConfigError
from worker.training.doubles import held_already
from worker.training.rows import Row, Sample
from worker.training.samples import SPLITS, folder_rows, has_split, listing
from worker.training.sources import Data

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
        ConfigError: there is none of these files, a row cannot be used, or an input is none of the data's.
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
    out = held_already(samples, {**data.splits, "old-data": old})
    kept = [sample for number, sample in enumerate(samples) if number not in out]
    if not kept:
        raise ConfigError(f"--unlabelled {folder}: all {len(rows)} rows are in --data already, or have no input of it")
    return Unlabelled(kept, tuple(_told(folder, rows, len(kept), Counter(out.values()))))


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


def _told(folder: Path, rows: Sequence[Row], kept: int, out: Counter[str]) -> list[str]:
    told = [f"unlabelled: {kept} of {len(rows)} rows of {folder.name} are used"]
    if labelled := sum(row.label not in ("", None) for row in rows):
        told.append(f"unlabelled: {labelled} rows have a label, which is not looked at")
    for split, count in out.items():
        more = "" if split == "train" else ", or a body of theirs"
        told.append(f"unlabelled: {count} rows left out, since {split} has them{more}")
    return told
