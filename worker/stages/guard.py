"""What a transaction would commit -> DeadLetterLimit, before a bad release drains a topic into the dead letters."""

from __future__ import annotations

import base64
import binascii
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from worker.errors import DeadLetterLimit, Fatal
from worker.ports import Clock
from worker.records import Outcome, Partition

# The contract names the window: the ratio is taken of the last 1,000 records.
WINDOW_RECORDS = 1_000
# Ends a commit's metadata: `:g1,` row `,` time `,` window. Neither what is before it nor the window has a colon.
_MARK = ":g1,"
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
Judged = tuple[bool, str]


@dataclass(frozen=True, slots=True)
class Tally:
    """What was committed of one input topic.

    Attributes:
        row: dead letters since the last record that was none.
        window: of the last 1,000 records those that became dead letters, a bit each, the last record's the lowest.
        at_ms: when the last record was counted; 0 as long as there was no dead letter at all.
    """

    row: int = 0
    window: int = 0
    at_ms: int = 0


class DeadLetterGuard:
    """Counts dead letters in a row and among the last 1,000 records of each input topic by itself: the good frames
    between would hide that every text is refused.

    The counts are those of what is committed, and are committed with it in the metadata of each partition: whoever owns
    the partition next goes on from them. Not thread-safe: the committer guards it.
    """

    def __init__(self, in_a_row: int, ratio: float, clock: Clock) -> None:
        """The limits; 0 is none."""
        self._in_a_row, self._ratio, self._clock = in_a_row, ratio, clock
        self._tallies: dict[str, Tally] = {}

    def resume(self, topic: str, metadata: str) -> None:
        """Goes on from what a partition's commit says, unless this worker has counted records of the topic since.

        Raises:
            Fatal: metadata that ends like ours and cannot be read.
        """
        _, mark, told = metadata.rpartition(_MARK)
        if mark:
            found = _decode(told)
            if found.at_ms > self._tallies.get(topic, Tally()).at_ms:
                self._tallies[topic] = found

    def after(self, judged: Mapping[str, Iterable[Judged]]) -> dict[str, Tally]:
        """The counts once these records, by topic and in order, are committed; `keep` makes them so.

        Raises:
            DeadLetterLimit: a limit is hit; none of it may be committed.
        """
        found = dict(self._tallies)
        for topic, records in judged.items():
            tally = found.get(topic, Tally())
            for bad, message in records:
                tally = self._next(tally, bad)
                if bad:
                    self._check(topic, tally, message)
            found[topic] = tally
        return found

    def keep(self, tallies: Mapping[str, Tally]) -> None:
        """They are committed; what was resumed meanwhile and is newer stays."""
        for topic, tally in tallies.items():
            if tally.at_ms >= self._tallies.get(topic, Tally()).at_ms:
                self._tallies[topic] = tally

    def _next(self, tally: Tally, bad: bool) -> Tally:
        if not (bad or tally.at_ms):
            return tally
        at_ms = max(self._clock.now_us() // 1000, tally.at_ms)
        window = (tally.window << 1 | bad) & ((1 << WINDOW_RECORDS) - 1)
        return Tally(tally.row + 1 if bad else 0, window, at_ms)

    def _check(self, topic: str, tally: Tally, message: str) -> None:
        if self._in_a_row and tally.row >= self._in_a_row:
            raise DeadLetterLimit(
                f"{tally.row} dead letters in a row (limits.dead_letters_in_a_row = {self._in_a_row}) "
                f"of topic {topic}; the last: {message}"
            )
        rejected = tally.window.bit_count()
        if self._ratio and rejected > self._ratio * WINDOW_RECORDS:
            raise DeadLetterLimit(
                f"{rejected} of the last {WINDOW_RECORDS} records were dead letters "
                f"(limits.dead_letter_ratio = {self._ratio}) of topic {topic}; the last: {message}"
            )


def suffix(tally: Tally) -> str:
    """What is added to a commit's metadata; nothing as long as there was no dead letter."""
    if not tally.at_ms:
        return ""
    window = tally.window.to_bytes((tally.window.bit_length() + 7) // 8, "big")
    return f"{_MARK}{tally.row},{tally.at_ms},{base64.b85encode(window).decode('ascii')}"


def without_tally(metadata: str) -> str:
    """What stands before the tally."""
    return metadata.rpartition(_MARK)[0] or metadata


def _decode(told: str) -> Tally:
    try:
        row, at_ms, window = told.split(",", 2)
        bits = int.from_bytes(base64.b85decode(window), "big")
        if not (_NUMBER.fullmatch(row) and _NUMBER.fullmatch(at_ms)) or bits.bit_length() > WINDOW_RECORDS:
            raise ValueError(f"it is two counts and a window of {WINDOW_RECORDS} records")
        return Tally(int(row), bits, int(at_ms))
    except (ValueError, binascii.Error) as error:
        raise Fatal(f"the dead letters' tally {told[:64]!r} in a commit's metadata cannot be read: {error}") from error


def judged_of(
    outcomes: Sequence[Outcome], settled: Mapping[Partition, Sequence[tuple[int, bool]]]
) -> dict[str, list[Judged]]:
    """What a transaction says of each input topic's records, in order.

    Anchors by their outcomes; context records by what reading them has shown (`settled`: offset and whether it is bad),
    and again as bad when one proves undecodable.
    """
    found: defaultdict[str, list[Judged]] = defaultdict(list)
    said = {(one.record.topic, one.record.partition, one.record.offset): one.message
            for outcome in outcomes for one in outcome.rejected}  # fmt: skip
    for outcome in outcomes:
        if outcome.record.lies_on in settled:
            continue
        for one in outcome.rejected:
            found[one.record.topic].append((True, one.message))
        if all(one.record.place != outcome.record.place for one in outcome.rejected):
            found[outcome.record.topic].append((False, ""))
    for partition, records in settled.items():
        found[partition.topic] += [
            (bad, said.get((partition.topic, partition.number, offset), "")) for offset, bad in records
        ]
    return found
