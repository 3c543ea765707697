"""Offsets of one partition -> what may be committed: the lowest unfinished offset and which later ones are done.

The idea of carrying the finished offsets in the commit's metadata is known from Confluent's parallel consumer.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import itertools
import re
import zlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence

from worker.errors import Fatal
from worker.stages.runs import Runs

# The broker refuses metadata over 4,096 bytes (offset.metadata.max.bytes); the dead letters' tally takes up to 190.
MAX_METADATA_BYTES = 3_850
_VERSION = "a1:"
_ANY_VERSION = re.compile(r"(a\d{1,3}):", re.ASCII)
# zlib makes 4,096 bytes of at most 1,032 times as many; more than that is not ours.
_MOST_BYTES = 4 * 2**20
_END_OF_OFFSETS, _MOST_SHIFT = 2**63, 56
# So few runs take less than half of it whatever they are: 18 bytes each for a gap and a length of up to 63 bits, which
# zlib makes no longer but for its frame, and base85 a quarter longer.
_NEVER_WIDE_RUNS = MAX_METADATA_BYTES // 2 * 4 // 5 // 18 - 2


class Ledger:
    """Which records of one partition were read and which are finished, under one assignment.

    Guarantees: `read` says False for exactly the offsets that an earlier owner finished; `preview` never moves past an
    unfinished record; a record costs O(log n) of the gaps between those that are finished. Not thread-safe: the
    committer guards it.
    """

    def __init__(self, lease: int, committed: int | None, metadata: str = "", note: str = "", settled: int = 0) -> None:
        """Starts from what the group has committed; `committed` is None for a group's first start.

        `note` is kept for whoever describes the position: of a context the Redis epoch that it holds for. `settled`,
        also of a context, which may be read again from before: below it what is bad has had its dead letter.
        """
        self.lease, self.start, self.note = lease, committed, note
        self._next = committed
        self._settled, self._seen = settled, 0  # `_seen`: behind the last that was read
        self._unsettled: set[int] = set()  # from there on: not known to be good, or without its dead letter yet
        self._judged: deque[tuple[int, bool]] = deque()  # (offset, bad) in the order of reading, until it is counted
        self._unfinished: set[int] = set()
        self._read: deque[int] = deque()  # in this order; its head is unfinished
        self._times: list[tuple[int, int]] = []  # a heap of (event time, offset)
        self._released: set[int] = set()  # of these, those that hold no context back
        self._finished = Runs(decode_finished(committed or 0, metadata))
        self._is_wide: bool | None = None  # None: to be found out, since something was finished

    def read(self, offset: int) -> bool:
        """Registers a record that was read; False when it is finished already and must be skipped."""
        if self._next is not None and offset < self._next:
            return False
        self._next = self._seen = offset + 1
        if offset in self._finished:
            return False
        self._unfinished.add(offset)
        self._read.append(offset)
        if offset >= self._settled:
            self._unsettled.add(offset)
        return True

    def good(self, offset: int) -> None:
        """Notes that a record that was read needs no dead letter."""
        if offset in self._unsettled:
            self._unsettled.remove(offset)
            self._judged.append((offset, False))

    def bad(self, offset: int) -> bool:
        """True when the record needs a dead letter; else it has had one, or that is on its way."""
        if offset >= self._settled:
            self._judged.append((offset, True))
            return True
        if offset not in self._unsettled:
            self.finish((offset,))
        return False

    def settled(self, also_finished: Collection[int] = ()) -> int:
        """The lowest offset that may still need a dead letter if these were finished as well; dead letters are finished
        in the order in which they were read."""
        left = (offset for offset in self._unsettled if offset not in also_finished)
        return min(left, default=max(self._settled, self._seen))

    def follow(self, earlier: Ledger) -> None:
        """Goes on for a ledger of the same lease that is read again: what it has found bad is not bad anew."""
        self._settled = max(self._settled, earlier._settled, earlier._seen)
        self._unsettled |= earlier._unsettled
        self._judged = earlier._judged

    def judged(self, settled: int) -> list[tuple[int, bool]]:
        """(offset, bad) of the records below `settled`, in the order of reading, that were not counted yet."""
        return list(itertools.takewhile(lambda one: one[0] < settled, self._judged))

    def counted(self, settled: int) -> None:
        """The records below `settled` were counted."""
        while self._judged and self._judged[0][0] < settled:
            self._judged.popleft()

    def timed(self, offset: int, time_us: int) -> None:
        """Notes the event time of a record that was read."""
        heapq.heappush(self._times, (time_us, offset))

    def release(self, offset: int) -> None:
        """A record that was read and holds no context back, though it is unfinished."""
        self._released.add(offset)

    def oldest_us(self, late_us: int = 0) -> int | None:
        """The earliest event time of an unfinished record: whoever owns the partition next begins no earlier. What lies
        before `late_us` is never counted again."""
        while self._times and (
            self._times[0][0] < late_us
            or self._times[0][1] in self._released
            or self._times[0][1] not in self._unfinished
        ):
            self._released.discard(heapq.heappop(self._times)[1])
        return self._times[0][0] if self._times else None

    def finish(self, offsets: Iterable[int]) -> None:
        """Marks records as finished, once their outcome is committed."""
        self._is_wide = None
        for offset in offsets:
            self._unsettled.discard(offset)
            if offset in self._unfinished:
                self._unfinished.remove(offset)
                self._finished.add(offset)
        while self._read and self._read[0] not in self._unfinished:
            self._read.popleft()
        if (floor := self.floor()) is not None:
            self._finished.drop_below(floor)

    def preview(self, offsets: Collection[int] = ()) -> tuple[int, str] | None:
        """(offset, metadata) to commit if `offsets` were finished as well; None when nothing was read yet."""
        floor = self.floor(offsets)
        return None if floor is None else (floor, self.beyond(floor, offsets))

    def beyond(self, floor: int, offsets: Collection[int]) -> str:
        """The metadata that says which offsets from `floor` on are finished, `offsets` among them."""
        runs = Runs(self._finished)
        for offset in offsets:
            runs.add(offset)
        runs.drop_below(floor)
        return encode_finished(floor, runs)

    def fits(self, offsets: Collection[int]) -> bool:
        """Whether a commit's metadata holds it if `offsets` were finished as well."""
        position = self.preview(offsets)
        return position is None or len(position[1]) <= MAX_METADATA_BYTES

    def fitting(self, offsets: Sequence[int]) -> set[int]:
        """So many of the first of these ascending offsets that they fit."""
        while offsets and not self.fits(offsets):
            offsets = offsets[: len(offsets) // 2]
        return set(offsets)

    @property
    def unfinished(self) -> int:
        """How many records were read and are not finished."""
        return len(self._unfinished)

    @property
    def too_wide(self) -> bool:
        """True when so many scattered records are finished that the metadata is half full: reading must pause."""
        if self._is_wide is None:
            now = None if len(self._finished) <= _NEVER_WIDE_RUNS else self.preview()
            self._is_wide = now is not None and len(now[1]) > MAX_METADATA_BYTES // 2
        return self._is_wide

    def floor(self, also_finished: Collection[int] = ()) -> int | None:
        """The lowest offset that would be unfinished, or the next to be read: an earlier owner may have finished some
        beyond it."""
        skip = also_finished if isinstance(also_finished, set | frozenset) else set(also_finished)
        left = (offset for offset in self._read if offset not in skip and offset in self._unfinished)
        return next(left, self._next)


def encode_finished(base: int, runs: Iterable[tuple[int, int]]) -> str:
    """Runs of finished offsets from `base` on by their gaps and lengths, compressed: `a1:` + base85; empty for none."""
    numbers = bytearray()
    position = base
    for start, end in runs:
        numbers += _varint(start - position) + _varint(end - start)
        position = end
    if not numbers:
        return ""
    return _VERSION + base64.b85encode(zlib.compress(bytes(numbers), 9)).decode("ascii")


def decode_finished(base: int, metadata: str) -> Iterator[tuple[int, int]]:
    """The runs of finished offsets from `base` on; none for metadata of another origin.

    Raises:
        Fatal: metadata that begins like ours and cannot be read; guessing would repeat or skip records.
    """
    if not metadata.startswith(_VERSION):
        if found := _ANY_VERSION.match(metadata):
            raise Fatal(
                f"the committed metadata at offset {base} is of form {found[1]}, this release reads {_VERSION[:-1]}; "
                "start the release that wrote it, or a newer one (docs/upgrades.md)"
            )
        return
    try:
        packed = metadata[len(_VERSION) :].partition(":")[0]  # what follows is the dead letters' tally
        runs = list(_runs(base, _numbers(_unpacked(base64.b85decode(packed)))))
    except (ValueError, zlib.error, binascii.Error) as error:
        raise Fatal(f"the committed metadata at offset {base} cannot be read: {error}") from error
    yield from runs


def _unpacked(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(packed, _MOST_BYTES)
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError(f"it is cut off, or more than {_MOST_BYTES} bytes")
    return data


def _runs(base: int, numbers: Iterator[int]) -> Iterator[tuple[int, int]]:
    """Ascending, disjoint and not adjacent; the first may begin at `base`."""
    end, least_gap = base, 0
    for gap in numbers:
        length = next(numbers, 0)
        if gap < least_gap or not length or (start := end + gap) + length > _END_OF_OFFSETS:
            raise ValueError(f"no run of offsets after {end}: {length} from {gap} further on")
        end, least_gap = start + length, 1
        yield start, end


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _numbers(data: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        if shift > _MOST_SHIFT:
            raise ValueError("a number of more than 63 bits")
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
    if shift:
        raise ValueError("its last number is cut off")
