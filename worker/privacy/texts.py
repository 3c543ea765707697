"""Text or JSON -> the same with a token in the place of each e-mail address, card, telephone number, plate and name.

A rule looks at what the rules before it have left. Tokens are opaque: what is masked again stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from enum import StrEnum
from typing import Any

from worker.privacy.numbers import cards, groups_of, phones
from worker.privacy.words import Names, emails, plates

Span = tuple[int, int]
Find = Callable[[str], Iterable[Span]]


class Kind(StrEnum):
    """What is masked, in the order in which it is looked for; `[kind]` is its token."""

    EMAIL = "email"
    CARD = "card"
    PHONE = "phone"
    PLATE = "plate"
    NAME = "name"


_TOKEN = re.compile(r"\[(?:email|card|phone|plate|name)\]")


class TextMask:
    """Masks strings. Pure and linear in the text; safe to call from several threads."""

    def __init__(self, kinds: Collection[Kind], names: Iterable[str] = ()) -> None:
        """`names`: those of kind NAME."""
        listed = Names(names)
        found: dict[Kind, Find] = {
            Kind.EMAIL: emails,
            Kind.CARD: lambda text: cards(text, groups_of(text)),
            Kind.PHONE: lambda text: phones(text, groups_of(text)),
            Kind.PLATE: plates,
            Kind.NAME: listed.find,
        }
        self._rules = [(f"[{kind}]", find) for kind, find in found.items() if kind in kinds]
        self._cards = f"[{Kind.CARD}]" if Kind.CARD in kinds else None

    def text(self, text: str) -> str:
        """The text with a token for each find; what touches or overlaps is one."""
        parts = list(_parts(text))
        for token, find in self._rules:
            parts = [piece for part in parts for piece in ([part] if part[1] else _masked(part[0], token, find))]
        return "".join(part for part, _ in parts)

    def json(self, value: Any, numbers: bool = False) -> Any:
        """A JSON value with its strings masked, names of fields too. `numbers`: whole ones that are card numbers too.

        Raises:
            ValueError: two fields of an object would have one name.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.json(one, numbers) for one in value]
        if isinstance(value, dict):
            masked = {self.text(name): self.json(one, numbers) for name, one in value.items()}
            if len(masked) < len(value):
                raise ValueError("two fields would have one name")
            return masked
        if numbers and self._cards and isinstance(value, int) and not isinstance(value, bool):
            told = str(abs(value))
            return self._cards if any(cards(told, groups_of(told))) else value
        return value


def _parts(text: str) -> Iterator[tuple[str, bool]]:
    """The text in pieces, and whether one is a token."""
    at = 0
    for found in _TOKEN.finditer(text):
        yield text[at : found.start()], False
        yield found[0], True
        at = found.end()
    yield text[at:], False


def _masked(text: str, token: str, find: Find) -> Iterator[tuple[str, bool]]:
    at = 0
    for begin, end in _joined(find(text)):
        yield text[at:begin], False
        yield token, True
        at = end
    yield text[at:], False


def _joined(spans: Iterable[Span]) -> list[Span]:
    made: list[Span] = []
    for begin, end in sorted(spans):
        if made and begin <= made[-1][1]:
            made[-1] = made[-1][0], max(made[-1][1], end)
        else:
            made.append((begin, end))
    return made
