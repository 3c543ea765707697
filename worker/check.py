"""Settings -> what is in force, whether host, Kafka, Redis and the model are fit for `run`; and topics, created."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worker.broker.admin import NewTopic, cluster_of, configs_of, create_topics, described_topics
from worker.broker.codecs import missing_codecs
from worker.broker.fetchers import choose
from worker.broker.options import connection_options
from worker.broker.rights import ensure_rights
from worker.config import Settings
from worker.connect import exporter_of
from worker.errors import ConfigError, Fatal, NoRoom, Retryable, Unreachable
from worker.findings.finding import Finding, Level, note, warning
from worker.findings.host import of_http, of_open_files, open_files, versions
from worker.findings.model import of_files, of_model
from worker.findings.servers import of_brokers, of_clocks, of_redis
from worker.findings.topics import Layout, largest_record_bytes, of_topics
from worker.findings.traces import of_traces
from worker.from_settings import access_of, needs_of
from worker.ops.clock import SystemClock
from worker.ops.logs import get_logger
from worker.redaction import without_secrets
from worker.ruling import rules_beside
from worker.settings import DEFAULT, Loaded, redacted
from worker.store.trial import try_out

if TYPE_CHECKING:
    from worker.model.runtime import ModelRuntime

BROKER_DEFAULT_BYTES = 2**20
RETRY_SECONDS = 0.2
# On top of `kafka.startup_timeout`: what is asked once the server was reached.
ANSWERS_SECONDS = 45.0
# Reading a model's files from a slow disk, and torch itself.
MODEL_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Told:
    """What a question gave: a line, and what is worth a word though nothing fails."""

    line: str
    findings: Sequence[Finding] = ()
    exit_code: int = 0


Question = Callable[[Settings], Told]


def check(loaded: Loaded, say: Callable[[str], None], *, everything: bool = False) -> int:
    """Says the settings that were given, then a line each for this host, Kafka, Redis, the model and, where they are
    on, traces, and the findings.

    All are asked side by side, for what `run` needs of them, each for a time of its own: it ends always.

    Args:
        everything: say also the settings that are at their defaults.

    Returns:
        0, also with findings that are no errors; else 2 when the configuration is wrong (a topic, a limit of the
        brokers, the model), else 3 when a server was not reached.
    """
    for line in in_force(loaded, everything=everything):
        say(line)
    server_seconds = loaded.settings.kafka.startup_timeout.total_seconds() + ANSWERS_SECONDS
    questions: dict[str, tuple[Question, float]] = {
        "host": (_host, server_seconds), "kafka": (_kafka, server_seconds), "redis": (_redis, server_seconds),
        "model": (_model, MODEL_SECONDS),
    }  # fmt: skip
    if loaded.settings.traces.endpoint is not None:
        questions["traces"] = (_traces, server_seconds)
    told = ask_all(questions, loaded.settings)
    for part, answer in told.items():
        say(f"{part:<6} {'failed' if answer.exit_code else 'ok':<7} {answer.line}")
    for part, answer in told.items():
        for finding in answer.findings:
            say(f"{part:<6} {finding.level:<7} {finding}")
    return min((answer.exit_code for answer in told.values() if answer.exit_code), default=0)


def ask_all(questions: Mapping[str, tuple[Question, float]], settings: Settings) -> dict[str, Told]:
    """An answer to each question, in their order; one that has none in its seconds is told so."""
    answers: dict[str, Told] = {}
    began = time.monotonic()
    threads = {part: threading.Thread(target=_put, args=(answers, part, ask, settings), daemon=True)
               for part, (ask, _) in questions.items()}  # fmt: skip
    for thread in threads.values():
        thread.start()
    told = {}
    for part, thread in threads.items():
        seconds = questions[part][1]
        thread.join(max(0.0, began + seconds - time.monotonic()))
        told[part] = answers.get(part) or Told(f"no answer within {seconds:g} s", exit_code=3)
    return told


def in_force(loaded: Loaded, *, everything: bool) -> list[str]:
    """A line a key: name, value and origin; secrets are hidden."""
    values = {
        key: value for key, value in redacted(loaded.settings).items() if everything or loaded.origin[key] != DEFAULT
    }
    wide = max((len(f"{key} = {value}") for key, value in values.items()), default=0)
    lines = [f"{f'{key} = {value}':<{min(wide, 80)}}  ({loaded.origin[key]})" for key, value in values.items()]
    return lines if everything else [*lines, "all other settings are the defaults; --all shows them"]


def _put(answers: dict[str, Told], part: str, ask: Question, settings: Settings) -> None:
    try:
        answers[part] = ask(settings)
    except Fatal as error:
        answers[part] = Told(_one_line(error), exit_code=error.exit_code)
    except Exception as error:  # noqa: BLE001  a question that ends by any error is answered by it
        answers[part] = Told(f"unexpected {type(error).__name__}: {_one_line(error)}", exit_code=1)


def _one_line(error: Exception | str) -> str:
    return " ".join(without_secrets(str(error)).split())


def _host(settings: Settings) -> Told:
    most = open_files()
    access_of(settings, get_logger())
    told = f"{versions()}; open files: {most if most >= 0 else 'no limit'}"
    return Told(told, [*of_open_files(most), *of_http(settings)])


def _kafka(settings: Settings) -> Told:
    connection = connection_options(settings.kafka.model_dump())
    fetcher = choose(settings.kafka.model_dump())
    cluster = cluster_of(connection, settings.kafka.startup_timeout.total_seconds())
    names = settings.every_topic
    ensure_rights(connection, needs_of(settings))
    layouts = {topic["name"]: _layout(topic) for topic in described_topics(connection, names)}
    configs = configs_of(connection, names)
    absent = missing_codecs()
    for name, told in (configs or {}).items():
        if package := absent.get(told.get("compression.type", "")):
            raise ConfigError(f"topic {name!r} is compressed with {told['compression.type']}; install {package}")
    counts = ", ".join(f"{name} ({layouts[name].partitions})" for name in names)
    line = (
        f"{settings.kafka.bootstrap_servers}: {cluster.brokers} brokers of version {cluster.version}; topics "
        f"(partitions): {counts}; read by {fetcher.told}"
    )
    findings = [
        *(warning(f"records in {codec} cannot be read", f"install {package}") for codec, package in absent.items()),
        *(note("records are not read by librdkafka", why) for why in [fetcher.instead] if why),
        *of_topics(settings, layouts, cluster.brokers, configs), *of_brokers(settings, cluster.configs),
    ]  # fmt: skip
    failed = any(finding.level is Level.ERROR for finding in findings)
    return Told(line, findings, 2 if failed else 0)


def _layout(topic: Mapping[str, Any]) -> Layout:
    parts = topic["partitions"]
    return Layout(len(parts), min((len(part["replica_nodes"]) for part in parts), default=0))


def _redis(settings: Settings) -> Told:
    seconds = settings.kafka.startup_timeout.total_seconds()
    deadline = time.monotonic() + seconds
    address = redacted(settings)["redis.url"]
    while True:
        try:
            tried = try_out(settings.redis.model_dump(), settings.kafka.group_id, SystemClock())
        except NoRoom as error:
            return Told(f"{address}: reached", [warning(*map(str.strip, str(error).rsplit(";", 1)))])
        except Retryable as error:
            if time.monotonic() > deadline:
                raise Unreachable(f"redis.url not reached within {seconds:g} s: {error}") from error
            time.sleep(RETRY_SECONDS)
        else:
            findings = [*of_redis(tried.memory), *of_clocks(tried.ahead_us, tried.unsure_us)]
            return Told(f"{address}: version {tried.version}; functions loaded and called", findings)


def _model(settings: Settings) -> Told:
    from worker.assemble import model_of, shadow_of
    from worker.from_settings import masker_of, seen_by_model
    from worker.model.sums import UNLISTED

    masker_of(settings)
    model = model_of(settings)
    rules = rules_beside(settings)
    if rules is not None:
        rules.ensure_told(model)
    sees = f"; sees {seen_by_model(settings)}" if settings.privacy.enabled else ""
    asked = {"model.path": model} | ({"model.shadow": shadow_of(settings)} if settings.model.shadow else {})
    shadow = f"; shadow: {_told(asked['model.shadow'])}" if settings.model.shadow else ""
    told_rules = f"; rules: {', '.join(rules.told)}" if rules is not None else ""
    findings = of_model(settings, masked=model.trained_on_masked, tells_confidence=model.tells_confidence)
    findings += [of_files(f"{key}: {UNLISTED}") for key, one in asked.items() if one.sums is None]
    return Told(f"{_told(model)}; labels: {', '.join(model.labels)}{sees}{shadow}{told_rules}", findings)


def _told(model: ModelRuntime) -> str:
    return " ".join(model.info.values()) + (f"; files as in its {model.sums}" if model.sums else "")


def _traces(settings: Settings) -> Told:
    exporter, given = exporter_of(settings), settings.traces
    from worker.ops.traces import refusal

    why = refusal(exporter)
    told = f"{without_secrets(str(given.endpoint))}: {given.ratio:.0%} of the batches are recorded"
    return Told(told, of_traces(None if why is None else _one_line(why)))


def create(settings: Settings, partitions: int, replication_factor: int, say: Callable[[str], None]) -> int:
    """Creates the topics that the configuration names; those that exist are left as they are.

    Raises:
        Unreachable: Kafka was not reached.
        ConfigError: the cluster refuses a topic.
    """
    connection = connection_options(settings.kafka.model_dump())
    largest = largest_record_bytes(settings)
    size = {"max.message.bytes": str(max(largest, BROKER_DEFAULT_BYTES))}
    configs = dict.fromkeys([*settings.topics, settings.output.dead_letter_topic], size)
    topics = [NewTopic(name, partitions, replication_factor, configs.get(name, {})) for name in settings.every_topic]
    created, _ = create_topics(connection, topics, settings.kafka.startup_timeout.total_seconds())
    for name in settings.every_topic:
        say(f"{name}: {'created' if name in created else 'existed'}")
    return 0
