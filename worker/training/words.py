"""The words of a row: whether anything can be seen of one, and which may be a label; why a row cannot be used."""

from __future__ import annotations

import unicodedata

# A label is a word in tables and metrics; what is longer is a text in the wrong field.
_MOST_LABEL = 200
# Categories of Unicode; marks belong to a letter before them; letters and a braille cell that are empty.
_SPACES = frozenset(("Zs", "Zl", "Zp", "Cc", "Cf"))
_UNSEEN = _SPACES | {"Mn", "Me"}
_FILLERS = "\u115f\u1160\u3164\uffa0\u2800"


class RowError(ValueError):
    """A row cannot be used; says why, and whoever knows the row's place puts that before it."""


def is_blank(text: str) -> bool:
    """Whether nothing can be seen of it: white space, zero-width or control characters, fillers, marks on nothing."""
    return all(unicodedata.category(one) in _UNSEEN or one in _FILLERS for one in text)


def check_word(what: str, text: str) -> None:
    """Raises RowError for what is no label; `what` names the field."""
    if {unicodedata.category(text[0]), unicodedata.category(text[-1])} & _SPACES:
        raise RowError(f"{what} {text!r:.80} begins or ends with white space, or with what is as hard to see")
    if any(unicodedata.category(one) == "Cc" for one in text):
        raise RowError(f"{what} {text!r:.80} holds a line end or another control character")
    if len(text) > _MOST_LABEL:
        raise RowError(f"{what} {text[:20]!r}... has {len(text)} characters, over the limit of {_MOST_LABEL}")
