"""The loop, turned by hand: what one step leaves behind must not stop the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.fakes.source import FakeSource
from tests.unit.incoming import TIME_US
from tests.unit.worker_in_memory import FRAMES, RULE, TEXTS, InMemory, reading, text, workers
from worker.errors import DeadLetterLimit, Retryable, Uncertain
from worker.pipeline import progress
from worker.records import Partition
from worker.stages import guard


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., InMemory]]:
    """Workers in memory that are closed at the end; partitions' progress is exchanged in every turn."""
    monkeypatch.setattr(progress, "EXCHANGE_EVERY_SECONDS", 0.0)
    with workers() as build:
        yield build


def test_what_was_paused_before_an_uncertain_transaction_is_read_after_it(make: Callable[..., InMemory]) -> None:
    """The client keeps a partition paused when its lease begins again; nobody else would resume it."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source, rule=replace(RULE, max_wait_us=3_600_000_000), max_pending=2)
    source.send(text(0, key="waits"))
    source.send(text(0))
    assert worker.turn_until(lambda: Partition(TEXTS, 0) in source.paused)
    worker.sink.errors = [Uncertain("no answer")]
    source.send(reading(0))
    assert worker.turn_until(lambda: not worker.sink.errors)
    assert worker.turn_until(lambda: len(worker.sink.results) == 1)


def test_few_held_events_do_not_keep_an_anchor_without_a_partner_waiting(make: Callable[..., InMemory]) -> None:
    """A context that is read to its end, but held back by the horizon, cannot hold the anchor that holds it back."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source)
    source.send(text(0, key="dead camera"))
    source.send(reading(60_000_000))
    source.send(text(60_000_000))
    assert worker.turn_until(lambda: len(worker.sink.results) == 2)
    assert [result["missing"] for result in worker.sink.results] == [{"sensors": "never_seen"}, {}]


def test_a_partition_that_all_context_waits_for_is_read_though_too_many_anchors_wait(
    make: Callable[..., InMemory],
) -> None:
    """No context passes the slowest anchor partition: were that one paused too, nothing could ever go on."""
    source = FakeSource({TEXTS: 2, FRAMES: 1})
    worker = make(source, max_pending=4)
    source.max_poll_records = 2
    for minute in range(50, 54):
        source.send(text(minute * 60_000_000, partition=0))
        source.send(reading(minute * 60_000_000))
    for minute in range(4):
        source.send(text(minute * 60_000_000, partition=1, key="old"))
    assert worker.turn_until(lambda: len(worker.sink.results) == 8, 8.0)


@pytest.mark.parametrize("limits", [{"in_a_row": 10}, {"ratio": 0.5}])
def test_a_model_that_refuses_every_anchor_stops_the_worker(
    make: Callable[..., InMemory], monkeypatch: pytest.MonkeyPatch, limits: dict[str, float]
) -> None:
    """Context that is read meanwhile, and anchors that could be read, say nothing about what becomes of anchors."""
    monkeypatch.setattr(guard, "WINDOW_RECORDS", 20)
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source, **limits)
    source.max_poll_records = 2
    for second in range(40):
        source.send(text(second * 1_000_000, value=b"poison"))
        source.send(reading(second * 1_000_000))
    with pytest.raises(DeadLetterLimit, match="dead letters"):
        worker.turn_until(lambda: len(worker.sink.dead) == 40)


def test_an_anchor_that_waits_no_longer_leaves_no_note_in_redis(make: Callable[..., InMemory]) -> None:
    """A camera may be dead for as long as it likes."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source)
    for second in range(3):
        source.send(text(second * 1_000_000))
    assert worker.turn_until(lambda: len(worker.sink.results) == 3)
    assert [entity.waiters for entity in worker.server.entities.values()] == [{}]


def test_a_group_that_begins_at_the_end_loses_nothing_of_what_was_read(make: Callable[..., InMemory]) -> None:
    """Its start is committed before anything is read: the next owner must not begin at an end that has moved on."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    source.reset_to_end = True
    source.send(text(0, key="before the group"))
    killed = make(source, rule=replace(RULE, max_wait_us=3_600_000_000))
    killed.turn_until(lambda: False, 0.05)
    source.send(text(1_000_000))
    assert killed.turn_until(lambda: len(killed.anchors) == 1)
    heir = FakeSource({TEXTS: 1, FRAMES: 1})
    heir.logs, heir.commits, heir.reset_to_end = source.logs, source.commits, True
    worker = make(heir)
    assert worker.turn_until(lambda: len(worker.sink.results) == 1)
    assert [result["key"] for result in worker.sink.results] == ["k"]


