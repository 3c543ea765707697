"""The delivery ledger: a new owner repeats exactly the unfinished records, in any order of completion."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import Fatal
from worker.stages.ledger import _NEVER_WIDE_RUNS, MAX_METADATA_BYTES, Ledger, decode_finished, encode_finished
from worker.stages.runs import Runs


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Offsets as read (with the gaps that transaction markers leave) and those that were finished, in any order."""
    steps = draw(st.lists(st.integers(1, 4), min_size=1, max_size=60))
    start = draw(st.integers(0, 2**40))
    offsets = [start := start + step for step in steps]
    finished = draw(st.lists(st.sampled_from(offsets), unique=True))
    return offsets, finished


@given(histories(), st.integers(0, 59))
def test_new_owner_repeats_exactly_the_unfinished(history: tuple[list[int], list[int]], split: int) -> None:
    """Whatever was finished before the crash is skipped, whatever was not is read again."""
    offsets, finished = history
    ledger = Ledger(1, offsets[0], "")
    for offset in offsets:
        assert ledger.read(offset)
    ledger.finish(finished[:split])
    committed = ledger.preview(finished[split:])
    assert committed is not None
    successor = Ledger(2, *committed)
    repeated = [offset for offset in offsets if offset >= committed[0] and successor.read(offset)]
    assert repeated == [offset for offset in offsets if offset not in finished]


@given(st.integers(0, 2**32))
def test_any_interleaving_of_reading_finishing_and_crashing_does_each_once(seed: int) -> None:
    """However few records an owner reads before it finishes some, and whenever it dies, each is done exactly once."""
    rng = random.Random(seed)
    offsets = list(itertools.accumulate(rng.choices(range(1, 5), k=30), initial=rng.randrange(2**40)))
    committed: tuple[int, str] | None = None
    ledger, unread, reading, done = Ledger(1, None), list(offsets), set[int](), list[int]()
    while len(done) < len(offsets):
        chance = rng.random()
        if unread and chance < 0.5:
            if ledger.read(offset := unread.pop(0)):
                reading.add(offset)
        elif reading and chance < 0.9:
            now = set(rng.sample(sorted(reading), rng.randint(1, len(reading))))
            committed = ledger.preview(now)
            ledger.finish(now)
            done += now
            reading -= now
        elif chance >= 0.9:
            ledger = Ledger(2, *committed) if committed is not None else Ledger(2, None)
            unread = [offset for offset in offsets if committed is None or offset >= committed[0]]
            reading.clear()
        else:
            assert unread or reading, f"{len(offsets) - len(done)} are lost"
    assert sorted(done) == offsets


@given(st.integers(0, 2**32))
def test_each_bad_context_record_has_one_dead_letter(seed: int) -> None:
    """And is counted once, whatever is held back, read again from before (Redis was emptied) or left by the dead."""
    rng = random.Random(seed)
    bad = {offset: rng.random() < 0.4 for offset in range(30)}
    floor, settled, told, counted = 0, 0, list[int](), list[tuple[int, bool]]()
    ledger, unread, held, queued = Ledger(1, 0), list(bad), set[int](), set[int]()
    for _ in range(300):
        chance = rng.random()
        if unread and chance < 0.6:
            if ledger.read(offset := unread.pop(0)):
                if not bad[offset]:
                    ledger.good(offset)
                    held.add(offset)
                elif ledger.bad(offset):
                    queued.add(offset)
        elif chance < 0.75:
            now = set(sorted(queued)[: rng.randint(0, len(queued))])  # dead letters leave in the order of reading
            if (position := ledger.preview(now)) is not None:
                floor, settled = position[0], ledger.settled(now)
                ledger.finish(now)
                counted += ledger.judged(settled)
                ledger.counted(settled)
                told += now
                queued -= now
        elif chance < 0.9:
            ledger.finish(now := {offset for offset in held if rng.random() < 0.5})
            held -= now
        elif chance < 0.95:
            again = Ledger(1, start := rng.randint(0, floor))
            again.follow(ledger)
            ledger, unread, held = again, list(range(start, 30)), set()
        else:
            ledger = Ledger(2, start := rng.randint(0, floor), settled=max(floor, settled))
            unread, held, queued = list(range(start, 30)), set(), set()
    assert len(told) == len(set(told))
    assert {offset for offset in range(floor) if bad[offset]} <= set(told)
    assert sorted(counted) == [(offset, bad[offset]) for offset in range(settled)]


@given(histories())
def test_preview_changes_nothing(history: tuple[list[int], list[int]]) -> None:
    """An aborted transaction leaves the ledger as it was."""
    offsets, finished = history
    ledger = Ledger(1, None)
    for offset in offsets:
        ledger.read(offset)
    before = ledger.preview()
    ledger.preview(set(finished))
    assert ledger.preview() == before == (offsets[0], "")


@given(st.integers(0, 2**50), st.sets(st.integers(1, 5_000), max_size=300))
def test_encoding_round_trip(base: int, above: set[int]) -> None:
    """What is encoded is what is decoded, and it fits into a commit's metadata."""
    runs = Runs()
    for step in above:
        runs.add(base + step)
    text = encode_finished(base, runs)
    assert len(text) <= MAX_METADATA_BYTES
    assert list(decode_finished(base, text)) == list(runs)


def test_a_record_read_twice_is_skipped() -> None:
    """A partition that is polled again from its committed offset does not give a second outcome."""
    ledger = Ledger(1, 5)
    assert ledger.read(5)
    assert not ledger.read(5)
    assert ledger.unfinished == 1


