"""A real Kafka and a real Redis or Valkey: given addresses, else containers, else child processes."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from worker.demo.containers import containers, engine_answers
from worker.demo.kafka import EmbeddedKafka, fetch_jars
from worker.demo.valkey import EmbeddedValkey
from worker.errors import ConfigError

KAFKA_VARIABLE = "FUSION_TEST_KAFKA"
REDIS_VARIABLE = "FUSION_TEST_REDIS"


@dataclass(frozen=True, slots=True)
class Stack:
    """Addresses of the servers.

    Attributes:
        kind: given, containers or embedded.
        kafka: the broker's handle where it is embedded, to stop, kill and start it; else None.
        redis: likewise.
    """

    bootstrap_servers: str
    redis_url: str
    kind: str
    kafka: EmbeddedKafka | None = None
    redis: EmbeddedValkey | None = None


@contextlib.contextmanager
def open_stack(cache: Path, say: Callable[[str], None]) -> Iterator[Stack]:
    """Yields running servers and ends those that it started.

    Raises:
        ConfigError: nothing can be started here; one line that says what is missing.
        Unreachable: a server did not start.
    """
    kafka, redis = os.environ.get(KAFKA_VARIABLE), os.environ.get(REDIS_VARIABLE)
    if bool(kafka) != bool(redis):
        raise ConfigError(f"give both {KAFKA_VARIABLE} and {REDIS_VARIABLE}, or neither")
    if kafka and redis:
        yield Stack(kafka, redis, "given")
    elif engine_answers():
        say("starting Kafka and Valkey in containers")
        with containers() as (bootstrap_servers, redis_url):
            yield Stack(bootstrap_servers, redis_url, "containers")
    else:
        with embedded(cache, say) as stack:
            yield stack


@contextlib.contextmanager
def embedded(cache: Path, say: Callable[[str], None], properties: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """Yields servers that are child processes, whatever else there is; `properties` are the broker's.

    Raises:
        ConfigError: Java or Maven is missing.
        Unreachable: a server did not start.
    """
    jars = fetch_jars(cache, say)
    say("starting Apache Kafka and Valkey")
    with tempfile.TemporaryDirectory(prefix="fusion-stack-") as folder, contextlib.ExitStack() as closing:
        broker = EmbeddedKafka(jars, Path(folder), properties)
        closing.callback(broker.stop)
        server = EmbeddedValkey(Path(folder))
        closing.callback(server.stop)
        yield Stack(broker.address, server.url, "embedded", broker, server)
