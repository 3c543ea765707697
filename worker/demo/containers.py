"""Kafka and Valkey in containers, where a Docker engine answers."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

KAFKA_IMAGE = "apache/kafka:4.3.1"
VALKEY_IMAGE = "valkey/valkey:9.1"


def engine_answers() -> bool:
    """True when the engine's unix socket takes a connection: 0.1 ms, where asking the client library takes 0.4 s."""
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not address.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(address.removeprefix("unix://")) == 0


@contextlib.contextmanager
def containers() -> Iterator[tuple[str, str]]:
    """Yields (bootstrap servers, redis URL) of two containers; testcontainers removes them, also after a kill."""
    from testcontainers.community.kafka import KafkaContainer
    from testcontainers.community.redis import RedisContainer

    with KafkaContainer(KAFKA_IMAGE).with_kraft() as kafka, RedisContainer(VALKEY_IMAGE) as valkey:
        yield (
            kafka.get_bootstrap_server(),
            f"redis://{valkey.get_container_host_ip()}:{valkey.get_exposed_port(6379)}/0",
        )
