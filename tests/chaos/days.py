"""The story of the corners' storm: days of texts and frames, sources with clocks of their own, poison among them."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

from tests.chaos.poison import HOUR_US, SECOND_US, kinds
from tests.chaos.told import Must, Told, frame, in_order, pinned, text

DAY_US = 5 * SECOND_US
TEXT_EVERY_US, FRAME_EVERY_US = 400_000, 200_000
LEAD_US = SECOND_US
# What completes the last text of a day before a dark night.
EVENING_US = 1_500_000
PARTITIONS = {"texts": 4, "frames": 3}
CODECS = (None, "gzip", "snappy", "lz4", "zstd")
SPIKE_US = 18 * SECOND_US  # Within `max_ahead`.
# After these faults event time leaps: in life a key is silent for many horizons before Redis lets go of it.
NIGHTS = ("quiet", "night")
BEHIND_US, AHEAD_US, FAST_US = -2 * HOUR_US, HOUR_US // 3, 8 * SECOND_US
Clock = Callable[[int], int]


@dataclass(frozen=True)
class Source:
    """What the clock of a key's texts says, what its cameras' say, and what becomes of its texts."""

    texts: Clock
    cameras: tuple[Clock, ...]
    must: Must = Must.OUTCOME


def _off(by_us: int) -> Clock:
    return lambda at_us: at_us + by_us


def sources(from_us: int, to_us: int) -> dict[str, Source]:
    """Key -> its clocks. Those that are reset in between stand at 1970 then, and go on from there."""
    right, behind, ahead, fast = _off(0), _off(BEHIND_US), _off(AHEAD_US), _off(FAST_US)

    def reset(at_us: int) -> int:
        return at_us - from_us if from_us <= at_us < to_us else at_us

    return {
        "text-behind": Source(behind, (right,)),
        "camera-behind": Source(right, (behind,)),
        "both-behind": Source(behind, (behind,)),
        "text-ahead": Source(ahead, (right,)),
        "camera-ahead": Source(right, (ahead,)),
        "both-fast": Source(fast, (fast,), Must.PAIR),
        "text-reset": Source(reset, (right,), Must.PAIR),
        "camera-reset": Source(right, (reset,), Must.PAIR),
        "second-camera-behind": Source(right, (right, behind), Must.PAIR),
        "second-camera-ahead": Source(right, (right, ahead), Must.PAIR),
        # Within `max_ahead`: the right camera's frames are late then, and may miss their texts.
        "second-camera-fast": Source(right, (right, fast)),
    }


class Story:
    """A seed's story under these faults, one a day, of these parts (see `corners.PARTS`)."""

    def __init__(
        self, seed: int, faults: Sequence[str], parts: Collection[str], now_us: int, *, keys: int, rate: float,
        horizon_us: int,
    ) -> None:  # fmt: skip
        """It ends at `now_us`. `rate`: of each kind of poison, per text."""
        self._rng, self._faults, self._parts, self._keys, self._rate = random.Random(seed), faults, parts, keys, rate
        self._number = count()
        leaps = [4 * horizon_us if fault in NIGHTS else 0 for fault in faults]
        start_us = now_us - len(faults) * DAY_US - sum(leaps) - EVENING_US
        self._starts_us = [start_us + n * DAY_US + sum(leaps[:n]) for n in range(len(faults))]

    def days(self) -> list[list[Told]]:
        """What is produced each day, in this order."""
        records = in_order([self._placed(record) for record in self._records()], LEAD_US)
        ends = [*(start_us - LEAD_US for start_us in self._starts_us[1:]), self._starts_us[-1] + 10 * DAY_US]
        days: list[list[Told]] = [[] for _ in ends]
        for record in records:
            produced_us = record.at_us - (LEAD_US if record.stream == "frames" else 0)
            days[next(n for n, end_us in enumerate(ends) if produced_us < end_us)].append(record)
        return days

    def _placed(self, record: Told) -> Told:
        placed = pinned(record, PARTITIONS[record.stream])
        if "codecs" not in self._parts:
            return placed
        return replace(placed, codec=CODECS[zlib.crc32(b"codec" + (record.key or b"")) % len(CODECS)])

    def _records(self) -> Iterator[Told]:
        right = Source(_off(0), (_off(0),), Must.PAIR)
        last = len(self._starts_us)
        for n in range(self._keys):
            yield from self._of_key(f"junction-{n}", right, 0)
        if "clocks" in self._parts:
            for key, source in sources(self._starts_us[last // 3], self._starts_us[2 * last // 3]).items():
                yield from self._of_key(key, source, 0)
            yield from self._of_key("camera-spike", right, 0)
            # The last frame of all: those before it stay the matches of texts that are asked for after it.
            yield self._frame(self._starts_us[-1] + DAY_US + EVENING_US, "camera-spike", _off(SPIKE_US))
        grown = 0
        for day, fault in enumerate(self._faults):
            if fault == "grow":
                yield from self._grown(day + 1, grown, right)
                grown += 1
        if "poison" in self._parts:
            yield from self._poison()

    def _grown(self, first_day: int, already: int, right: Source) -> Iterator[Told]:
        """New cameras on the new partition; the texts of some lie on an old one."""
        for n in range(3):
            for record in self._of_key(f"new-{already}-{n}", right, first_day):
                new = PARTITIONS[record.stream] + already
                yield replace(record, partition=new if record.stream == "frames" or n else 0)

    def _of_key(self, key: str, source: Source, first_day: int) -> Iterator[Told]:
        for day in range(first_day, len(self._starts_us)):
            start_us = self._starts_us[day]
            last = day + 1 == len(self._starts_us) or self._faults[day] in NIGHTS
            for at_us in self._times(start_us, DAY_US, TEXT_EVERY_US):
                yield self._text(at_us, key, source)
            for at_us in self._times(start_us, DAY_US + (EVENING_US if last else 0), FRAME_EVERY_US):
                for clock in source.cameras:
                    yield self._frame(at_us, key, clock)

    def _times(self, start_us: int, length_us: int, every_us: int) -> Iterator[int]:
        for n in range(length_us // every_us):
            yield start_us + n * every_us + self._rng.randrange(0, every_us, 1000)

    def _text(self, at_us: int, key: str, source: Source) -> Told:
        made = text(at_us, key, f"{key}-t{next(self._number)}", source.texts(at_us))
        if _refused(made):
            return made.but(Must.REFUSE)
        was_reset = made.event is not None and made.event.time_us < DAY_US * 1000
        return made.but(Must.OUTCOME if was_reset else source.must)

    def _frame(self, at_us: int, key: str, clock: Clock) -> Told:
        made = frame(at_us, key, f"{key}-f{next(self._number)}", clock(at_us))
        return made.but(Must.REFUSE) if _refused(made) else made

    def _poison(self) -> Iterator[Told]:
        texts = self._keys * DAY_US // TEXT_EVERY_US
        for day, start_us in enumerate(self._starts_us):
            for kind, maker in kinds().items():
                wanted = self._rate * texts
                number = int(wanted) + (self._rng.random() < wanted % 1)
                for _ in range(max(number, 1) if day == 0 else number):
                    # A frame and the text that uses it come on the same day.
                    at_us, key = (
                        start_us + self._rng.randrange(DAY_US - LEAD_US),
                        f"junction-{self._rng.randrange(self._keys)}",
                    )
                    yield from maker(at_us, key, f"{kind} {next(self._number)}".replace(" ", "-"))


def _refused(record: Told) -> bool:
    """Ahead by minutes, or at the very instant at which a reset clock begins."""
    assert record.event is not None
    return record.event.time_us <= 0 or record.event.time_us > record.at_us + AHEAD_US // 2
