"""Redis is a cache of Kafka: promoted without its last writes, full, cut off, slow, or a cluster that moves a slot."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.chaos.checker import findings
from tests.chaos.ground import Ground
from tests.chaos.proxy import Proxy
from tests.chaos.storm import backlog, settings
from tests.story import Fed
from tests.town import Town, town
from worker.demo.processes import free_port
from worker.demo.valkey import EmbeddedValkey

ANCHORS = 400


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[EmbeddedValkey, EmbeddedValkey, Proxy]]:
    """A primary, its replica, and the address that clients know."""
    folders = [tmp_path / name for name in ("primary", "replica")]
    for folder in folders:
        folder.mkdir()
    primary, replica = (EmbeddedValkey(folder) for folder in folders)
    redis.Redis.from_url(replica.url).replicaof("127.0.0.1", primary.port)
    proxy = Proxy(primary.port)
    yield primary, replica, proxy
    proxy.close()
    for server in (primary, replica):
        server.stop()


def halves(made: Town, events: list[Fed]) -> tuple[list[Fed], list[Fed]]:
    """Feeds the first half and waits for most of its results."""
    middle = len(events) // 2
    made.feed(events[:middle])
    fed = sum(event.stream == "texts" for event in events[:middle])
    made.read_until(lambda: len(made.results) >= fed - 100)
    return events[:middle], events[middle:]


def whole(made: Town, events: list[Fed]) -> None:
    """Everything has its right outcome."""
    made.read_until(lambda: len(made.results) >= sum(event.stream == "texts" for event in events))
    made.read(0.5)
    assert set(made.stop()) == {0}, made.log()
    found = findings(events, made)
    assert not found, str(found)


def test_a_replica_that_lacks_the_last_writes_is_promoted(
    ground: Ground, tmp_path: Path, pair: tuple[EmbeddedValkey, EmbeddedValkey, Proxy]
) -> None:
    """It still has the epoch's value, so only its identity tells; context is read again, nothing is changed."""
    primary, replica, proxy = pair
    events = backlog(21, ANCHORS)
    address = {"url": f"redis://127.0.0.1:{proxy.port}/0", "timeout": "1s"}
    with town(ground, tmp_path, **settings(ground, redis=address)) as made:
        made.start(2)
        _, rest = halves(made, events)
        link = redis.Redis.from_url(replica.url)
        made.read_until(lambda: link.info("replication")["master_link_status"] == "up" and link.dbsize() > 0)
        link.replicaof("NO", "ONE")
        # Frames alone, which only the old primary will ever have heard of.
        frames = [event for event in rest if event.stream == "frames"]
        made.feed(frames[: len(frames) // 2])
        made.read_until(lambda: " 0.0\n" in made.metrics() and _lag(made) == 0)
        primary.kill()
        proxy.target = replica.port
        made.feed([event for event in rest if event.stream == "texts"])
        made.feed(frames[len(frames) // 2 :])
        whole(made, events)


def _lag(made: Town) -> float:
    lines = [line for line in made.metrics().splitlines() if line.startswith("fusion_consumer_lag_records")]
    return sum(float(line.split()[-1]) for line in lines)


def test_a_full_server_slows_down_and_loses_nothing(
    ground: Ground, tmp_path: Path, pair: tuple[EmbeddedValkey, EmbeddedValkey, Proxy]
) -> None:
    """Not ready, with the reason, as long as it is full; then everything goes on."""
    primary, _, proxy = pair
    events = backlog(22, ANCHORS)
    address = {"url": f"redis://127.0.0.1:{proxy.port}/0"}
    with town(ground, tmp_path, **settings(ground, redis=address)) as made:
        made.start(2)
        _, rest = halves(made, events)
        client = redis.Redis.from_url(primary.url)
        client.config_set("maxmemory", "1mb")
        made.feed(rest)
        made.read_until(lambda: any("maxmemory" in said for said in made.ask("readyz").values()))
        client.config_set("maxmemory", "0")
        whole(made, events)


@pytest.mark.long
def test_a_cut_and_slow_network_changes_nothing(
    ground: Ground, tmp_path: Path, pair: tuple[EmbeddedValkey, EmbeddedValkey, Proxy]
) -> None:
    """Connections are reset three times, and every answer takes 50 ms longer."""
    _, _, proxy = pair
    events = backlog(23, ANCHORS)
    address = {"url": f"redis://127.0.0.1:{proxy.port}/0"}
    with town(ground, tmp_path, **settings(ground, redis=address)) as made:
        made.start(2)
        _, rest = halves(made, events)
        proxy.delay_seconds = 0.05
        size = len(rest) // 3 + 1
        for part in range(3):
            proxy.cut()
            made.feed(rest[part * size : (part + 1) * size])
            made.read_until(lambda: any("redis" in said for said in made.ask("readyz").values()))
            proxy.mend()
            made.read_until(lambda: all(said == "ready\n" for said in made.ask("readyz").values()))
        whole(made, events)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[EmbeddedValkey]]:
    """Three primaries of one cluster."""
    nodes: list[EmbeddedValkey] = []
    buses: list[int] = []
    for number in range(3):
        folder = tmp_path / f"node-{number}"
        folder.mkdir()
        buses.append(free_port())
        nodes.append(EmbeddedValkey(folder, ["--cluster-enabled", "yes", "--cluster-port", str(buses[-1])]))
    clients = [redis.Redis.from_url(node.url) for node in nodes]
    for number, client in enumerate(clients):
        client.execute_command("CLUSTER ADDSLOTSRANGE", number * 5461, 16383 if number == 2 else number * 5461 + 5460)
        clients[0].execute_command("CLUSTER MEET", "127.0.0.1", nodes[number].port, buses[number])
    deadline = time.monotonic() + 30
    while not all(client.execute_command("CLUSTER INFO")["cluster_state"] == "ok" for client in clients):
        assert time.monotonic() < deadline, "the cluster did not come up"
        time.sleep(0.05)
    yield nodes
    for node in nodes:
        node.stop()


def move_slot(nodes: list[EmbeddedValkey], name: str) -> int:
    """Moves the slot of this key to another node, key by key, as resharding tools do; how many keys it had."""
    clients = {redis.Redis.from_url(node.url).execute_command("CLUSTER MYID").decode(): node for node in nodes}
    slot = redis.Redis.from_url(nodes[0].url).execute_command("CLUSTER KEYSLOT", name)
    number = next(n for n in range(3) if slot <= (16383 if n == 2 else n * 5461 + 5460))
    source, target = nodes[number], nodes[(number + 1) % 3]
    ids = {node.port: node_id for node_id, node in clients.items()}
    old, new = redis.Redis.from_url(source.url), redis.Redis.from_url(target.url)
    new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source.port])
    old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target.port])
    moved = 0
    while keys := old.execute_command("CLUSTER GETKEYSINSLOT", slot, 10):
        old.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        moved += len(keys)
    for node in (target, source, *nodes):
        redis.Redis.from_url(node.url).execute_command("CLUSTER SETSLOT", slot, "NODE", ids[target.port])
    return moved


def test_a_cluster_moves_a_slot_under_load(ground: Ground, tmp_path: Path, cluster: list[EmbeddedValkey]) -> None:
    """All of an entity's keys share a slot, which goes to another node while its anchors wait and are woken."""
    events = backlog(24, ANCHORS)
    address: dict[str, Any] = {"url": cluster[0].url, "cluster": True}
    with town(ground, tmp_path, **settings(ground, redis=address)) as made:
        made.start(2)
        _, rest = halves(made, events)
        names = [n.decode() for node in cluster for n in redis.Redis.from_url(node.url).scan_iter("*:frames:z")]
        assert len(names) > 10
        size = len(rest) // 4 + 1
        moved = 0
        for part in range(4):
            made.feed(rest[part * size : (part + 1) * size])
            moved += move_slot(cluster, names[part])
        assert moved > 0
        whole(made, events)
