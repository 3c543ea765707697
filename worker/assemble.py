"""The only place where parts are made and joined: consume, validate, align, batch, fuse, publish, commit."""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from worker import from_settings as made
from worker.broker.bodies import BodyReader
from worker.broker.options import connection_options
from worker.broker.producer import SpareProducer
from worker.config import Settings
from worker.connect import check_kafka, claim, fetcher_of, sink_of, source_of, store_of, traces_of
from worker.errors import ConfigError
from worker.model.drift import watch
from worker.model.folder import ensure_servable, folder_of
from worker.model.models import Models
from worker.model.reload import Reloader, State, state_of
from worker.model.shadow import Shadow
from worker.model.sums import UNLISTED
from worker.ops import memory
from worker.ops.clock import SystemClock
from worker.ops.health import Health, stall_seconds
from worker.ops.logs import configure, get_logger
from worker.ops.metrics import PrometheusObserver
from worker.ops.watchdog import STOP_SIGNALS, Watchdog, end_now, leave_start, on_stop
from worker.pipeline.anchors import Anchors
from worker.pipeline.budget import Bounds, Budget
from worker.pipeline.contexts import Contexts
from worker.pipeline.leaving import Leaving
from worker.pipeline.loop import Pipeline
from worker.pipeline.outcomes import Outcomes
from worker.pipeline.ring import Ring
from worker.ports import Traces
from worker.ruling import rules_beside, tells
from worker.showing import console_of
from worker.stages.batch import Batcher
from worker.stages.commit import Committer
from worker.stages.guard import DeadLetterGuard
from worker.stages.pace import Pace
from worker.store.codec import INLINE_BYTES
from worker.store.context_store import RedisContextStore

if TYPE_CHECKING:
    from worker.model.runtime import ModelRuntime
    from worker.rules.judge import Rules

# Batches prepared ahead of each of the model's lanes: enough that it never waits for a JPEG, few enough to bound their
# memory.
BATCHES_AHEAD = 2


def run(settings: Settings, explain: Sequence[str] = ()) -> NoReturn:
    """Runs one worker until SIGTERM or SIGINT and ends the process, with 0 when it drained. `explain`: what its page
    runs for that."""
    memory.keep_pages()
    configure(settings.log.format, settings.log.level)
    log = get_logger()
    on_stop(leave_start)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # Until there is a model that another could follow.
    watchdog = Watchdog(STOP_SIGNALS, settings.delivery.drain_timeout.total_seconds(), log)
    health = Health(stall_seconds(settings.kafka.max_poll_interval, settings.delivery.commit_timeout))
    health.block("starting", "the worker is starting")
    observer = PrometheusObserver()
    pages, heard = console_of(settings, observer, health, explain)
    try:
        with made.page_of(settings, observer, health, log, pages=pages):
            if settings.privacy.enabled:
                log.info("personal data is masked", model_sees=made.seen_by_model(settings))
            with worker(made.unhurried(settings), observer, health, log, heard) as pipeline:
                watchdog.left = pipeline.budget.left
                memory.settle()
                on_stop(pipeline.stop)
                drained = watchdog.closes_after(pipeline.run)
    finally:
        memory.unsettle()
    end_now(0 if drained else 1)


@contextlib.contextmanager
def worker(
    settings: Settings, observer: PrometheusObserver, health: Health, log: Any, heard: Callable[..., None] | None = None
) -> Iterator[Pipeline]:
    """A pipeline joined to real servers; closed in the reverse order of the trip. `heard`: as Outcomes has it.

    Raises:
        Unreachable: Kafka or Redis did not answer within `kafka.startup_timeout`.
        ConfigError: a topic is missing, or the model cannot be loaded.
    """
    beside = _rules(settings, observer, log)
    fetcher, connection = fetcher_of(settings), connection_options(settings.kafka.model_dump())
    check_kafka(settings, connection)
    rules, clock = made.rules_of(settings), SystemClock()
    validator, sheds = made.validator_of(settings, clock, made.masker_of(settings)), made.sheds_of(settings, clock)
    with contextlib.ExitStack() as closing:
        traces = closing.enter_context(traces_of(settings, observer, log))
        closing.callback((store := store_of(settings, rules, observer)).close)
        model, taken = _models(settings, observer, beside)
        closing.callback(_shadow(settings, connection, model, observer, clock, log))
        errors: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
        source = source_of(settings, connection, fetcher, lambda partitions: committer.forget(partitions))
        closing.callback(source.close)
        closing.callback((sink := sink_of(settings, connection, store, source, errors.put)).close)
        committer = Committer(
            lambda: sink, lambda: source.membership, lambda partition, *told: contexts.describe(partition, *told),
            lambda done: outcomes.committed(done), errors.put, observer, lambda *refused: outcomes.smaller(*refused),
            DeadLetterGuard(settings.limits.dead_letters_in_a_row, settings.limits.dead_letter_ratio, clock),
            Pace(clock.now_us, settings.delivery.commit_interval.total_seconds()), traces,
        )  # fmt: skip
        closing.callback(committer.close)
        anchor_topic = settings.streams[settings.anchor].topic
        named = {stream.topic: name for name, stream in settings.contexts.items()}
        closing.callback((reader := BodyReader(connection, log, errors.put)).close)
        ring = Ring(int(settings.limits.body_cache_bytes), reader, observer, INLINE_BYTES, validator.masked)
        contexts = Contexts(store, source, ring, rules, named, anchor_topic, observer, health, log)
        outcomes = _outcomes(settings, committer, model, observer, clock, heard, beside)
        batcher = _batcher(settings, model, store, outcomes, errors.put, observer, traces)
        closing.callback(batcher.close)
        closing.callback(_reloader(settings, model, taken, observer, log, beside).close)
        leaving = Leaving(store, contexts.epochs, ring, batcher, rules, validator, sheds, observer, log)
        anchors = Anchors(store, contexts.epochs, contexts.progress, leaving, rules, observer, log)
        budget = _budget(settings, model.lanes, anchors, batcher, committer, contexts, ring, observer)
        yield Pipeline(
            source, validator, contexts, anchors, outcomes, batcher, committer, errors, budget, anchor_topic, observer,
            health, log, made.side_by_side(settings),
        )  # fmt: skip


