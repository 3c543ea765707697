"""Arguments of `sink`, and how its parts are joined."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import closing
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from worker.arguments import not_empty
from worker.errors import ConfigError, Retryable, Unreachable

if TYPE_CHECKING:
    from worker import destinations
    from worker.config import Settings
    from worker.records import Partition
    from worker.sinks.destination import Destination
    from worker.sinks.frame import Frame
    from worker.sinks.letters import Letters

Say = Callable[[str], None]
KINDS = ("mqtt", "webhook", "parquet", "sql")
# Of a new dead-letter topic; a large cluster's operator makes it by other means.
_PARTITIONS, _REPLICAS = 1, 1
# Where the package is not called as the module.
_DRIVERS = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}


def add_sink_arguments(parser: ArgumentParser) -> None:
    """What `sink` takes."""
    parser.add_argument("kind", choices=KINDS, help="where to; [sinks.KIND] says more (docs/sinks.md)")
    parser.add_argument(
        "--create", action="store_true", help="make the dead-letter topic, and the table of sql, where they are missing"
    )
    parser.add_argument("--once", action="store_true", help="deliver what is there now, then end")
    parser.add_argument(
        "--replay", action="store_true", help="deliver the sink's dead letters again, each once, then end; not of mqtt"
    )
    parser.add_argument(
        "--forget", action="append", default=[], type=not_empty, metavar="KEY",
        help="mqtt: take the key's device out of Home Assistant, and end; repeatable",
    )  # fmt: skip


def sink(settings: Settings, chosen: Namespace, say: Say) -> int:
    """Delivers until SIGTERM or Ctrl-C; 0 when what was read is delivered.

    Raises:
        ConfigError: a key is missing, an extra is not installed, or the destination is not what it should be.
        Unreachable: Kafka or the destination was not reached, or refuses access.
        DeadLetterLimit: the destination refuses too many.
    """
    from worker.from_settings import page_of
    from worker.ops.health import Health, stall_seconds
    from worker.ops.logs import configure, get_logger
    from worker.ops.metrics import PrometheusObserver
    from worker.ops.watchdog import STOP_SIGNALS, Watchdog, end_now, leave_start, on_stop

    told = getattr(settings.sinks, chosen.kind)
    destination = _destination(chosen, told)
    if chosen.forget:
        return _forget(destination, chosen, say)
    on_stop(leave_start)
    configure(settings.log.format, settings.log.level)
    log, drain_seconds = get_logger(), settings.delivery.drain_timeout.total_seconds()
    watchdog = Watchdog(STOP_SIGNALS, drain_seconds + told.timeout.total_seconds(), log)
    health = Health(stall_seconds(settings.kafka.max_poll_interval, settings.delivery.commit_timeout))
    health.block("starting", "the sink is starting")
    observer = PrometheusObserver()
    with page_of(settings, observer, health, log):
        frame, close = _joined(settings, told, destination, chosen, observer, health, log)
        watchdog.left = frame.left
        on_stop(frame.stop)
        health.clear("starting")
        drained = watchdog.closes_after(frame.run)
        close()
    return 0 if drained else end_now(1)


def _joined(
    settings: Settings, told: destinations.Destination, destination: Destination, chosen: Namespace,
    observer: Any, health: Any, log: Any,
) -> tuple[Frame, Callable[[], None]]:  # fmt: skip
    """The frame, joined to servers that were reached, and what closes it."""
    from worker.broker.intake import Intake
    from worker.broker.options import connection_options, member_options
    from worker.broker.source import KafkaSource
    from worker.connect import reached
    from worker.sinks.frame import Bounds, Frame
    from worker.sinks.retry import Backoff

    name, topic = told.name or chosen.kind, settings.output.topic
    dead = told.dead_letter_topic or f"{topic}.{name}.dead"
    if chosen.replay:
        name, topic = f"{name}-replay", dead
    group_id, connection = f"{settings.kafka.group_id}-sink-{name}", connection_options(settings.kafka.model_dump())
    _check_kafka(settings, connection, group_id, topic, dead, chosen)
    reached(settings, f"sinks.{chosen.kind}", destination.open)
    options = {**member_options(settings.kafka.model_dump()), "group_id": group_id}
    letters = _letters(settings, connection, dead)
    bounds = Bounds(
        told.batch, int(told.max_bytes), told.max_delay.total_seconds(),
        settings.delivery.drain_timeout.total_seconds(), chosen.once or chosen.replay,
        _ends(connection, topic) if chosen.replay else {},
    )  # fmt: skip
    observer.count("sink_delivered_total", 0, sink=name)
    observer.count("sink_retries_total", 0, sink=name)
    frame = Frame(
        name, lambda begins: Intake(partial(KafkaSource, connection, options, [topic]), begins), destination, letters,
        bounds, Backoff(told.retry_max.total_seconds(), Random()), observer, health, log,
    )  # fmt: skip
    observer.ask("sink_behind_seconds", frame.behind_seconds, sink=name)

    def close() -> None:
        destination.close()
        letters.close()
        frame.close()

    return frame, close


def _ends(connection: Any, topic: str) -> dict[Partition, int]:
    """Where the topic ends now; Unreachable: Kafka is away."""
    from worker.broker.log import LogReader

    with closing(LogReader(connection)) as log:
        return {partition: end for partition, (_, end) in log.bounds(topic).items()}


def _letters(settings: Settings, connection: Any, dead: str) -> Letters:
    from worker.broker.sink import PlainSink
    from worker.ops.clock import SystemClock
    from worker.sinks.letters import Letters
    from worker.stages.guard import DeadLetterGuard
    from worker.stages.publish import ResultWriter

    limits, source = settings.limits, f"/fusion-worker/{settings.kafka.group_id}"
    writer = ResultWriter(settings.output.topic, dead, source=source, model_name="", model_version="")
    guard = DeadLetterGuard(limits.dead_letters_in_a_row, limits.dead_letter_ratio, SystemClock())
    return Letters(PlainSink(connection, lambda offsets: None), writer, guard)


def _destination(chosen: Namespace, told: Any) -> Destination:
    """The destination, not yet reached.

    Raises:
        ConfigError: a key is missing, or the extra is not installed.
    """
    needed = {"mqtt": "host", "webhook": "url", "parquet": "directory", "sql": "url"}[chosen.kind]
    if getattr(told, needed) is None:
        raise ConfigError(f"sinks.{chosen.kind}.{needed}: must be given, to run `fusion-worker sink {chosen.kind}`")
    if chosen.forget and chosen.kind != "mqtt":
        raise ConfigError("--forget: has an effect with `sink mqtt` alone")
    if chosen.replay and chosen.kind == "mqtt":
        raise ConfigError("--replay: not with `sink mqtt`, where the last is the state: a letter's is an older one")
    try:
        return _made(chosen, told)
    except ModuleNotFoundError as error:
        name = str(error.name)
        driver = chosen.kind == "sql" and name != "sqlalchemy"
        to_install = f"pip install '{_DRIVERS.get(name, name)}'" if driver else f"install fusion-worker[{chosen.kind}]"
        raise ConfigError(f"sink {chosen.kind} needs the package {name}; {to_install}") from error


def _made(chosen: Namespace, told: Any) -> Destination:
    if chosen.kind == "webhook":
        from worker.sinks.webhook import WebhookDestination

        return WebhookDestination(told)
    if chosen.kind == "mqtt":
        from worker.sinks.mqtt import MqttDestination

        return MqttDestination(told)
    if chosen.kind == "sql":
        from worker.sinks.sql import SqlDestination

        return SqlDestination(told, chosen.create)
    from worker.sinks.parquet import ParquetDestination

    return ParquetDestination(told)


def _check_kafka(settings: Settings, connection: Any, group_id: str, topic: str, dead: str, chosen: Namespace) -> None:
    from worker.broker.admin import NewTopic, create_topics, ensure_reachable, missing_topics
    from worker.broker.rights import Needs, ensure_rights
    from worker.connect import reached

    seconds = settings.kafka.startup_timeout.total_seconds()
    ensure_reachable(connection, seconds)
    if chosen.create:
        create_topics(connection, [NewTopic(dead, _PARTITIONS, _REPLICAS)], seconds)
    elif missing_topics(connection, [dead]):
        raise ConfigError(
            f"the topic of dead letters {dead!r} does not exist; --create makes it, or name another in "
            f"sinks.{chosen.kind}.dead_letter_topic"
        )
    needs = Needs(read=[topic], written=[dead], told_of=[], group_id=group_id, transaction_seconds=None)
    reached(settings, "kafka.bootstrap_servers", lambda: ensure_rights(connection, needs))


def _forget(destination: Any, chosen: Namespace, say: Say) -> int:
    """Takes keys out of Home Assistant."""
    try:
        for key in chosen.forget:
            say(f"{key}: {destination.forget(key)}")
    except Retryable as error:
        raise Unreachable(f"[sinks.mqtt]: {error}") from error
    finally:
        destination.close()
    return 0
