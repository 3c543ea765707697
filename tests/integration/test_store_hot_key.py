"""20,000 anchors that wait on one key: no call holds the server for all of them, each is woken, and few ask twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.store_fixtures import event, fresh_namespace, redis_store, redis_url, rule
from worker.errors import Retryable
from worker.records import Query
from worker.store.context_store import RedisContextStore
from worker.store.index import MOST_TOLD

__all__ = ["redis_url"]
ANCHORS = 20_000
FRAME_US = 33_000
RULE = rule(before_us=500_000, after_us=500_000, lateness_us=400_000, horizon_us=30_000_000)


class Watched(RedisContextStore):
    """Knows how long the longest answer was."""

    longest = 0

    def _once(self, fill: Any) -> list[Any]:
        answers = super()._once(fill)
        self.longest = max([self.longest, *(len(each) for each in answers if isinstance(each, list))])
        return answers


@pytest.fixture
def store(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisContextStore]:
    """On an empty server."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    monkeypatch.setattr("tests.store_fixtures.RedisContextStore", Watched)
    made = redis_store(redis_url, {"frames": RULE}, namespace=fresh_namespace())
    yield made
    made.close()


def ask(store: RedisContextStore, numbers: list[int]) -> list[int]:
    """Those that are still open."""
    still_open = []
    for begin in range(0, len(numbers), 1_000):
        some = numbers[begin : begin + 1_000]
        found = store.match([Query("frames", "k", 1_000_000 + n, str(n)) for n in some])
        still_open += [n for n, match in zip(some, found, strict=True) if not match.complete]
    return still_open


def test_a_hot_key_holds_nobody_up(store: RedisContextStore) -> None:
    """Without a frame near them they wait until W has passed them by `after`; frames go on all the while."""
    assert len(ask(store, list(range(ANCHORS)))) == ANCHORS
    asked, done = 0, 0
    for frame in range(60):
        time_us = 300_000 + FRAME_US * frame
        if not 480_000 < time_us < 1_540_000:
            store.index([event(time_us, str(frame))])
        while tokens := store.woken():
            asked += len(tokens)
            done += len(tokens) - len(ask(store, [int(token) for token in tokens]))
    assert done == ANCHORS
    assert asked <= 2 * ANCHORS
    assert isinstance(store, Watched)
    assert store.longest <= MOST_TOLD + 2


def test_a_frame_every_step_of_the_way_asks_each_anchor_twice(store: RedisContextStore) -> None:
    """Once when its time is passed, once when nothing can come any more that is nearer."""
    assert len(ask(store, list(range(ANCHORS)))) == ANCHORS
    asked, done = 0, 0
    for frame in range(60):
        store.index([event(300_000 + FRAME_US * frame, str(frame))])
        while tokens := store.woken():
            asked += len(tokens)
            done += len(tokens) - len(ask(store, [int(token) for token in tokens]))
    assert done == ANCHORS
    assert asked <= 2 * ANCHORS


def test_many_frames_at_once_wake_each_waiter_once(store: RedisContextStore) -> None:
    """A poll brings many events of one key, of which each could wake them all."""
    ask(store, list(range(3_000)))
    store.index([event(2_500_000 + n, str(n)) for n in range(100)])
    tokens: list[str] = []
    while more := store.woken():
        tokens += more
    assert sorted(map(int, tokens)) == list(range(3_000))


def test_a_worker_killed_between_two_parts_of_the_waiters(
    store: RedisContextStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were not told keep their notes, and whoever reads the event again tells them."""
    ask(store, list(range(3_000)))
    calls = iter(range(100))
    tell = store._tell

    def killed(pipe: Any, woken: Any) -> None:
        if next(calls) == 2:
            raise Retryable("killed here")
        tell(pipe, woken)

    monkeypatch.setattr(store, "_tell", killed)
    with pytest.raises(Retryable, match="killed here"):
        store.index([event(2_500_000)])
    store.index([event(2_500_000)])
    tokens = set()
    while more := store.woken():
        tokens |= set(map(int, more))
    assert tokens == set(range(3_000))
