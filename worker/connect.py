"""Settings -> the servers of a worker: Kafka's topics, its group, the producers, Redis, the collector of spans."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from worker.broker.admin import ensure_reachable, missing_topics
from worker.broker.fetchers import Chosen, choose
from worker.broker.options import connection_options, member_options
from worker.broker.rights import ensure_rights
from worker.broker.sink import PlainSink, TransactionalSink
from worker.broker.slots import SlotSink
from worker.broker.source import KafkaSource
from worker.config import Settings
from worker.errors import ConfigError, Retryable, Unreachable
from worker.from_settings import needs_of
from worker.ops.logs import get_logger
from worker.ops.metrics import PrometheusObserver
from worker.ports import UNTRACED, Log, Traces
from worker.records import Aligned, Candidate, Event, MatchRule, Partition
from worker.store.context_store import RedisContextStore

Reached = TypeVar("Reached")


def store_of(settings: Settings, rules: Mapping[str, MatchRule], observer: Any) -> RedisContextStore:
    """The context store, reached.

    Raises:
        Unreachable: Redis did not answer within `kafka.startup_timeout`, or refused the password; or workers of a
            release that keeps its keys otherwise have run all this time.
        ConfigError: it evicts.
    """
    bounds = {n: (s.max_events_per_key, int(s.max_bytes_per_key)) for n, s in settings.contexts.items()}
    store = reached(
        settings, "redis.url",
        lambda: RedisContextStore.connect(
            settings.redis.model_dump(), settings.kafka.group_id, _worker_id(), rules, bounds, observer
        ),
    )  # fmt: skip
    reached(settings, "redis.url", store.hold_form, "end all of them before this release begins (docs/upgrades.md)")
    if unsure := reached(settings, "redis.url", store.refuse_eviction):
        get_logger().warning("eviction", reason=unsure)
    return store


def reached(
    settings: Settings,
    key: str,
    connect: Callable[[], Reached],
    remedy: str = "is the server up and the address right?",
) -> Reached:
    """What `connect` gives, as soon as its server answers; `key` names the address in the configuration.

    Raises:
        Unreachable: it did not answer within `kafka.startup_timeout`.
    """
    deadline = time.monotonic() + settings.kafka.startup_timeout.total_seconds()
    while True:
        try:
            return connect()
        except Retryable as error:
            if time.monotonic() > deadline:
                said = str(error).rstrip(".")
                raise Unreachable(f"{key}: {said}; {remedy}") from error
            time.sleep(0.2)


def _worker_id() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def topics_of(settings: Settings, topics: Sequence[str]) -> Mapping[str, Any]:
    """How Kafka is connected to, once it was reached and has these topics.

    Raises:
        ConfigError: it has not.
        Unreachable: as `reached`.
    """
    connection = connection_options(settings.kafka.model_dump())
    ensure_reachable(connection, settings.kafka.startup_timeout.total_seconds())
    if missing := missing_topics(connection, topics):
        raise ConfigError(f"topics that do not exist: {', '.join(missing)}; `fusion-worker topics` creates them")
    return connection


def check_kafka(settings: Settings, connection: Mapping[str, Any]) -> None:
    ensure_reachable(connection, settings.kafka.startup_timeout.total_seconds())
    reached(settings, "kafka.bootstrap_servers", lambda: ensure_rights(connection, needs_of(settings)))


def source_of(
    settings: Settings,
    connection: Mapping[str, Any],
    fetcher: Chosen,
    on_revoked: Callable[[frozenset[Partition]], None],
) -> KafkaSource:
    options, topics = member_options(settings.kafka.model_dump()), settings.topics
    return reached(
        settings, "kafka.bootstrap_servers", lambda: KafkaSource(connection, options, topics, on_revoked, fetcher.make)
    )


def fetcher_of(settings: Settings) -> Chosen:
    chosen = choose(settings.kafka.model_dump())
    get_logger().info("records are read", by=chosen.told, **({"reason": chosen.instead} if chosen.instead else {}))
    return chosen


def sink_of(
    settings: Settings, connection: Mapping[str, Any], store: RedisContextStore, source: KafkaSource, failed: Any
) -> SlotSink | PlainSink:
    delivery = settings.delivery
    if delivery.guarantee == "at_least_once":
        return PlainSink(connection, source.commit_later)
    return SlotSink(
        store,
        lambda slot: TransactionalSink(
            connection,
            f"{settings.kafka.group_id}-{slot}",
            delivery.transaction_timeout.total_seconds(),
            delivery.commit_timeout.total_seconds(),
        ),
        failed,
    )


def claim(store: RedisContextStore, aligned: Aligned, event: Event) -> bool:
    return store.claim(event.stream, event.key, Candidate(event.time_us, event.id), aligned.anchor.record.place)


@contextlib.contextmanager
def traces_of(settings: Settings, observer: PrometheusObserver, log: Log) -> Iterator[Traces]:
    """What makes spans; the library is imported where any are made.

    Raises:
        ConfigError: it is not installed.
    """
    given = settings.traces
    if given.endpoint is None:
        yield UNTRACED
        return
    exporter = exporter_of(settings)
    from worker.ops.traces import OpenTelemetryTraces

    made = OpenTelemetryTraces(
        exporter,
        observer,
        log,
        ratio=given.ratio,
        service=given.service_name,
        group=settings.kafka.group_id,
        topic=settings.streams[settings.anchor].topic,
    )
    try:
        yield made
    finally:
        made.close()


def exporter_of(settings: Settings) -> Any:
    """What sends spans to `traces.endpoint`.

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """
    try:
        from worker.ops.traces import otlp
    except ModuleNotFoundError as error:
        raise ConfigError('traces.endpoint: needs OpenTelemetry; pip install "fusion-worker[traces]"') from error
    return otlp(str(settings.traces.endpoint), settings.traces.header)