def test_no_wait_ends_because_redis_was_away(make: Callable[..., InMemory], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read meanwhile: what came in that time is a backlog, which is read and not timed out."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source, rule=replace(RULE, max_wait_us=1_300_000))
    source.send(text(0))
    worker.turn_until(lambda: False, 0.2)

    def away(*_: object) -> None:
        raise Retryable("Redis is away")

    with monkeypatch.context() as patched:
        for name in ("index", "match", "fetch", "woken", "exchange_flow", "epoch"):
            patched.setattr(worker.store, name, away)
        worker.turn_until(lambda: False, 0.1)
        source.send(reading(0))
        worker.turn_until(lambda: False, 1.3)
    assert worker.turn_until(lambda: len(worker.sink.results) == 1)
    assert worker.sink.results[0]["missing"] == {}


def test_wake_ups_whose_answer_was_lost_are_made_up_for(
    make: Callable[..., InMemory], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis hands a token out once; when the answer does not arrive the anchor asks again by itself."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source, rule=replace(RULE, max_wait_us=3_600_000_000))
    source.send(text(0))
    worker.turn_until(lambda: False, 0.1)
    woken, lost = worker.store.woken, list[str]()

    def lose_the_first() -> list[str]:
        found = woken()
        if found and not lost:
            lost.extend(found)
            raise Retryable("Redis: TimeoutError")
        return found

    monkeypatch.setattr(worker.store, "woken", lose_the_first)
    source.send(reading(0))
    assert worker.turn_until(lambda: len(worker.sink.results) == 1)
    assert lost == [f"{TEXTS}/0/0"]


@pytest.mark.parametrize("ahead_minutes", [50, 70 * 365 * 24 * 60])
def test_a_record_of_the_future_does_not_hide_what_redis_lost(
    make: Callable[..., InMemory], ahead_minutes: int
) -> None:
    """A producer's clock may say anything: how far one goes back in Kafka must not rest on it."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source)
    worker.clock_us = lambda: TIME_US + 1_000_000
    source.send(reading(0))
    source.send(reading(ahead_minutes * 60_000_000, key="fast"))
    assert worker.turn_until(lambda: source.commits.get(Partition(FRAMES, 0), (0, ""))[0] == 2)
    worker.server.empty()
    worker.turn_until(lambda: False, 0.1)
    source.send(text(0))
    source.send(reading(1_000_000))
    assert worker.turn_until(lambda: len(worker.sink.results) == 1)
    assert worker.sink.results[0]["missing"] == {}


def test_an_emptied_redis_gets_held_events_back_whatever_their_records_timestamps(
    make: Callable[..., InMemory],
) -> None:
    """One that a producer sent late, with an old timestamp, lies before what is found by time."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source, rule=replace(RULE, max_wait_us=3_600_000_000))
    at = datetime.fromtimestamp((TIME_US + 40_000_000) / 1e6, UTC).isoformat().replace("+00:00", "Z")
    told = {"ce_specversion": "1.0", "ce_id": "late", "ce_source": "/s", "ce_type": "t", "ce_time": at}
    headers = (*((name, value.encode()) for name, value in told.items()), ("content-type", b"application/json"))
    source.send(text(0))
    source.send(replace(reading(-3_600_000_000), headers=headers))
    source.send(reading(-10_000_000))
    worker.turn_until(lambda: False, 0.3)
    worker.server.empty()
    worker.turn_until(lambda: False, 0.3)
    source.send(text(40_000_000))
    source.send(reading(0))
    assert worker.turn_until(lambda: len(worker.sink.results) == 2)
    assert [result["inputs"]["sensors"]["offset"] for result in worker.sink.results] == [2, 0]


def test_anchors_that_are_decided_leave_while_redis_is_full(
    make: Callable[..., InMemory], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes no more events until old ones may go, which they may once the anchors that want them have left."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source)
    source.send(reading(0))
    assert worker.turn_until(lambda: source.commits.get(Partition(FRAMES, 0), (0, ""))[0] == 1)

    def full(*_: object) -> int:
        raise Retryable("command not allowed when used memory > 'maxmemory'")

    monkeypatch.setattr(worker.store, "index", full)
    source.send(reading(1_000_000))
    worker.turn_until(lambda: False, 0.1)
    source.send(text(0))
    assert worker.turn_until(lambda: len(worker.sink.results) == 1)


def test_a_rebuild_goes_on_under_a_new_owner(make: Callable[..., InMemory]) -> None:
    """Until it is read to where it was when Redis was lost, what was matched before may not be there (CONTRACT 4.7)."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source)
    for at_us in range(3):
        source.send(reading(at_us))
    assert worker.turn_until(lambda: source.commits.get(Partition(FRAMES, 0), (0, ""))[0] == 3)
    worker.server.empty()
    epoch = worker.store.epoch()
    source.commits[Partition(FRAMES, 0)] = 1, f"c2:{epoch}:{TIME_US // 1000}:3:4"
    heir = FakeSource({TEXTS: 1, FRAMES: 1})
    heir.logs, heir.commits = source.logs, source.commits
    second = make(heir)
    second.server = second.store._server = worker.server
    second.turn_until(lambda: False, 0.2)
    assert not second.contexts.epochs.filled()
    assert second.contexts.describe(Partition(FRAMES, 0), epoch, 3).endswith(":3:4")
    heir.send(reading(3))
    assert second.turn_until(second.contexts.epochs.filled)


def held_back(make: Callable[..., InMemory]) -> InMemory:
    """A worker with a held event and, after it, a bad record whose dead letter is out."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source, rule=replace(RULE, max_wait_us=3_600_000_000))
    source.send(text(0))
    source.send(reading(40_000_000))
    source.send(reading(0, value=b"bad"))
    assert worker.turn_until(lambda: len(worker.sink.dead) == 1)
    worker.turn_until(lambda: False, 0.1)
    assert source.commits[Partition(FRAMES, 0)][0] == 0
    return worker


def test_a_new_owner_does_not_repeat_the_dead_letter_of_a_context_record(make: Callable[..., InMemory]) -> None:
    """The committed offset stands at an event that is held back; what is bad beyond it has had its dead letter."""
    killed = held_back(make)
    heir = FakeSource({TEXTS: 1, FRAMES: 1})
    heir.logs, heir.commits = killed.source.logs, killed.source.commits
    heir.send(reading(0, value=b"bad, and new"))
    worker = make(heir)
    worker.server = worker.store._server = killed.server
    assert worker.turn_until(lambda: len(worker.sink.results) == 1)
    assert worker.turn_until(lambda: heir.commits[Partition(FRAMES, 0)][0] == 3)
    assert [letter.value for letter in worker.sink.dead] == [b"bad, and new"]


def test_an_emptied_redis_does_not_repeat_the_dead_letters_of_context_records(make: Callable[..., InMemory]) -> None:
    """Context is read again from one horizon before; its bad records have had their outcome (CONTRACT 4.7)."""
    worker = held_back(make)
    worker.server.empty()
    worker.turn_until(lambda: False, 0.2)
    worker.source.send(reading(0, value=b"bad, and new"))
    worker.source.send(reading(0))
    assert worker.turn_until(lambda: worker.source.commits[Partition(FRAMES, 0)][0] == 4)
    assert [letter.value for letter in worker.sink.dead] == [b"bad", b"bad, and new"]


def test_a_worker_that_drains_hears_of_a_rebalance(make: Callable[..., InMemory]) -> None:
    """The group takes nothing of a member that it has evicted: what that cannot commit is others' by now."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source)
    worker.sink.refuses = True
    source.send(reading(0))
    source.send(text(0))
    assert worker.turn_until(lambda: worker.committer.queued(TEXTS).count == 1)
    source.revoke(Partition(TEXTS, 0), Partition(FRAMES, 0))
    worker.pipeline.stop()
    assert worker.pipeline.run()
    assert worker.sink.results == []


def test_a_sparse_partition_is_read_on_though_one_of_its_own_waits(make: Callable[..., InMemory]) -> None:
    """With lag it tells its last few anchors, finished ones too; no context comes to the one that waits until they are
    behind it."""
    source = FakeSource({TEXTS: 2, FRAMES: 1})
    worker = make(source, max_pending=4)
    source.max_poll_records = 2
    for number in range(30):
        source.send(text(number * 60_000_000, partition=0, key="sparse"))
        source.send(reading(number * 60_000_000, key="sparse"))
        source.send(text(60_000_000 + number, partition=1))
    source.send(reading(60_000_000))
    assert worker.turn_until(lambda: len(worker.sink.results) == 60, 20.0)
