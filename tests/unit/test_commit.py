"""The committer: records and offsets together, once, and only while the lease lasts."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.incoming import FixedClock
from tests.unit.test_batch import Silent
from worker.errors import Retryable, StaleMember, TooLarge, Uncertain
from worker.records import Outcome, Outgoing, Partition, Record
from worker.stages import ledger
from worker.stages.commit import MOST_OUTCOMES, Committer
from worker.stages.guard import DeadLetterGuard
from worker.stages.ledger import Ledger
from worker.stages.pace import Pace

TEXTS = Partition("texts", 0)


class FakeSink:
    """Keeps what was published; fails as told, one error a call."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.unfenced: list[Exception] = []
        self.published: list[tuple[list[Outgoing], dict[Partition, tuple[int, str]]]] = []
        self.hold = threading.Event()
        self.hold.set()
        self.inside = threading.Event()

    def publish(
        self, outgoing: Sequence[Outgoing], offsets: Mapping[Partition, tuple[int, str]], membership: Any
    ) -> None:
        """Publishes or fails."""
        self.inside.set()
        assert self.hold.wait(5)
        if self.errors:
            raise self.errors.pop(0)
        self.published.append((list(outgoing), dict(offsets)))

    def fence(self) -> None:
        """Fails as told."""
        if self.unfenced:
            raise self.unfenced.pop(0)

    def close(self) -> None:
        """Nothing to close."""


def record(offset: int, lease: int = 1) -> Record:
    """An anchor record."""
    return Record("texts", 0, offset, 0, b"k", b"v", (), lease)


def outcome(offset: int, lease: int = 1, value: bytes = b"{}") -> Outcome:
    """A result."""
    return Outcome(record(offset, lease), (Outgoing("fusions", b"k", value, (("ce_id", str(offset).encode()),)),))


def without_values(refused: Outcome, places: Collection[int]) -> Outcome:
    """As a committer's owner may answer what its topic does not take."""
    outgoing = (replace(out, value=None) if n in places else out for n, out in enumerate(refused.outgoing))
    return replace(refused, outgoing=tuple(outgoing))


@pytest.fixture
def make() -> Any:
    """Committers that are closed at the end."""
    made: list[Committer] = []

    def build(
        sink: FakeSink, failed: Callable[[BaseException], None] = lambda error: None, interval_seconds: float = 0.0
    ) -> Committer:
        committer = Committer(
            lambda: sink, lambda: "generation 7", lambda p, note, settled: "c1", lambda o: None, failed, Silent(),
            lambda refused, places, said: without_values(refused, places), DeadLetterGuard(0, 0, FixedClock()),
            Pace(FixedClock().now_us, interval_seconds),
        )  # fmt: skip
        made.append(committer)
        committer.open(TEXTS, Ledger(1, 0), context=False)
        return committer

    yield build
    for committer in made:
        committer.close()


def published(sink: FakeSink) -> list[str]:
    """Ids of everything that was published."""
    return [dict(out.headers)["ce_id"].decode() for batch, _ in sink.published for out in batch]


def test_an_aborted_transaction_is_repeated_whole_and_once(make: Any) -> None:
    """Nothing is lost and nothing is doubled by refusals."""
    sink = FakeSink(Retryable("away"), StaleMember("rebalance"))
    committer = make(sink)
    for offset in range(3):
        assert committer.read([record(offset)])
    committer.finish([outcome(2), outcome(0)])
    assert committer.drain(5)
    assert published(sink) == ["2", "0"]
    assert sink.published[-1][1][TEXTS][0] == 1
    assert committer.unfinished() == 1


def test_what_was_revoked_is_not_published(make: Any) -> None:
    """An outcome whose lease is over belongs to the next owner."""
    sink = FakeSink()
    committer = make(sink)
    committer.read([record(0)])
    committer.forget([TEXTS])
    committer.finish([outcome(0)])
    assert committer.drain(5)
    assert published(sink) == []


def test_a_new_lease_does_not_publish_the_work_of_the_old_one(make: Any) -> None:
    """A partition that left and came back is read again from what was committed."""
    sink = FakeSink()
    committer = make(sink)
    committer.read([record(0)])
    committer.forget([TEXTS])
    committer.open(TEXTS, Ledger(2, 0), context=False)
    assert committer.read([record(0, lease=2)])
    committer.finish([outcome(0, lease=1), outcome(0, lease=2)])
    assert committer.drain(5)
    assert published(sink) == ["0"]


