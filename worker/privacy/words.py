"""Text -> where e-mail addresses, number plates and listed names stand. Linear in the text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

Span = tuple[int, int]

# Zero-width marks, which a reader does not see, do not end a word.
_UNSEEN = "\u00ad\u200b\u200c\u200d\u2060\ufeff"
_LOCAL = re.compile(rf"[\w.!#$%&'*+/=?^`{{|}}~{_UNSEEN}-]+")
_AT = re.compile("[@\uff20\ufe6b]")
_DOMAIN = re.compile(rf"[\w.{_UNSEEN}-]+|\[[0-9A-Fa-f.:]{{2,64}}\]|\[IPv6:[0-9A-Fa-f.:]{{2,64}}\]")
# RFC 5321: a quoted local part; longer ones are not looked for.
_MOST_QUOTED = 66
_WORD = re.compile(rf"[\w\u0300-\u036f{_UNSEEN}]+")
# Scripts without spaces between words: a name is found inside of a run.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af\u0e00-\u0e7f]")
_MOST_BETWEEN = 3


def emails(text: str) -> Iterator[Span]:
    """Any run of address characters with an at sign and a run of domain characters behind it, with a dot or not."""
    last = 0
    for at in _AT.finditer(text):
        begin = _local_begin(text, at.start(), last)
        domain = _DOMAIN.match(text, at.end())
        end = _trimmed(text, at.end(), domain.end()) if domain else at.end()
        if begin < at.start() and end > at.end():
            yield begin, end
        last = at.end()


def _local_begin(text: str, at: int, last: int) -> int:
    """Where the local part begins that ends before `at`; it does not go back beyond `last`."""
    if text[at - 1 : at] == '"':
        quote = text.rfind('"', max(last, at - _MOST_QUOTED), at - 1)
        return at if quote < 0 else quote
    begin = at
    while begin > last and _LOCAL.fullmatch(text, begin - 1, begin):
        begin -= 1
    return begin


def _trimmed(text: str, begin: int, end: int) -> int:
    """Dots and hyphens at a domain's end are the sentence's."""
    while end > begin and text[end - 1] in ".-_":
        end -= 1
    return end


_GAP = "[ \u00a0\u202f·•.-]{0,2}"
# Each is bounded in length. `~` stands for an optional gap; those with a space alone need capitals throughout, since
# "at km 12" would else be one.
_FORMS = (
    r"[A-ZÄÖÜ]{1,3}[ -]{1,3}[A-Z]{1,2}~[1-9][0-9]{0,3}[EH]?",  # Germany: B-AB 1234, M XY 123E
    r"[A-Z]{2}~[0-9]{3}~[A-Z]{2}",  # France, Italy: AB-123-CD
    r"[A-Z]{2}[0-9]{2}~[A-Z]{3}",  # United Kingdom: AB12 CDE
    r"[0-9]{4}~[BCDFGHJKLMNPRSTVWXYZ]{3}",  # Spain: 1234 BCD
    r"[A-Z]{2}~[0-9]{2}~[A-Z]{2}~[0-9]{4}",  # India: MH 12 AB 1234
    r"[A-Z]{3}[ -]?[0-9]{3,4}",  # United States and others: ABC-1234
    r"[0-9][A-Z]{3}[0-9]{3}",  # California: 7ABC123
    r"[A-Z]{2}[ -][0-9]{2,3}[ -][A-Z]{1,2}|[A-Z]{1,2}-[0-9]{2,3}-[A-Z]{1,2}",  # Netherlands: GB-123-X
    r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领][A-Z]~[A-Z0-9]{4,5}[A-Z0-9挂学警港澳]",
)
_PLATE = re.compile("|".join(rf"(?<![^\W_])(?:{form.replace('~', _GAP)})(?![^\W_])" for form in _FORMS[:-1])
                    + "|" + _FORMS[-1].replace("~", _GAP))  # fmt: skip
_SMALL_PLATE = re.compile(r"(?<![^\W_])[a-zäöü]{1,3}-[a-z]{1,2}[ -]?[1-9][0-9]{0,3}[eh]?(?![^\W_])", re.IGNORECASE)


def plates(text: str) -> Iterator[Span]:
    """The forms of several countries (docs/privacy.md), in capitals; with a hyphen after the district in any case."""
    for pattern in (_PLATE, _SMALL_PLATE):
        for found in pattern.finditer(text):
            yield found.span()


class Names:
    """A list of names, found as whole words in any case; in scripts without spaces inside of a run as well."""

    def __init__(self, listed: Iterable[str]) -> None:
        """One name each, of any number of words; empty ones are left out."""
        self._first: dict[str, Any] = {}
        unspaced: set[str] = set()
        for name in listed:
            if _UNSPACED.search(name):
                unspaced.add(unicodedata.normalize("NFC", name.strip()))
            words = [_folded(word[0]) for word in _WORD.finditer(name)]
            place = self._first
            for word in words:
                place = place.setdefault(word, {})
            if words:
                place[""] = True
        longest_first = sorted(unspaced, key=lambda one: (-len(one), one))
        self._inside = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def find(self, text: str) -> Iterator[Span]:
        """Where they stand; of names that begin alike the longest."""
        words = [(*word.span(), _folded(word[0])) for word in _WORD.finditer(text)]
        for at in range(len(words)):
            if end := self._end(text, words, at):
                yield words[at][0], end
        if self._inside is not None:
            for found in self._inside.finditer(text):
                yield found.span()

    def _end(self, text: str, words: list[tuple[int, int, str]], first: int) -> int:
        place, found = self._first, 0
        for at in range(first, len(words)):
            begin, end, word = words[at]
            gap = text[words[at - 1][1] : begin] if at > first else ""
            if word not in place or len(gap) > _MOST_BETWEEN:
                break
            place = place[word]
            found = end if "" in place else found
        return found


def _folded(word: str) -> str:
    plain = word.translate(dict.fromkeys(map(ord, _UNSEEN)))
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", plain).casefold())
