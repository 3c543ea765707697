"""10,000 waiting anchors cost the loop nothing: `woken()` stays one command, and an event wakes its own alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis

from tests.store_fixtures import event, fresh_namespace, redis_store, redis_url, rule
from worker.records import Candidate, Query
from worker.store.context_store import RedisContextStore

__all__ = ["redis_url"]

ANCHORS = 10_000
KEYS = 500


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisContextStore]:
    """A store whose server carries no other load."""
    made = redis_store(redis_url, {"frames": rule()}, namespace=fresh_namespace())
    yield made
    made.close()


def calls(client: redis.Redis) -> dict[str, int]:
    """Commands the server has run so far, by name."""
    stats = client.info("commandstats")
    return {name: each["calls"] for name, each in stats.items() if name != "cmdstat_info"}


def wait_all(store: RedisContextStore) -> None:
    """10,000 anchors ask, on many keys; none is complete."""
    for start in range(0, ANCHORS, 500):
        asked = [Query("frames", f"k{n % KEYS}", 1000 + n // KEYS, str(n)) for n in range(start, start + 500)]
        assert not any(found.complete for found in store.match(asked))


def test_nothing_to_wake_costs_one_command_however_many_wait(redis_url: str, store: RedisContextStore) -> None:
    """A hundred calls of `woken()` are a hundred LPOPs with 10,000 anchors waiting."""
    wait_all(store)
    with redis.Redis.from_url(redis_url) as client:
        before = calls(client)
        for _ in range(100):
            assert store.woken() == []
        after = calls(client)
    assert {name: n - before.get(name, 0) for name, n in after.items() if n != before.get(name)} == {
        "cmdstat_lpop": 100
    }


def test_a_key_costs_one_call_whatever_it_has(redis_url: str) -> None:
    """All its events, all its anchors with all their streams; and one look at the epoch per answer."""
    rules = {name: replace(rule(), stream=name) for name in ("frames", "sensors")}
    store = redis_store(redis_url, rules, namespace=fresh_namespace())
    keys = [f"k{n}" for n in range(4)]
    with redis.Redis.from_url(redis_url) as client:
        before = calls(client)["cmdstat_fcall"]
        store.index([event(1000 + n, key=key) for n in range(50) for key in keys])
        indexed = calls(client)["cmdstat_fcall"]
        asked = [Query(name, key, 1000 + n, f"{key}-{n}") for n in range(20) for key in keys for name in rules]
        found = store.match(asked)
        matched = calls(client)["cmdstat_fcall"]
    assert (indexed - before, matched - indexed) == (4, 4 + 1)
    for query, match in zip(asked, found, strict=True):
        assert match.candidates == ((Candidate(query.time_us, "e"),) if query.stream == "frames" else ())
    store.close()


def test_an_event_wakes_exactly_its_anchors(store: RedisContextStore) -> None:
    """Of 10,000 anchors the 20 of one key are woken, and of those only the ones that its time completes."""
    wait_all(store)
    store.index([event(1009, key="k7")])
    assert sorted(map(int, store.woken())) == [7 + KEYS * n for n in range(10)]
    store.index([event(5000, key="k7"), event(5000, key="k8")])
    rest = [7 + KEYS * n for n in range(10, 20)]
    assert sorted(map(int, store.woken())) == sorted(rest + [8 + KEYS * n for n in range(20)])
    assert store.woken() == []


def test_all_at_once(store: RedisContextStore) -> None:
    """All 10,000 come out of one drain, each once."""
    wait_all(store)
    store.index([event(9000, key=f"k{n}") for n in range(KEYS)])
    assert sorted(map(int, store.woken())) == list(range(ANCHORS))
