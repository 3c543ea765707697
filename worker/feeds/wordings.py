"""Reports about a junction, as people word them: templates and phrases that fill them, from wordings.toml."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path

import numpy as np

_FILE = Path(__file__).parent / "wordings.toml"
_SLOT = re.compile(r"\{(\w+)\}")
# How often a calm report denies or follows an alarm, and an alarm follows a calm.
_CALM = {"calm": 0.46, "denied": 0.27, "after": 0.27}
_ALARM = {"alarm": 0.75, "again": 0.25}
_LABELS = {"free_flow": _CALM, "congestion": _CALM, "accident": _ALARM, "emergency": _ALARM}
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


def wording(rng: np.random.Generator, kind: str) -> str:
    """A sentence of this kind: a template filled, said by radio or typed in haste now and then."""
    templates = _read()[0][kind]
    text = _filled(templates[int(rng.integers(len(templates)))], rng)
    if rng.random() < 0.12:
        text = _one(_BEGINNINGS, rng).replace("{n}", str(rng.integers(1, 40))) + text
    if rng.random() < 0.4:
        text += _one(_ENDS, rng)
    style = rng.random()
    if style < 0.4:
        text = text[0].upper() + text[1:]
    elif style < 0.45:
        text = text.upper()
    return _with_a_letter_lost(text, rng) if rng.random() < 0.15 else text


def wording_of(rng: np.random.Generator, label: str) -> str:
    """A report for a scene of this label, which tells calm from alarm."""
    chances = _LABELS[label]
    return wording(rng, str(rng.choice(list(chances), p=list(chances.values()))))


def _filled(text: str, rng: np.random.Generator) -> str:
    slots = _read()[1]
    return _SLOT.sub(lambda slot: _filled(_one(slots[slot[1]], rng), rng), text)


def _with_a_letter_lost(text: str, rng: np.random.Generator) -> str:
    at = int(rng.integers(len(text)))
    return text[:at] + text[at + 1 :]


def _one(phrases: tuple[str, ...], rng: np.random.Generator) -> str:
    return phrases[int(rng.integers(len(phrases)))]


@cache
def _read() -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    told = tomllib.loads(_FILE.read_text("utf-8"))
    kinds, slots = ({name: tuple(some) for name, some in told[part].items()} for part in ("kinds", "slots"))
    return kinds, slots
