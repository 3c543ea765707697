"""Servers that a test may stop, kill and empty: its own Kafka and Valkey, and a nursery for the workers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.nursery import Nursery, nursery
from tests.chaos.proxy import Proxy
from worker.demo.kafka import EmbeddedKafka, fetch_jars
from worker.demo.processes import free_port
from worker.demo.valkey import EmbeddedValkey

ROOT = Path(__file__).parents[2]
# The broker's own least session is 6 s: 200 kills would wait for 20 minutes. It also looks for transactions that have
# outlived their timeout every 10 s only.
QUICK = {
    "group.min.session.timeout.ms": "500",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    "transaction.max.timeout.ms": "60000",
}


@dataclass(frozen=True)
class Ground:
    """What a test stands on."""

    kafka: EmbeddedKafka
    valkey: EmbeddedValkey
    nursery: Nursery
    road: Proxy  # to the same Kafka, which sends clients that come by it back to it
    folder: Path  # where the servers' files lie
    fetcher: str = "both"  # by which the workers read

    @property
    def bootstrap_servers(self) -> str:
        """Address of Kafka."""
        return self.kafka.address

    @property
    def redis_url(self) -> str:
        """Address of Valkey."""
        return self.valkey.url


def jars() -> Path:
    """Kafka's jars, fetched once."""
    return fetch_jars(Path(os.environ.get("FUSION_CACHE", ROOT / ".cache")), print)


def _by(road: Proxy, port: int) -> dict[str, str]:
    """A second listener at the end of the road, for those that come by it."""
    controller, here = free_port(), "127.0.0.1"
    return {
        "listeners": f"PLAINTEXT://{here}:{port},ROAD://{here}:{road.target},CONTROLLER://{here}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{here}:{port},ROAD://{here}:{road.port}",
        "controller.quorum.voters": f"1@{here}:{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,ROAD:PLAINTEXT,CONTROLLER:PLAINTEXT",
    }


@contextlib.contextmanager
def ground(folder: Path, fetcher: str = "both") -> Iterator[Ground]:
    """Starts all, and ends all."""
    with contextlib.ExitStack() as closing:
        port = free_port()
        road = Proxy(free_port(), parses=True)
        closing.callback(road.close)
        kafka = EmbeddedKafka(jars(), folder, {**QUICK, **_by(road, port)}, port)
        closing.callback(kafka.stop)
        valkey = EmbeddedValkey(folder)
        closing.callback(valkey.stop)
        yield Ground(kafka, valkey, closing.enter_context(nursery(folder)), road, folder, fetcher)
