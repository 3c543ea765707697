"""No source, partition or clock holds the others up: a worker in memory, turned by hand (CONTRACT 4.5 and 4.8)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.context_store import FakeServer
from tests.fakes.source import FakeSource
from tests.unit.worker_in_memory import FRAMES, RULE, TEXTS, InMemory, found, reading, text, workers
from worker.errors import Retryable
from worker.pipeline import progress
from worker.records import Match, Partition, Query
from worker.stages import frontier, hold

HOUR_US = 3_600_000_000
SECOND_US = 1_000_000


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., InMemory]]:
    """Workers in memory that are closed at the end; partitions' progress is exchanged in every turn."""
    monkeypatch.setattr(progress, "EXCHANGE_EVERY_SECONDS", 0.0)
    with workers() as build:
        yield build


@pytest.mark.parametrize("camera", ["none", "right", "slow"])
@pytest.mark.parametrize("partition", [0, 1])
def test_a_text_source_hours_behind_holds_nobody(make: Callable[..., InMemory], camera: str, partition: int) -> None:
    """Local time stamped as UTC: its anchors come all the time, on a partition of their own or among the others."""
    source = FakeSource({TEXTS: 2, FRAMES: 2})
    worker = make(source)
    for second in range(30):
        source.send(text(second * SECOND_US, key="good"))
        source.send(reading(second * SECOND_US + 1, key="good"))
    sent = _beside(worker, partition, camera, lambda: len(found(worker, "good")) == 30)
    assert found(worker, "good") == list(range(30))
    if camera == "slow":
        assert worker.turn_until(lambda: len(found(worker, "slow")) == sent)
        assert None not in found(worker, "slow")


