"""A finding of `check`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """`error`: `run` cannot work so (exit 2); `warning`: it costs results or time; `note`: worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen and what it costs, and what to do."""

    level: Level
    sentence: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.sentence}; {self.remedy}"


def error(sentence: str, remedy: str) -> Finding:
    return Finding(Level.ERROR, sentence, remedy)


def warning(sentence: str, remedy: str) -> Finding:
    return Finding(Level.WARNING, sentence, remedy)


def note(sentence: str, remedy: str) -> Finding:
    return Finding(Level.NOTE, sentence, remedy)


def could_not_look(what: str, right: str) -> Finding:
    """This user may not see it; a worker does not need to."""
    return note(f"could not look at {what}: needs {right}", "give it to whoever runs `check`, or look there yourself")
