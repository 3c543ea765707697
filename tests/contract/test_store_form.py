"""Workers whose releases keep keys otherwise do not spoil each other's: one form at a time, on a real Valkey."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
import redis

from tests.store_fixtures import event, fresh_namespace, redis_store, redis_url, rule
from worker.errors import Fatal, Retryable
from worker.records import Candidate, Query
from worker.store import form
from worker.store.context_store import RedisContextStore

__all__ = ["redis_url"]
RULES = {"frames": rule()}


@contextmanager
def stores(url: str, namespace: str, *workers: str) -> Iterator[list[RedisContextStore]]:
    """A store for each worker, entered."""
    made = [redis_store(url, RULES, namespace=namespace, worker=name) for name in workers]
    try:
        for one in made:
            one.enter(one.epoch())
        yield made
    finally:
        for one in made:
            one.close()


def test_another_form_waits_until_the_first_is_gone(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of one form share it; of another one none begins while the lease of the first lasts, and then all do."""
    namespace = fresh_namespace()
    with (
        stores(redis_url, namespace, "a", "b", "c") as (one, same, other),
        closing(redis.from_url(redis_url)) as client,
    ):
        one.hold_form()
        same.hold_form()
        monkeypatch.setattr(form, "FORM", "k2")
        with pytest.raises(
            Retryable, match="workers of another release keep this group's keys in form k1, this one in"
        ):
            other.hold_form()
        assert 0 < client.pttl(f"fw:{namespace}:form") <= form.LEASE_MS
        client.delete(f"fw:{namespace}:form")
        other.hold_form()
        monkeypatch.setattr(form, "FORM", "k1")
        with pytest.raises(Retryable, match="in form k2, this one in k1"):
            same.hold_form()


def test_who_runs_keeps_its_form_and_ends_where_it_has_lost_it(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exchange renews the lease; a worker that was not heard of for too long ends rather than spoil what others
    have."""
    namespace = fresh_namespace()
    with stores(redis_url, namespace, "a", "b") as (one, other), closing(redis.from_url(redis_url)) as client:
        name = f"fw:{namespace}:form"
        one.exchange_flow({})
        client.pexpire(name, form.LEASE_MS // 2)
        one.exchange_flow({})
        assert client.pttl(name) <= form.LEASE_MS // 2, "not at each exchange"
        one._held_us -= form.LEASE_MS * 1000 // 5
        one.exchange_flow({})
        assert client.pttl(name) > form.LEASE_MS // 2
        client.pexpire(name, form.LEASE_MS // 2)
        one._held_us += 3_600_000_000
        one.exchange_flow({})
        assert client.pttl(name) > form.LEASE_MS // 2, "the server's clock was set back"
        client.delete(name)
        monkeypatch.setattr(form, "FORM", "k2")
        other.hold_form()
        monkeypatch.setattr(form, "FORM", "k1")
        one._held_us -= form.LEASE_MS * 1000 // 5
        with pytest.raises(Fatal, match=r"in form k2, this one in k1; this worker ends \(docs/upgrades.md\)"):
            one.exchange_flow({})


def test_what_is_kept_of_a_key_is_of_this_form(redis_url: str) -> None:
    """Where this fails, an earlier release would misread what this one keeps: give form.FORM another value, and then
    this digest; CHANGELOG.md says that the update is one with a stop."""
    namespace = fresh_namespace()
    with stores(redis_url, namespace, "w") as (store,), closing(redis.from_url(redis_url)) as client:
        store.enter("0123456789abcdef.0-01234567")
        store.match([Query("frames", "k", 1_000, "texts/0/7", True)])
        store.index([event(900, "small"), event(950, "large", value=bytes(5_000)), event(400, "other", key="o")])
        store.claim("frames", "k", Candidate(900, "small"), "texts/0/7")
        store.match([Query("frames", "k", 5_000, "texts/0/8", False)])
        lines = sorted(
            f"{name.decode().removeprefix(f'fw:{namespace}:')} {kept(client, name)!r}"
            for name in client.scan_iter(f"fw:{namespace}:0123456789abcdef*")
        )
    told = "\n".join(lines)
    assert (form.FORM, hashlib.sha256(told.encode()).hexdigest()[:16]) == ("k1", "a7057b4e3849343e"), told


def kept(client: redis.Redis, name: bytes) -> object:
    """What lies under a key of any kind."""
    kind = client.type(name)
    if kind == b"zset":
        return client.zrange(name, 0, -1, withscores=True)
    return sorted(client.hgetall(name).items()) if kind == b"hash" else client.get(name)
