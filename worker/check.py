"""Settings -> what is in force, whether Kafka, Redis and the model answer; and the topics they name, created."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from worker.broker.admin import NewTopic, create_topics, ensure_reachable, partitions_of
from worker.broker.options import connection_options
from worker.config import Settings
from worker.errors import ConfigError, Fatal, Retryable, Unreachable
from worker.redaction import without_secrets
from worker.settings import DEFAULT, Loaded, redacted
from worker.store.client import connect, translated
from worker.store.eviction import refuse_eviction

# Headers and the batch's own frame come on top of the body that `[limits]` bounds.
HEADROOM_BYTES = 64 * 2**10
BROKER_DEFAULT_BYTES = 2**20
RETRY_SECONDS = 0.2


_Question = Callable[[Settings], str]


@dataclass(frozen=True, slots=True)
class _Answer:
    part: str
    line: str
    exit_code: int = 0


def check(loaded: Loaded, say: Callable[[str], None]) -> int:
    """Says every setting with its origin, then one line each for Kafka, Redis and the model.

    The servers are asked side by side, each for `kafka.startup_timeout`, while the model is loaded.

    Returns:
        0; else 2 when the configuration is wrong (a topic or the model), else 3 when a server was not reached.
    """
    for line in in_force(loaded):
        say(line)
    settings, answers = loaded.settings, queue.SimpleQueue[_Answer]()
    servers = {"kafka": _kafka, "redis": _redis}
    for part, ask in servers.items():
        threading.Thread(target=_put, args=(answers, part, ask, settings), daemon=True).start()
    model = _ask("model", _model, settings)
    found = [*sorted((answers.get() for _ in servers), key=lambda answer: answer.part), model]
    for answer in found:
        say(f"{answer.part:<6} {'failed' if answer.exit_code else 'ok':<7} {answer.line}")
    return min((answer.exit_code for answer in found if answer.exit_code), default=0)


def in_force(loaded: Loaded) -> list[str]:
    """A line a key: name, value and origin; secrets are hidden."""
    values = redacted(loaded.settings)
    wide = max(len(f"{key} = {value}") for key, value in values.items() if loaded.origin[key] == DEFAULT)
    return [f"{f'{key} = {value}':<{wide}}  ({loaded.origin[key]})" for key, value in values.items()]


def _put(answers: queue.SimpleQueue[_Answer], part: str, ask: _Question, settings: Settings) -> None:
    answers.put(_ask(part, ask, settings))


def _ask(part: str, ask: _Question, settings: Settings) -> _Answer:
    try:
        return _Answer(part, ask(settings))
    except Fatal as error:
        return _Answer(part, " ".join(without_secrets(str(error)).split()), error.exit_code)


def _kafka(settings: Settings) -> str:
    connection = connection_options(settings.kafka.model_dump())
    seconds = settings.kafka.startup_timeout.total_seconds()
    brokers = ensure_reachable(connection, seconds)
    names = _topics(settings)
    partitions = partitions_of(connection, names)
    if missing := [name for name in names if name not in partitions]:
        raise ConfigError(f"topics that do not exist: {', '.join(missing)}; `fusion-worker topics` creates them")
    counts = ", ".join(f"{name} ({partitions[name]})" for name in names)
    return f"{settings.kafka.bootstrap_servers}: {brokers} brokers; topics (partitions): {counts}"


def _redis(settings: Settings) -> str:
    seconds = settings.kafka.startup_timeout.total_seconds()
    deadline = time.monotonic() + seconds
    while True:
        try:
            with translated():
                client = connect(settings.redis.model_dump())
                client.ping()
                version = client.info("server").get("redis_version", "unknown")
                unsure = refuse_eviction(client)
                client.close()
            return f"{redacted(settings)['redis.url']}: version {version}" + (f"; {unsure}" if unsure else "")
        except Retryable as error:
            if time.monotonic() > deadline:
                raise Unreachable(f"redis.url not reached within {seconds:g} s: {error}") from error
            time.sleep(RETRY_SECONDS)


def _model(settings: Settings) -> str:
    from worker.assemble import model_of

    model = model_of(settings)
    return f"{' '.join(model.info.values())}; labels: {', '.join(model.labels)}"


def create(settings: Settings, partitions: int, replication_factor: int, say: Callable[[str], None]) -> int:
    """Creates the topics that the configuration names; those that exist are left as they are.

    Raises:
        Unreachable: Kafka was not reached.
        ConfigError: the cluster refuses a topic.
    """
    connection = connection_options(settings.kafka.model_dump())
    limits = settings.limits
    bodies = (limits.max_frame_bytes, limits.max_text_bytes, limits.max_sensor_bytes, limits.max_audio_bytes)
    largest = max(map(int, bodies)) + HEADROOM_BYTES
    sizes = {settings.output.topic: None}
    topics = [
        NewTopic(name, partitions, replication_factor, sizes.get(name, max(largest, BROKER_DEFAULT_BYTES)))
        for name in _topics(settings)
    ]
    created, _ = create_topics(connection, topics, settings.kafka.startup_timeout.total_seconds())
    for name in _topics(settings):
        say(f"{name}: {'created' if name in created else 'existed'}")
    return 0


def _topics(settings: Settings) -> list[str]:
    named = [*(stream.topic for stream in settings.streams.values()), settings.output.topic]
    return list(dict.fromkeys([*named, settings.output.dead_letter_topic]))
