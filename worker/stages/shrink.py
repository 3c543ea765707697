"""A dead letter that its topic does not take -> the same with less in it: its body, its own headers or its key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from schemas import names
from worker.errors import Fatal
from worker.records import Outgoing

_KEPT = (names.ATTEMPTS, names.TIMESTAMP, names.PRIVACY, *names.OMITTED)


def is_dead_letter(out: Outgoing) -> bool:
    """Else it is a result."""
    return any(name == names.ERRORS_STAGE for name, _ in out.headers)


def shrunk(letter: Outgoing, place: str) -> Outgoing:
    """The letter without the largest of body, headers that its record came with, and key; it says how many bytes.

    Raises:
        Fatal: nothing is left to be left out; without its outcome the record at `place` must not be committed.
    """
    came = [one for one in letter.headers if not (one[0].startswith(names.ERRORS_PREFIX) or one[0] in _KEPT)]
    sizes = {
        names.VALUE_OMITTED: len(letter.value or b""),
        names.HEADERS_OMITTED: _bytes(came),
        names.KEY_OMITTED: len(letter.key or b""),
    }
    largest = max(sizes, key=lambda name: sizes[name])
    if not sizes[largest]:
        raise Fatal(
            f"the dead letter of {place} is too large for topic {letter.topic}, even without body, headers and key; "
            "raise that topic's max.message.bytes"
        )
    told = (largest, str(sizes[largest]).encode())
    if largest == names.VALUE_OMITTED:
        return replace(letter, value=b"", headers=(*letter.headers, told))
    if largest == names.KEY_OMITTED:
        return replace(letter, key=None, headers=(*letter.headers, told))
    return replace(letter, headers=(*(one for one in letter.headers if one not in came), told))


def _bytes(headers: Sequence[tuple[str, bytes | None]]) -> int:
    return sum(len(name.encode()) + len(value or b"") for name, value in headers)