def _rules(settings: Settings, observer: Any, log: Any) -> Rules | None:
    """What needs no server is looked at first: the model's folder, and the rules beside it."""
    ensure_servable(settings.model.path, settings.model.trusted_key)
    return rules_beside(settings, tells(observer, log))


def _models(settings: Settings, observer: Any, beside: Rules | None) -> tuple[Models, State | None]:
    """And the state of the model's folder before it was read."""
    taken = state_of(partial(folder_of, settings.model.path))
    models = Models(_listed(model_of(settings)))
    if beside is not None:
        beside.ensure_told(models.now)
    made.tell_settings(settings, observer, models.now.labels)
    observer.gauge("model_info", 1, **models.info)
    watch(models.now.drift, observer, get_logger())
    return models, taken


def _outcomes(
    settings: Settings, committer: Committer, model: Models, observer: Any, clock: SystemClock,
    heard: Callable[..., None] | None, beside: Rules | None,
) -> Outcomes:  # fmt: skip
    streams = {stream.topic: name for name, stream in settings.streams.items()}
    anchor_topic = settings.streams[settings.anchor].topic
    writer, reviewer = made.writer_of(settings, model.info), made.reviewer_of(settings)
    return Outcomes(committer, writer, streams, anchor_topic, observer, clock, reviewer, heard, beside)


def _batcher(
    settings: Settings, model: Models, store: RedisContextStore, outcomes: Outcomes, failed: Any, observer: Any,
    traces: Traces,
) -> Batcher:  # fmt: skip
    return Batcher(
        model,
        lambda aligned, event: claim(store, aligned, event),
        outcomes.fused,
        failed,
        observer,
        max_batch=settings.model.max_batch,
        max_delay_seconds=settings.model.max_delay.total_seconds(),
        threads=settings.model.decode_threads,
        required=[name for name, stream in settings.contexts.items() if stream.required],
        traces=traces,
    )


def _reloader(
    settings: Settings, models: Models, taken: State | None, observer: Any, log: Any, beside: Rules | None
) -> Reloader:
    """Takes another model over at SIGHUP, or when the folder has one."""
    reloader = Reloader(
        models,
        lambda: _listed(model_of(settings)),
        partial(folder_of, settings.model.path),
        observer,
        log,
        partial(observer.initialise, ()),
        beside.ensure_told if beside is not None else lambda _: None,
        max_batch=settings.model.max_batch,
        taken=taken,
        every_seconds=settings.model.watch.total_seconds(),
        allow_labels=settings.model.allow_labels,
    )
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGHUP, reloader.ask)
    return reloader


def _shadow(
    settings: Settings, connection: Mapping[str, Any], models: Models, observer: Any, clock: SystemClock, log: Any
) -> Callable[[], object]:
    """Asks another model beside the one that serves, where one is set; gives what ends that."""
    if settings.model.shadow is None:
        return lambda: None
    topic, producer = settings.model.shadow_topic, SpareProducer(connection)
    writer = made.writer_of(settings, models.info)

    def differ(*said: Any) -> None:
        if topic is not None:
            producer.send(writer.disagreement(topic, *said), clock.now_us() // 1000)

    shadow = Shadow(lambda: _listed(shadow_of(settings)), differ, observer, log, share=settings.model.shadow_share)
    models.heard = shadow.offer

    def close() -> None:
        shadow.close()
        producer.close()

    return close


def _listed(model: ModelRuntime) -> ModelRuntime:
    """The model; what its files were held against is told."""
    log, told = get_logger(), {"name": model.info["name"], "version": model.info["version"]}
    if model.sums is None:
        log.warning("model files are served as they lie there", reason=UNLISTED, **told)
    else:
        log.info("model files are as listed", sha256=model.sums.digest, signed=model.sums.signed, **told)
    return model


def shadow_of(settings: Settings) -> ModelRuntime:
    """The shadow model, loaded; as `model_of`."""
    model = settings.model.model_copy(update={"path": settings.model.shadow})
    output = settings.output.model_copy(update={"embedding": False, "evidence": False})
    try:
        runtime = model_of(settings.model_copy(update={"model": model, "output": output}))
    except ConfigError as error:
        raise ConfigError(str(error).replace("model.path", "model.shadow")) from error
    runtime.summarised = None
    return runtime


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
        trusted_key=settings.model.trusted_key,
    )


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
