"""Outcomes of a transaction that some topic does not take -> the one whose record is the largest, with less in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from schemas import names
from worker.errors import Fatal
from worker.records import Outcome, Outgoing

# On a record whose body or whose own headers its topic does not take: how many bytes were left out.
VALUE_OMITTED_HEADER = "fusion.value_omitted_bytes"
HEADERS_OMITTED_HEADER = "fusion.headers_omitted_bytes"
_KEPT = (names.ATTEMPTS, names.TIMESTAMP, VALUE_OMITTED_HEADER, HEADERS_OMITTED_HEADER)


def shrink_largest(outcomes: Sequence[Outcome]) -> tuple[Outcome, Outcome]:
    """The outcome with the largest record, as it is and with the larger part of that left out: body, or headers.

    Raises:
        Fatal: nothing is left to be left out; without its outcome the record must not be committed.
    """
    number, place = max(
        ((number, place) for number, outcome in enumerate(outcomes) for place in range(len(outcome.outgoing))),
        key=lambda at: _size(outcomes[at[0]].outgoing[at[1]]),
    )
    outcome = outcomes[number]
    outgoing = list(outcome.outgoing)
    outgoing[place] = _shrunk(outgoing[place], outcome)
    return outcome, replace(outcome, outgoing=tuple(outgoing))


def _shrunk(out: Outgoing, outcome: Outcome) -> Outgoing:
    value_bytes, came = len(out.value or b""), _came_with_it(out)
    came_bytes = _bytes(came)
    if value_bytes + came_bytes == 0:
        raise Fatal(
            f"what {outcome.record.place} led to is too large for topic {out.topic}, even without its body; raise that "
            "topic's max.message.bytes"
        )
    if value_bytes >= came_bytes:
        told = (VALUE_OMITTED_HEADER, str(value_bytes).encode())
        return replace(out, value=b"", headers=(*out.headers, told))
    told = (HEADERS_OMITTED_HEADER, str(came_bytes).encode())
    return replace(out, headers=(*(one for one in out.headers if one not in came), told))


def _came_with_it(out: Outgoing) -> list[tuple[str, bytes]]:
    """The headers that a dead letter's record came with; of a result all are ours."""
    if all(name != names.ERRORS_STAGE for name, _ in out.headers):
        return []
    return [one for one in out.headers if not (one[0].startswith(names.ERRORS_PREFIX) or one[0] in _KEPT)]


def _size(out: Outgoing) -> int:
    return len(out.key or b"") + len(out.value or b"") + _bytes(out.headers)


def _bytes(headers: Sequence[tuple[str, bytes]]) -> int:
    return sum(len(name.encode()) + len(value) for name, value in headers)
