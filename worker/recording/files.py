"""Rows -> the files of a training folder, and what is said of them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

from worker.recording.command import UNLABELLED
from worker.recording.gather import Gathered, Place
from worker.recording.rows import Written, write_rows
from worker.recording.splits import FEWEST_KEYS, divide
from worker.recording.told import Told

Say = Callable[[str], None]

# So many records that are no answers are told by their place; the others are counted.
MOST_NAMED = 5


def write_files(
    written: Written, notes: Mapping[Place, Any], gathered: Gathered, left: int, chosen: Namespace, say: Say
) -> None:
    """Writes the files and says what is in them; `notes` on rows to be labelled, the first most worth it."""
    has_source = bool(chosen.label_from or chosen.label_attribute or chosen.uncertain)
    kept = [row for row in written.rows if not has_source or row[1]["label"] is not None]
    others = [row for row in written.rows if has_source and row[1]["label"] is None]
    sizes = _write_splits(kept, gathered, chosen, say)
    if others:
        rank = {place: number for number, place in enumerate(notes)}
        others.sort(key=lambda one: rank.get(one[0].place, len(rank)))
        noted = ({**row, "_result": notes[a.place]} if a.place in notes else row for a, row in others)
        write_rows(chosen.out / f"{UNLABELLED}.jsonl", noted)
        sizes.append(f"{UNLABELLED} {len(others)}")
    labels = ", ".join(f"{name or 'none'} {number}" for name, number in sorted(written.labels.items()))
    missing = ", ".join(f"{name} {number}" for name, number in sorted(written.missing.items()))
    _tell_answers(gathered.told, say)
    say(f"wrote {len(written.rows)} rows to {chosen.out} ({', '.join(sizes)}); labels: {labels or 'none'}; "
        f"missing: {missing or 'none'}; open at the end: {left}; without a required stream: {written.required}; "
        f"deleted meanwhile: {written.expired}; refused: {gathered.refused}")  # fmt: skip


def _write_splits(kept: list[Any], gathered: Gathered, chosen: Namespace, say: Say) -> list[str]:
    """The rows that are to be divided; how many each split has."""
    reach_us = max((rule.before_us + rule.after_us for rule in gathered.rules.values()), default=0)
    divided = divide([(anchor.key, anchor.time_us) for anchor, _ in kept], chosen.split, reach_us)
    if kept and not divided.by_key:
        keys = len({anchor.key for anchor, _ in kept})
        say(f"warning: {keys} keys are too few to divide by (needed {FEWEST_KEYS}, and one a split): rows are divided "
            "by key and minute; a key is in several splits, so what is measured tells little of a new one; left out at "
            f"the edges, since they share context with another split: {divided.splits.count(None)} rows")  # fmt: skip
    sizes = []
    for name in chosen.split:
        rows = [row for (_, row), split in zip(kept, divided.splits, strict=True) if split == name]
        write_rows(chosen.out / f"{name}.jsonl", rows)
        sizes.append(f"{name} {len(rows)}")
    return sizes


def _tell_answers(told: Told, say: Say) -> None:
    """What is wrong with the answers: each unknown label, the first bad records."""
    if told.unknown:
        names = ", ".join(f"{label!r} {number}" for label, number in sorted(told.unknown.items()))
        say(f"warning: answers name labels that no result knows, and were not used: {names}; --new-label takes one")
    if bad := told.answers.bad:
        more = f"; and {len(bad) - MOST_NAMED} more" if len(bad) > MOST_NAMED else ""
        say(f"warning: {len(bad)} records are no answers: {'; '.join(bad[:MOST_NAMED])}{more}")