def test_redis_is_filled_again_beside_a_text_source_hours_behind(
    make: Callable[..., InMemory], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is decided meanwhile, so its anchors are unfinished for as long as that takes."""
    monkeypatch.setattr(hold, "MOST_HELD", 5)
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    source.max_poll_records = 10
    worker = make(source)
    for second in range(20):
        source.send(reading(second * SECOND_US))
    assert worker.turn_until(lambda: source.commits.get(Partition(FRAMES, 0), (0, ""))[0] == 20)
    source.send(text(-3 * HOUR_US, key="slow"))
    worker.turn_until(lambda: len(worker.anchors) == 1)
    worker.server.empty()
    for second in range(20):
        source.send(text(second * SECOND_US, key="k"))
    _beside(worker, 0, "none", lambda: len(found(worker, "k")) == 20)
    assert found(worker, "k") == list(range(20))


def test_what_is_leaving_when_redis_is_lost_is_decided_again(make: Callable[..., InMemory]) -> None:
    """A new owner beside an anchor hours behind: context is read again and held, and counts as filled for all that."""
    source, server = FakeSource({TEXTS: 1, FRAMES: 1}), FakeServer()
    first = make(source, server)
    for second in range(20):
        source.send(reading(second * SECOND_US))
    assert first.turn_until(lambda: source.commits.get(Partition(FRAMES, 0), (0, ""))[0] == 20)
    heir = FakeSource({TEXTS: 1, FRAMES: 1})
    heir.logs, heir.commits = source.logs, source.commits
    heir.send(text(-3 * HOUR_US, key="slow"))
    for second in range(19):
        heir.send(text(second * SECOND_US, key="k"))
    worker = make(heir, server, rule=replace(RULE, max_wait_us=2 * SECOND_US))
    fetch, lost = worker.store.fetch, list[int]()

    def lose_once(wanted: Sequence[Any]) -> list[Any]:
        if wanted and not lost:
            lost.append(len(wanted))
            server.empty()
        return fetch(wanted)

    worker.store.fetch = lose_once  # type: ignore[method-assign]
    assert worker.turn_until(lambda: len(worker.sink.results) == 20, 8.0)
    assert lost == [19]
    assert found(worker, "k") == list(range(19))


def _beside(worker: InMemory, partition: int, camera: str, done: Callable[[], bool]) -> int:
    """Turns until `done` while one source that is behind goes on; how many texts it has sent."""
    deadline, sent = time.monotonic() + 6, 0
    while not done() and time.monotonic() < deadline:
        at_us = sent * SECOND_US // 10 - 3 * HOUR_US
        worker.source.send(text(at_us, key="slow", partition=partition))
        if camera != "none":
            worker.source.send(reading(at_us + (1 if camera == "slow" else 3 * HOUR_US), key="slow", partition=1))
        sent += 1
        worker.turn_until(lambda: False, 0.02)
    return sent


def test_anchors_alone_have_their_verdicts(make: Callable[..., InMemory]) -> None:
    """A configuration without any context stream."""
    source = FakeSource({TEXTS: 2})
    worker = make(source, rule=None)
    for second in range(4):
        source.send(text(second * 1_000_000, partition=second % 2))
    assert worker.turn_until(lambda: len(worker.sink.results) == 4)
    assert all(result["complete"] and not result["missing"] for result in worker.sink.results)
    assert worker.turn_until(lambda: len(source.commits) == 2)


def test_a_backlog_of_both_gives_its_pairs(make: Callable[..., InMemory]) -> None:
    """However old: late is what lies behind the context that was read, not behind the wall."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source)
    source.max_poll_records = 50
    for second in range(600):
        source.send(reading(second * SECOND_US))
    for second in range(600):
        source.send(text(second * SECOND_US))
    assert worker.turn_until(lambda: len(worker.sink.results) == 600, 20.0)
    assert found(worker, "k") == list(range(600))


@pytest.mark.parametrize("partitions", [1, 2])
def test_old_letters_replayed_into_a_live_pool_hold_nobody(make: Callable[..., InMemory], partitions: int) -> None:
    """What they could match is gone; the live ones go on meanwhile."""
    source = FakeSource({TEXTS: partitions, FRAMES: 1})
    worker = make(source)
    for second in range(20):
        source.send(reading(second * SECOND_US))
        source.send(text(second * SECOND_US))
    assert worker.turn_until(lambda: len(worker.sink.results) == 20)
    for second in range(20, 40):
        source.send(reading(second * SECOND_US))
        source.send(text(second * SECOND_US))
    sent, deadline = 0, time.monotonic() + 6
    while len(found(worker, "k")) < 40 and time.monotonic() < deadline:
        for _ in range(20):
            source.send(text(sent - 2 * HOUR_US, key=f"old-{sent}", partition=partitions - 1))
            sent += 1
        worker.turn_until(lambda: False, 0.02)
    assert found(worker, "k") == list(range(40))
    assert worker.turn_until(lambda: len(worker.sink.results) == 40 + sent, 8.0)


def test_a_camera_an_hour_ahead_costs_its_partition_nothing(
    make: Callable[..., InMemory], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a backlog no wall says that its clock is wrong; its events must not make the others wait for it."""
    monkeypatch.setattr(hold, "MOST_HELD", 20)
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source)
    source.max_poll_records = 30
    for second in range(300):
        source.send(reading(second * SECOND_US + HOUR_US, key="ahead"))
        source.send(reading(second * SECOND_US, key="good"))
        source.send(text(second * SECOND_US, key="good"))
    assert worker.turn_until(lambda: len(worker.sink.results) == 300, 10.0)
    assert found(worker, "good") == list(range(1, 600, 2))


def test_a_partition_without_a_leader_ends_waits_after_a_bounded_counted_time(
    make: Callable[..., InMemory], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka tells of the others meanwhile; before that time nothing is decided without it."""
    monkeypatch.setattr(frontier, "ABSENT_AFTER_US", 500_000)
    source = FakeSource({TEXTS: 1, FRAMES: 2})
    worker = make(source)
    ends = source.ends
    monkeypatch.setattr(source, "ends", lambda: {p: e for p, e in ends().items() if p != Partition(FRAMES, 1)})
    source.send(text(0))
    assert not worker.turn_until(lambda: len(worker.sink.results) == 1, 0.4)
    assert worker.turn_until(lambda: len(worker.sink.results) == 1)
    assert worker.counted["bound_hits_total", "absent_partition"] == 1


def test_what_a_worker_that_is_gone_has_told_is_not_believed(make: Callable[..., InMemory]) -> None:
    """It had read its anchors to the end, an hour ago: context must wait until they are read by another."""
    server = FakeServer()
    source = FakeSource({TEXTS: 2, FRAMES: 1})
    first = make(source, server)
    for partition in range(2):
        source.send(text(0, partition=partition, key=f"k{partition}"))
        source.send(reading(0, key=f"k{partition}"))
    assert first.turn_until(lambda: len(first.sink.results) == 2)
    for second in range(1, 300):
        for partition in range(2):
            source.send(text(second * SECOND_US, partition=partition, key=f"k{partition}"))
            source.send(reading(second * SECOND_US, key=f"k{partition}"))
    heir = FakeSource({TEXTS: 2, FRAMES: 1})
    heir.logs, heir.commits = source.logs, source.commits
    heir.withheld = {Partition(TEXTS, 1)}
    second_worker = make(heir, server)
    second_worker.clock_us = lambda: first.clock_us() + HOUR_US
    second_worker.turn_until(lambda: len(found(second_worker, "k0")) == 299, 2.0)
    heir.withheld = set()
    assert second_worker.turn_until(lambda: len(second_worker.sink.results) == 598, 20.0)
    assert found(second_worker, "k1") == list(range(3, 600, 2))


@pytest.mark.parametrize("lost", [False, True])
def test_a_partition_that_cannot_be_opened_stops_nobody(
    make: Callable[..., InMemory], monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """It has no leader, at a start or while Redis is filled again: once it counts as absent the others go on."""
    monkeypatch.setattr(frontier, "ABSENT_AFTER_US", 400_000)
    source = FakeSource({TEXTS: 1, FRAMES: 2})
    worker = make(source)
    ends, first, away = source.ends, source.first_offset, {Partition(FRAMES, 1)}

    def first_offset(partition: Partition) -> int:
        if partition in away:
            raise Retryable("no leader")
        return first(partition)

    if lost:
        away.clear()
        source.send(reading(-1))
        assert worker.turn_until(lambda: source.commits.get(Partition(FRAMES, 0), (0, ""))[0] == 1)
        away.add(Partition(FRAMES, 1))
        worker.server.empty()
    monkeypatch.setattr(source, "ends", lambda: {p: e for p, e in ends().items() if p not in away})
    monkeypatch.setattr(source, "first_offset", first_offset)
    source.send(text(0))
    source.send(reading(0))
    assert worker.turn_until(lambda: len(worker.sink.results) == 1, 5.0)
    assert found(worker, "k") == [1 if lost else 0]
    away.clear()
    source.send(replace(reading(1_000_000), partition=1))
    source.send(text(1_000_000))
    assert worker.turn_until(lambda: len(worker.sink.results) == 2, 5.0)
    assert worker.turn_until(lambda: source.commits.get(Partition(FRAMES, 1), (0, ""))[0] == 1, 5.0)


def test_no_wait_ends_before_new_partitions_could_be_known(
    make: Callable[..., InMemory], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A topic gained one after it was counted last, and what the anchor waits for lies there."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source)
    counted_at = time.monotonic()
    monkeypatch.setattr(source, "counted_at", lambda topic: counted_at)
    source.send(text(0))
    source.send(replace(reading(0), partition=1))
    assert not worker.turn_until(lambda: len(worker.sink.results) == 1, 1.0)
    monkeypatch.undo()
    source.counts[FRAMES] = 2
    assert worker.turn_until(lambda: len(worker.sink.results) == 1)
    assert found(worker, "k") == [0]


def test_a_wait_that_was_being_ended_when_redis_went_away_ends(make: Callable[..., InMemory]) -> None:
    """Its clock has run out, and nothing would start another."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source)
    source.send(reading(0, key="other"))
    source.send(text(0, key="dark"))
    match, woken, away = worker.store.match, worker.store.woken, list[float]()

    def lose(queries: Sequence[Query]) -> list[Match]:
        if not away and any(query.last for query in queries):
            away.append(time.monotonic())
            raise Retryable("gone")
        return match(queries)

    def absent() -> list[str]:
        if away and time.monotonic() - away[0] < 1.5:
            raise Retryable("gone")
        return woken()

    worker.store.match, worker.store.woken = lose, absent  # type: ignore[method-assign]
    assert worker.turn_until(lambda: bool(worker.sink.results), 6.0)
    assert away