def test_forget_waits_for_the_transaction_under_way(make: Any) -> None:
    """The next owner reads the commits only after ours is visible."""
    sink = FakeSink()
    sink.hold.clear()
    committer = make(sink)
    committer.read([record(0)])
    committer.finish([outcome(0)])
    assert sink.inside.wait(5)
    forgotten = threading.Thread(target=committer.forget, args=([TEXTS],))
    forgotten.start()
    forgotten.join(0.05)
    assert forgotten.is_alive()
    sink.hold.set()
    forgotten.join(5)
    assert published(sink) == ["0"]


def test_nothing_follows_an_uncertain_transaction(make: Any) -> None:
    """The commits are read again only once it can commit no more; until then nobody knows what is finished."""
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    sink = FakeSink(Uncertain("no answer"))
    sink.unfenced = [Uncertain("still no answer"), Retryable("Redis is away")]
    committer = make(sink, lambda error: heard.put((error, list(sink.unfenced))))
    committer.read([record(0)])
    committer.finish([outcome(0)])
    error, still_to_fail = heard.get(timeout=5)
    assert str(error) == "no answer"
    assert still_to_fail == []
    committer.drain(0.2)
    assert committer.uncertain
    assert published(sink) == []
    assert heard.empty()


def test_only_the_records_that_are_too_large_are_replaced(make: Any) -> None:
    """By their number in the refused transaction; those beside them, larger or not, and those behind stay."""
    sink = FakeSink(TooLarge("too large", (1, MOST_OUTCOMES - 1)))
    committer = make(sink)
    offsets = range(MOST_OUTCOMES + 2)
    for offset in offsets:
        committer.read([record(offset)])
    committer.finish([outcome(offset, value=b"x" * (offset % 7 + 1)) for offset in offsets])
    assert committer.drain(5)
    emptied = [out for batch, _ in sink.published for out in batch if out.value is None]
    assert [dict(out.headers)["ce_id"] for out in emptied] == [b"1", str(MOST_OUTCOMES - 1).encode()]
    assert published(sink) == [str(offset) for offset in offsets]


@pytest.mark.parametrize("seed", range(8))
def test_finished_offsets_that_do_not_fit_wait_for_those_before_them(
    make: Any, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """However scattered anchors finish, each is committed once, and no commit's metadata is over the limit."""
    monkeypatch.setattr(ledger, "MAX_METADATA_BYTES", 40)
    rng, sink = random.Random(seed), FakeSink()
    committer = make(sink)
    offsets = list(range(2_000))
    for offset in offsets:
        assert committer.read([record(offset)])
    rng.shuffle(offsets)
    for begin in range(0, len(offsets), 300):
        committer.finish([outcome(offset) for offset in offsets[begin : begin + 300]])
    assert committer.drain(20)
    assert sorted(map(int, published(sink))) == sorted(offsets)
    assert max(len(metadata) for _, committed in sink.published for _, metadata in committed.values()) <= 40
    assert sink.published[-1][1][TEXTS] == (2_000, "")


def test_outcomes_of_a_backlog_share_a_transaction(make: Any) -> None:
    """The first begins one at once; those of the interval after it one together, or as soon as they fill it."""
    sink = FakeSink()
    committer = make(sink, interval_seconds=3600.0)
    offsets = range(MOST_OUTCOMES + 2)
    committer.read([record(offset) for offset in offsets])
    committer.finish([outcome(0)])
    until(lambda: published(sink) == ["0"])
    for offset in offsets[1:-1]:
        committer.finish([outcome(offset)])
    until(lambda: published(sink) == [str(offset) for offset in offsets[:-1]])
    assert len(sink.published) == 2
    committer.finish([outcome(offsets[-1])])
    assert committer.drain(5)  # a worker that stops waits for no others
    assert published(sink) == [str(offset) for offset in offsets]


def test_a_live_result_waits_a_tenth_of_its_age_at_most() -> None:
    """So latency at rest is as without an interval; a record without a time has no age, at the end nothing waits."""
    pace, now_ms = Pace(FixedClock().now_us, 0.2), FixedClock().now_us() // 1000
    aged = {at_ms: replace(record(0), timestamp_ms=at_ms) for at_ms in (now_ms - 50, now_ms - 10_000, now_ms + 9, -1)}
    assert {now_ms - at_ms: round(pace.interval(one), 6) for at_ms, one in aged.items() if at_ms >= 0} == {
        50: 0.005, 10_000: 0.2, -9: 0.0,
    }  # fmt: skip
    assert pace.interval(aged[-1]) == 0.2
    pace.stop()
    assert pace.interval(aged[-1]) == 0.0


def until(done: Callable[[], bool]) -> None:
    """Waits for the committer's thread."""
    deadline = time.monotonic() + 5
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.002)
