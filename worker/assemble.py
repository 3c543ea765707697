"""The only place where parts are made and joined: consume, validate, align, batch, fuse, publish, commit."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from worker import from_settings as made
from worker.broker.admin import ensure_reachable
from worker.broker.bodies import BodyReader
from worker.broker.fetchers import Chosen, choose
from worker.broker.options import connection_options, member_options
from worker.broker.rights import ensure_rights
from worker.broker.sink import PlainSink, TransactionalSink
from worker.broker.slots import SlotSink
from worker.broker.source import KafkaSource
from worker.config import Settings
from worker.durations import micros
from worker.errors import Retryable, Unreachable
from worker.model.drift import watch
from worker.model.folder import ensure_servable
from worker.ops import memory
from worker.ops.clock import SystemClock
from worker.ops.health import Health, stall_seconds
from worker.ops.http import OpsServer
from worker.ops.logs import configure, get_logger
from worker.ops.metrics import PrometheusObserver
from worker.ops.watchdog import Watchdog, end_now
from worker.pipeline.anchors import Anchors
from worker.pipeline.budget import Bounds, Budget
from worker.pipeline.contexts import Contexts
from worker.pipeline.leaving import Leaving
from worker.pipeline.loop import Pipeline
from worker.pipeline.outcomes import Outcomes
from worker.pipeline.ring import Ring
from worker.records import Aligned, Candidate, Event, MatchRule, Partition, Record
from worker.stages.batch import Batcher
from worker.stages.commit import Committer
from worker.stages.guard import DeadLetterGuard
from worker.stages.pace import Pace
from worker.store.codec import INLINE_BYTES
from worker.store.context_store import RedisContextStore

if TYPE_CHECKING:
    from worker.model.runtime import ModelRuntime

# Batches prepared ahead of each of the model's lanes: enough that it never waits for a JPEG, few enough to bound their
# memory.
BATCHES_AHEAD = 2
Reached = TypeVar("Reached")
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run(settings: Settings) -> int:
    """Runs one worker until SIGTERM or SIGINT; 0 when it drained."""
    memory.keep_pages()
    configure(settings.log.format, settings.log.level)
    log = get_logger()
    for number in _STOP_SIGNALS:
        signal.signal(number, _leave_start)
    watchdog = Watchdog(_STOP_SIGNALS, settings.delivery.drain_timeout.total_seconds(), log)
    health = Health(stall_seconds(settings.kafka.max_poll_interval, settings.delivery.commit_timeout))
    health.block("starting", "the worker is starting")
    observer = PrometheusObserver()
    server = OpsServer(settings.http.host, settings.http.port, observer.registry, health)
    server.start()
    log.info("listening", host=settings.http.host, port=server.port)
    if settings.privacy.enabled:
        log.info("personal data is masked", model_sees=made.seen_by_model(settings))
    try:
        with worker(made.unhurried(settings), observer, health, log) as pipeline:
            watchdog.left = pipeline.budget.left
            memory.settle()
            for number in _STOP_SIGNALS:
                signal.signal(number, lambda *_: pipeline.stop())
            drained = watchdog.closes_after(pipeline.run)
    finally:
        server.stop()
        memory.unsettle()
    return 0 if drained else end_now(1)


def _leave_start(*_: object) -> None:
    """A signal while the worker still starts: nothing was read, so nothing is left to drain."""
    raise SystemExit(0)


@contextlib.contextmanager
def worker(settings: Settings, observer: PrometheusObserver, health: Health, log: Any) -> Iterator[Pipeline]:
    """A pipeline joined to real servers; closed in the reverse order of the trip.

    Raises:
        Unreachable: Kafka or Redis did not answer within `kafka.startup_timeout`.
        ConfigError: a topic is missing, or the model cannot be loaded.
    """
    ensure_servable(settings.model.path)
    fetcher, connection = _fetcher(settings), connection_options(settings.kafka.model_dump())
    _check_kafka(settings, connection)
    rules, clock = made.rules_of(settings), SystemClock()
    validator, sheds = made.validator_of(settings, clock, made.masker_of(settings)), _shedder(settings, clock)
    with contextlib.ExitStack() as closing:
        store = store_of(settings, rules, observer)
        closing.callback(store.close)
        model = model_of(settings)
        made.tell_settings(settings, observer, model.labels)
        observer.gauge("model_info", 1, **model.info)
        errors: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
        source = _source(settings, connection, fetcher, lambda partitions: committer.forget(partitions))
        closing.callback(source.close)
        sink = _sink(settings, connection, store, source, errors.put)
        closing.callback(sink.close)
        committer = Committer(
            lambda: sink, lambda: source.membership, lambda partition, *told: contexts.describe(partition, *told),
            lambda done: outcomes.committed(done), errors.put, observer, lambda *refused: outcomes.smaller(*refused),
            DeadLetterGuard(settings.limits.dead_letters_in_a_row, settings.limits.dead_letter_ratio, clock),
            Pace(clock.now_us, settings.delivery.commit_interval.total_seconds()),
        )  # fmt: skip
        closing.callback(committer.close)
        anchor_topic = settings.streams[settings.anchor].topic
        named = {stream.topic: name for name, stream in settings.contexts.items()}
        reader = BodyReader(connection, log, errors.put)
        closing.callback(reader.close)
        ring = Ring(int(settings.limits.body_cache_bytes), reader, observer, INLINE_BYTES, validator.masked)
        contexts = Contexts(store, source, ring, rules, named, anchor_topic, observer, health, log)
        outcomes = _outcomes(settings, committer, model, observer, clock)
        batcher = _batcher(settings, model, store, outcomes, errors.put, observer)
        closing.callback(batcher.close)
        leaving = Leaving(store, contexts.epochs, ring, batcher, rules, validator, sheds, observer, log)
        anchors = Anchors(store, contexts.epochs, contexts.progress, leaving, rules, observer, log)
        budget = _budget(settings, model.lanes, anchors, batcher, committer, contexts, ring, observer)
        yield Pipeline(
            source, validator, contexts, anchors, outcomes, batcher, committer, errors, budget, anchor_topic, observer,
            health, log, made.side_by_side(settings),
        )  # fmt: skip


def _shedder(settings: Settings, clock: SystemClock) -> Callable[[Record], bool] | None:
    oldest_us = micros(settings.limits.max_age)
    if settings.limits.shed == "none":
        return None
    return lambda record: record.timestamp_ms >= 0 and clock.now_us() - record.timestamp_ms * 1000 > oldest_us


def _outcomes(
    settings: Settings, committer: Committer, model: ModelRuntime, observer: Any, clock: SystemClock
) -> Outcomes:  # fmt: skip
    streams = {stream.topic: name for name, stream in settings.streams.items()}
    anchor_topic = settings.streams[settings.anchor].topic
    writer, reviewer = made.writer_of(settings, model.info), made.reviewer_of(settings)
    return Outcomes(committer, writer, streams, anchor_topic, observer, clock, reviewer)


def _batcher(
    settings: Settings, model: ModelRuntime, store: RedisContextStore, outcomes: Outcomes, failed: Any, observer: Any
) -> Batcher:
    watch(model.drift, observer, get_logger())
    return Batcher(
        model,
        lambda aligned, event: _claim(store, aligned, event),
        outcomes.fused,
        failed,
        observer,
        max_batch=settings.model.max_batch,
        max_delay_seconds=settings.model.max_delay.total_seconds(),
        threads=settings.model.decode_threads,
        required=[name for name, stream in settings.contexts.items() if stream.required],
    )


def model_of(settings: Settings) -> ModelRuntime:
    """The model, loaded.

    Raises:
        ConfigError: `model.path` or `model.device` does not fit.
    """
    from worker.model.runtime import ModelRuntime

    return ModelRuntime(
        path=settings.model.path,
        device=settings.model.device,
        precision=settings.model.precision,
        anchor=settings.anchor,
        modalities={name: stream.modality for name, stream in settings.streams.items()},
        inputs=settings.model.inputs,
        embedding=settings.output.embedding,
        evidence=settings.output.evidence,
    )


def store_of(settings: Settings, rules: Mapping[str, MatchRule], observer: Any) -> RedisContextStore:
    """The context store, reached.

    Raises:
        Unreachable: Redis did not answer within `kafka.startup_timeout`, or refused the password.
        ConfigError: it evicts.
    """
    bounds = {n: (s.max_events_per_key, int(s.max_bytes_per_key)) for n, s in settings.contexts.items()}
    store = _reached(
        settings, "redis.url",
        lambda: RedisContextStore.connect(
            settings.redis.model_dump(), settings.kafka.group_id, _worker_id(), rules, bounds, observer
        ),
    )  # fmt: skip
    if unsure := _reached(settings, "redis.url", store.refuse_eviction):
        get_logger().warning("eviction", reason=unsure)
    return store


def _reached(settings: Settings, key: str, connect: Callable[[], Reached]) -> Reached:
    """What `connect` gives, as soon as its server answers; `key` names the address in the configuration."""
    deadline = time.monotonic() + settings.kafka.startup_timeout.total_seconds()
    while True:
        try:
            return connect()
        except Retryable as error:
            if time.monotonic() > deadline:
                said = str(error).rstrip(".")
                raise Unreachable(f"{key}: {said}; is the server up and the address right?") from error
            time.sleep(0.2)


def _worker_id() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _check_kafka(settings: Settings, connection: Mapping[str, Any]) -> None:
    ensure_reachable(connection, settings.kafka.startup_timeout.total_seconds())
    _reached(settings, "kafka.bootstrap_servers", lambda: ensure_rights(connection, made.needs_of(settings)))


def _source(
    settings: Settings,
    connection: Mapping[str, Any],
    fetcher: Chosen,
    on_revoked: Callable[[frozenset[Partition]], None],
) -> KafkaSource:
    options, topics = member_options(settings.kafka.model_dump()), settings.topics
    return _reached(
        settings, "kafka.bootstrap_servers", lambda: KafkaSource(connection, options, topics, on_revoked, fetcher.make)
    )


def _fetcher(settings: Settings) -> Chosen:
    chosen = choose(settings.kafka.model_dump())
    get_logger().info("records are read", by=chosen.told, **({"reason": chosen.instead} if chosen.instead else {}))
    return chosen


def _sink(
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


def _claim(store: RedisContextStore, aligned: Aligned, event: Event) -> bool:
    return store.claim(event.stream, event.key, Candidate(event.time_us, event.id), aligned.anchor.record.place)


def _budget(
    settings: Settings,
    lanes: int,
    anchors: Anchors,
    batcher: Batcher,
    committer: Committer,
    contexts: Contexts,
    ring: Ring,
    observer: Any,
) -> Budget:
    bounds = Bounds(
        settings.limits.max_pending_anchors,
        int(settings.limits.max_pending_bytes),
        (1 + BATCHES_AHEAD) * lanes * settings.model.max_batch,
        settings.delivery.drain_timeout.total_seconds(),
    )
    anchor_topic = settings.streams[settings.anchor].topic
    return Budget(bounds, anchors, batcher, committer, contexts, ring, anchor_topic, observer)
