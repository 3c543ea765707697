"""Three brokers: the one that leads the input and coordinates group and transactions is killed, and comes back."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import KafkaAdminClient

from tests.chaos.checker import content, findings, undisturbed
from tests.chaos.ground import QUICK, Ground, jars
from tests.chaos.storm import Storm, backlog, settings
from tests.town import town
from worker.demo.kafka import EmbeddedKafka
from worker.demo.processes import free_port

BROKERS = 3
IN_SYNC_SECONDS = 90.0


@dataclass
class Cluster:
    """What a town stands on: three brokers, and the ground's Valkey and nursery."""

    brokers: list[EmbeddedKafka]
    ground: Ground
    replication: int = BROKERS
    nursery: Any = field(init=False)

    def __post_init__(self) -> None:
        self._turns = itertools.cycle(self.brokers)
        self.nursery = self.ground.nursery

    @property
    def bootstrap_servers(self) -> str:
        """All addresses."""
        return ",".join(broker.address for broker in self.brokers)

    @property
    def kafka(self) -> EmbeddedKafka:
        """The next broker to be struck, once all have caught up: nobody promises to bear the loss of two."""
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        deadline = time.monotonic() + IN_SYNC_SECONDS
        while not all(
            len(place["isr_nodes"]) == BROKERS for topic in admin.describe_topics() for place in topic["partitions"]
        ):
            assert time.monotonic() < deadline, "the brokers do not come back into sync"
        admin.close()
        return next(self._turns)

    @property
    def redis_url(self) -> str:
        """The ground's."""
        return self.ground.redis_url


@pytest.fixture
def cluster(ground: Ground, tmp_path: Path) -> Iterator[Cluster]:
    """Three brokers, each a controller as well, everything kept three times."""
    ports = [(free_port(), free_port()) for _ in range(BROKERS)]
    voters = ",".join(f"{n + 1}@127.0.0.1:{controller}" for n, (_, controller) in enumerate(ports))
    brokers: list[EmbeddedKafka] = []
    for number, (port, controller) in enumerate(ports):
        folder = tmp_path / f"broker-{number}"
        folder.mkdir()
        properties = {
            **QUICK, "node.id": str(number + 1), "controller.quorum.voters": voters,
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "offsets.topic.replication.factor": "3", "transaction.state.log.replication.factor": "3",
            "transaction.state.log.min.isr": "2", "min.insync.replicas": "2", "broker.session.timeout.ms": "3000",
        }  # fmt: skip
        brokers.append(EmbeddedKafka(jars(), folder, properties, port, wait=False))
    for broker in brokers:
        broker.wait()
    yield Cluster(brokers, ground)
    for broker in brokers:
        broker.kill()


def leader(cluster: Cluster, topic: str) -> EmbeddedKafka:
    """The broker that leads this topic's first partition."""
    admin = KafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers)
    (told,) = admin.describe_topics([topic])
    admin.close()
    node = next(p["leader_id"] for p in told["partitions"] if p["partition_index"] == 0)
    return cluster.brokers[node - 1]


@pytest.mark.long
def test_the_leader_and_coordinator_is_killed_and_comes_back(cluster: Cluster, tmp_path: Path) -> None:
    """Another leads, another coordinates; each anchor has its one right result, in order."""
    events = backlog(41, 400)
    with town(cluster, tmp_path, **settings(cluster)) as made:  # type: ignore[arg-type]
        made.start(2)
        third = len(events) // 3
        made.feed(events[:third])
        made.read_until(lambda: len(made.results) >= 60)
        for topic, part in (("__consumer_offsets", 1), ("__transaction_state", 2)):
            struck = leader(cluster, topic)
            struck.kill()
            made.feed(events[part * third : (part + 1) * third])
            made.read_until(lambda part=part: len(made.results) >= 60 + 100 * part, 120)
            struck.start()
        made.feed(events[3 * third :])
        made.read_until(lambda: len(made.results) >= 400, 120)
        made.read(1.0)
        assert set(made.stop()) == {0}, made.log()
        found = findings(events, made)
        assert not found, str(found)


@pytest.mark.long
def test_brokers_killed_in_turn_change_nothing_but_time(cluster: Cluster, tmp_path: Path) -> None:
    """SIGKILL to each of them, with transactions under way: each anchor has its one right result, in the calm bytes."""
    events = backlog(6, 800)
    with town(cluster, tmp_path, **settings(cluster)) as made:  # type: ignore[arg-type]
        made.start(3)
        Storm(cluster, made, 6).rage(events, ["kill_broker"] * BROKERS, 120.0)  # type: ignore[arg-type]
        made.read(1.0)
        assert set(made.stop()) == {0}, made.log()
        found = findings(events, made)
        assert not found, str(found)
        assert content(made.raw) == undisturbed(made, 800)