def test_metadata_of_another_program_is_passed_over() -> None:
    """A group that some other consumer committed for starts at its offset."""
    assert list(decode_finished(3, "hello")) == []


def test_broken_metadata_stops_the_worker() -> None:
    """Guessing would repeat or skip records."""
    with pytest.raises(Fatal, match="committed metadata at offset 7 cannot be read"):
        Ledger(1, 7, "a1:not base85 {{")


def test_a_wide_span_is_noticed_long_before_it_cannot_be_encoded() -> None:
    """Reading pauses while the metadata still fits."""
    ledger = Ledger(1, 0)
    rng = random.Random(7)
    offset = 0
    while not ledger.too_wide:
        offset += 1
        ledger.read(offset)
        if offset > 1 and rng.random() < 0.5:
            ledger.finish((offset,))
    committed = ledger.preview()
    assert committed is not None
    assert MAX_METADATA_BYTES // 2 < len(committed[1]) < MAX_METADATA_BYTES


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_the_oldest_time_is_that_of_what_is_not_committed(times: list[int], rng: random.Random) -> None:
    """Context is kept for an anchor until its outcome is committed, not until it is on the model."""
    ledger = Ledger(1, 0)
    for offset, time_us in enumerate(times):
        ledger.read(offset)
        ledger.timed(offset, time_us)
    left = dict(enumerate(times))
    for offset in rng.sample(sorted(left), len(left)):
        assert ledger.oldest_us() == min(left.values())
        ledger.finish((offset,))
        del left[offset]
    assert ledger.oldest_us() is None


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=60))
def test_runs_are_the_set_that_they_stand_for(steps: list[tuple[int, bool]]) -> None:
    """Sorted, disjoint and as few as can be, whatever is added or dropped."""
    runs, kept = Runs(), set[int]()
    for number, adds in steps:
        if adds:
            runs.add(number)
            kept.add(number)
        else:
            runs.drop_below(number)
            kept = {one for one in kept if one >= number}
        assert [number for start, end in runs for number in range(start, end)] == sorted(kept)
        assert all(start > end for (_, end), (start, _) in itertools.pairwise(runs))
        assert all((n in runs) == (n in kept) for n in range(31))


class Plain:
    """The ledger as sets: what it says is right, what it costs is not."""

    def __init__(self, committed: int, finished: Iterable[int] = ()) -> None:
        self.next, self.unfinished, self.finished = committed, list[int](), set(finished)

    def read(self, offset: int) -> bool:
        """See Ledger.read."""
        if offset < self.next:
            return False
        self.next = offset + 1
        if offset not in self.finished:
            self.unfinished.append(offset)
        return offset not in self.finished

    def finish(self, offsets: Iterable[int]) -> None:
        """See Ledger.finish."""
        self.finished |= {offset for offset in offsets if offset in self.unfinished}
        self.unfinished = [offset for offset in self.unfinished if offset not in self.finished]

    def preview(self, offsets: Iterable[int]) -> tuple[int, list[int]]:
        """The floor, and what is finished from there on."""
        done = self.finished | set(offsets)
        floor = next((offset for offset in self.unfinished if offset not in done), self.next)
        return floor, sorted(offset for offset in done if offset >= floor)


@given(st.integers(0, 2**32))
def test_the_ledger_says_what_plain_sets_say(seed: int) -> None:
    """In any order of reading, finishing, previewing and changing hands, gaps and repeats among them."""
    rng = random.Random(seed)
    ledger, plain, offset = Ledger(1, 0), Plain(0), 0
    for _ in range(80):
        chance = rng.random()
        if chance < 0.5:
            offset = max(0, offset + rng.choice((-1, 0, 1, 1, 1, 2)))
            assert ledger.read(offset) == plain.read(offset)
        else:
            some = set(rng.sample(plain.unfinished, rng.randint(0, len(plain.unfinished))))
            floor, beyond = plain.preview(some)
            position = ledger.preview(some)
            assert position is not None
            assert position[0] == floor == ledger.floor(some)
            told = [one for start, end in decode_finished(floor, position[1]) for one in range(start, end)]
            assert told == beyond
            if chance < 0.9:
                ledger.finish(some)
                plain.finish(some)
            else:
                ledger, plain, offset = Ledger(2, *position), Plain(floor, beyond), floor
        assert ledger.unfinished == len(plain.unfinished)
        assert ledger.floor() == plain.preview(())[0]


def test_what_is_held_costs_those_behind_it_nothing() -> None:
    """100,000 records behind one that is held are one run: each is finished by a look at its neighbour."""
    ledger = Ledger(1, 0)
    for offset in range(100_000):
        ledger.read(offset)
    for offset in range(1, 100_000):
        ledger.finish((offset,))
    assert list(ledger._finished) == [(1, 100_000)]
    ledger.finish((0,))
    assert ledger.preview() == (100_000, "")
    assert list(ledger._finished) == []


@given(st.lists(st.tuples(st.integers(1, 2**55), st.integers(1, 2**55)), min_size=1, max_size=_NEVER_WIDE_RUNS))
def test_a_few_runs_are_never_wide(runs: list[tuple[int, int]]) -> None:
    """So nothing is encoded to find that out, however far apart they lie and however long they are."""
    position, found = 0, list[tuple[int, int]]()
    for gap, length in runs:
        found.append((position + gap, position + gap + length))
        position += gap + length
    assert len(encode_finished(0, found)) <= MAX_METADATA_BYTES // 2
