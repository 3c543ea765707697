"""Reports about a junction, as people word them: of wordings.toml templates and what fills them, and what hands wrote.

Each file of written/ is of one hand. Of its sentences one in sixteen is of the dev split, another of the test split,
which have nothing else; training reads neither.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from worker.feeds.story import one_of, with_a_letter_lost

_FILE, _WRITTEN = (Path(__file__).parent / name for name in ("wordings.toml", "written"))
KINDS = ("calm", "denied", "after", "alarm", "again")
_TURNS, _TURN_OF = 16, {5: "dev", 13: "test"}
_SLOT = re.compile(r"\{(\w+)\}")
# Of the sentences that others wrote, which are more unlike each other than those of templates.
_WRITTEN_SHARE = 0.75
# How often a calm report denies or follows an alarm, and an alarm follows a calm.
_CALM = {"calm": 0.4, "denied": 0.36, "after": 0.24}
_ALARM = {"alarm": 0.7, "again": 0.3}
_LABELS = {"free_flow": _CALM, "congestion": _CALM, "accident": _ALARM, "emergency": _ALARM}
_Lists = dict[str, tuple[str, ...]]
_BEGINNINGS = (
    "control, ",
    "unit {n} to base: ",
    "report {n}: ",
    "ok, ",
    "well, ",
    "hello, ",
    "car {n} here, ",
    "listen, ",
)
_ENDS = (" over", ", over and out", ", thanks", " please note", ", that is all", ", copy", "...", "!", ".", ".", ".")


class Worded(NamedTuple):
    """A sentence, its kind, and the hand that wrote it: the name of its file, or `template`."""

    text: str
    kind: str
    hand: str


def wording(rng: np.random.Generator, kind: str, split: str = "train") -> str:
    """A sentence of this kind: one that was written, or a template filled; said by radio or typed in haste at times."""
    return _worded(rng, kind, split).text


def _worded(rng: np.random.Generator, kind: str, split: str) -> Worded:
    templates, _, written = _read()
    is_written = split != "train" or rng.random() < _WRITTEN_SHARE
    text = one_of(rng, written[split, kind]) if is_written else _filled(one_of(rng, templates[kind]), rng)
    hand = _hand_of()[text] if is_written else "template"
    if rng.random() < 0.12:
        text = one_of(rng, _BEGINNINGS).replace("{n}", str(rng.integers(1, 40))) + text
    if rng.random() < 0.4:
        text += one_of(rng, _ENDS)
    style = rng.random()
    if style < 0.4:
        text = text[0].upper() + text[1:]
    elif style < 0.45:
        text = text.upper()
    return Worded(with_a_letter_lost(rng, text) if rng.random() < 0.15 else text, kind, hand)


def wording_of(rng: np.random.Generator, label: str, split: str = "train") -> str:
    """A report for a scene of this label, which tells calm from alarm."""
    return worded_of(rng, label, split).text


def worded_of(rng: np.random.Generator, label: str, split: str = "train") -> Worded:
    """As `wording_of`, with what kind of sentence it is and who wrote it."""
    chances = _LABELS[label]
    return _worded(rng, str(rng.choice(list(chances), p=list(chances.values()))), split)


def _filled(text: str, rng: np.random.Generator) -> str:
    slots = _read()[1]
    return _SLOT.sub(lambda slot: _filled(one_of(rng, slots[slot[1]]), rng), text)


@cache
def _read() -> tuple[_Lists, _Lists, dict[tuple[str, str], tuple[str, ...]]]:
    """Templates by kind, phrases by slot, and what was written by split and kind."""
    told = tomllib.loads(_FILE.read_text("utf-8"))
    templates, slots = ({name: tuple(some) for name, some in told[part].items()} for part in ("kinds", "slots"))
    written: dict[tuple[str, str], list[str]] = {}
    for hand in hands():
        for kind, texts in hand.items():
            for number, text in enumerate(texts):
                written.setdefault((_TURN_OF.get(number % _TURNS, "train"), kind), []).append(text)
    return templates, slots, {place: tuple(texts) for place, texts in written.items()}


@cache
def _hand_of() -> dict[str, str]:
    """Who wrote a sentence; of two that wrote the same the first."""
    found: dict[str, str] = {}
    for file, hand in zip(_files(), hands(), strict=True):
        for text in (text for texts in hand.values() for text in texts):
            found.setdefault(text, file.stem)
    return found


def _files() -> list[Path]:
    return sorted(_WRITTEN.glob("*.toml"))


def hands() -> list[dict[str, list[str]]]:
    """What each hand wrote, by kind."""
    return [tomllib.loads(file.read_text("utf-8")) for file in _files()]
