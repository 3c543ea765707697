"""What `--head` asks for; without torch, so that `--help` is quick."""

from __future__ import annotations

from dataclasses import dataclass

from worker.model.kinds import KINDS, NAME, NAME_FORM, NUMBER


@dataclass(frozen=True, slots=True)
class Asked:
    """`--head NAME=KIND` and `NAME=number:UNIT`."""

    name: str
    kind: str
    unit: str | None = None

    @classmethod
    def of(cls, text: str) -> Asked:
        """Raises ValueError where it is none."""
        name, _, told = text.partition("=")
        kind, _, unit = told.partition(":")
        if not NAME.fullmatch(name):
            raise ValueError(f"{text!r}: a head's name {NAME_FORM}")
        if kind not in KINDS or (unit and kind != NUMBER):
            raise ValueError(f"{text!r}: must be NAME=KIND, with {', '.join(KINDS)} as KIND, or NAME=number:UNIT")
        return cls(name, kind, unit or None)
