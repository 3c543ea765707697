"""Text -> where card and telephone numbers stand, from its groups of digits and what lies between them.

Each group looks on over at most 19 digits, so the time is linear in the text. Digits are those of any script.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from typing import NamedTuple

Span = tuple[int, int]

_DIGITS = re.compile(r"\d+")
# What people put between the groups of one number; zero-width marks among it, which a reader does not see.
_BETWEEN = frozenset(
    " \t\r\n\f\v\u00a0\u2007\u2009\u202f\u3000.-/()_\u00ad\u2010\u2011\u2012\u2013"
    "\u2014\u2212\u200b\u200c\u200d\u2060\ufeff"
)
_MOST_BETWEEN = 3
_PLUS = "+\uff0b"
# ISO/IEC 7812: the shortest and longest number that issuers use.
_CARD = (13, 19)
# ITU-T E.164: at most 15 digits; with fewer than 7 too many ordinary numbers would go.
_PHONE = (7, 15)
_MOST_MONTH, _MOST_DAY = 12, 31


class Group(NamedTuple):
    """Digits without anything between them. `joined`: the group before belongs to the same number, if there is one."""

    begin: int
    end: int
    digits: str
    joined: bool


def groups_of(text: str) -> list[Group]:
    """All groups of digits, in order."""
    found: list[Group] = []
    for one in _DIGITS.finditer(text):
        begin, end = one.span()
        gap = text[found[-1].end : begin] if found and begin - found[-1].end <= _MOST_BETWEEN else None
        joined = gap is not None and _BETWEEN.issuperset(gap)
        found.append(Group(begin, end, "".join(str(int(digit)) for digit in one[0]), joined))
    return found


def cards(text: str, groups: Sequence[Group]) -> Iterator[Span]:
    """13 to 19 digits that pass Luhn's check (ISO/IEC 7812-1, annex B); none of several groups has one digit alone,
    but the last."""
    for first in range(len(groups)):
        if end := _card_end(groups, first):
            yield groups[first].begin, groups[end - 1].end


def _card_end(groups: Sequence[Group], first: int) -> int:
    """Of the longest card number that begins with this group the group behind its last; 0: none begins here."""
    digits, found = "", 0
    for at in range(first, len(groups)):
        if at > first and (not groups[at].joined or len(groups[at - 1].digits) == 1):
            break
        digits += groups[at].digits
        if len(digits) > _CARD[1]:
            break
        if len(digits) >= _CARD[0] and passes_luhn(digits):
            found = at + 1
    return found


def passes_luhn(digits: str) -> bool:
    """Whether the last digit checks the others."""
    doubled = (2 * int(one) for one in digits[-2::-2])
    return (sum(int(one) for one in digits[::-2]) + sum(one - 9 * (one > 9) for one in doubled)) % 10 == 0


def phones(text: str, groups: Sequence[Group]) -> Iterator[Span]:
    """7 to 15 digits after a plus or that begin with 0; North American and Chinese mobile numbers also without.

    A date (2026-01-02, 02.01.2026) is none, and no fraction (0.25) begins one. Finds may overlap: where one number ends
    and the next begins cannot always be told.
    """
    dates = _dates(text, groups)
    for at, group in enumerate(groups):
        if at not in dates and (end := _phone_end(text, groups, dates, at)):
            yield group.begin - (group.begin > 0 and text[group.begin - 1] in _PLUS), groups[end - 1].end


def _phone_end(text: str, groups: Sequence[Group], dates: Set[int], first: int) -> int:
    group = groups[first]
    before = text[max(0, group.begin - 2) : group.begin]
    plus = before[-1:] in _PLUS if before else False
    plus = plus or (before[-1:] == "(" and before[:1] in _PLUS)
    fraction = group.digits == "0" and text[group.end : group.end + 1] in (".", ",")
    if plus or (group.digits[0] == "0" and not fraction):
        return _longest(groups, dates, first)
    return _with_known_shape(groups, first)


def _longest(groups: Sequence[Group], dates: Set[int], first: int) -> int:
    """As many groups as a number may have digits; it ends before a date."""
    count, found = 0, 0
    for at in range(first, len(groups)):
        if at > first and (not groups[at].joined or at in dates):
            break
        count += len(groups[at].digits)
        if count > _PHONE[1]:
            break
        if count >= _PHONE[0]:
            found = at + 1
    return found


def _with_known_shape(groups: Sequence[Group], first: int) -> int:
    """The North American plan (3-3-4, with a 1 before it or not) and Chinese mobile numbers (11 digits, 13 to 19)."""
    digits = ""
    for at in range(first, min(first + 5, len(groups))):
        if at > first and not groups[at].joined:
            break
        digits += groups[at].digits
        sizes = [len(one.digits) for one in groups[first : at + 1]]
        local = digits[1:] if len(digits) == 11 and digits[0] == "1" else digits
        american = len(local) == 10 and local[0] in "23456789"
        if american and sizes[-1] == 4 and sizes in ([3, 3, 4], [1, 3, 3, 4], [6, 4]):
            return at + 1
        if american and local[3] in "23456789" and sizes in ([10], [11], [1, 10], [3, 7]):
            return at + 1
        if len(digits) == 11 and digits[0] == "1" and digits[1] in "3456789" and sizes in ([11], [3, 4, 4], [3, 8]):
            return at + 1
    return 0


def _dates(text: str, groups: Sequence[Group]) -> Set[int]:
    """The groups that are part of a date: three with one mark between its parts, and the year first or last."""
    found: set[int] = set()
    for first in range(len(groups) - 2):
        if first not in found and _is_date(text, groups[first : first + 3]):
            found.update(range(first, first + 3))
    return found


def _is_date(text: str, three: Sequence[Group]) -> bool:
    if not (three[1].joined and three[2].joined):
        return False
    sizes, numbers = [len(one.digits) for one in three], [int(one.digits[:4]) for one in three]
    marks = text[three[0].end : three[1].begin], text[three[1].end : three[2].begin]
    if marks[0] != marks[1] or marks[0] not in (".", "-", "/"):
        return False
    if sizes[0] == 4:
        numbers, sizes = numbers[::-1], sizes[::-1]
    small = sorted(numbers[:2])
    return sizes[2] == 4 and max(sizes[:2]) <= 2 and 1 <= small[0] <= _MOST_MONTH and small[1] <= _MOST_DAY
