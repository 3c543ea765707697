"""Each finding of `check` on real servers that are wrong in that one way: the level, the sentence and the remedy."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from tests.conftest import ROOT
from tests.unit.incoming import FixedClock
from worker import check
from worker.check import Told, ask_all
from worker.config import Settings
from worker.demo.kafka import EmbeddedKafka, fetch_jars
from worker.demo.processes import free_port
from worker.demo.valkey import EmbeddedValkey
from worker.findings.host import of_open_files

WIDE = {"max.message.bytes": "9000000", "min.insync.replicas": "1"}
KEYS = ("streams.texts.topic", "streams.frames.topic", "output.topic", "output.dead_letter_topic", "review.topic",
        "review.labels")  # fmt: skip


@dataclass(frozen=True)
class Case:
    """`key`: whose topic is another; `topic`: that topic's configuration; `settings`: what else is another; `also`: the
    other finding that comes of it."""

    name: str
    level: str
    sentence: str
    remedy: str
    key: str = ""
    topic: Mapping[str, str] = field(default_factory=dict)
    partitions: int = 2
    replicas: int = 2
    settings: Mapping[str, Any] = field(default_factory=dict)
    also: str = "nothing else"


CASES = [
    Case("unequal partitions", "warning", "has 3 partitions, 'texts' has 2", "with equal numbers most bodies",
         "streams.frames.topic", partitions=3),
    Case("one anchor partition", "note", "has 1 partition: one worker alone has work", "as many partitions as",
         "streams.texts.topic", partitions=1, also="has 2 partitions, "),
    Case("fetches too small", "note", "kafka.fetch_max_bytes is 1000000, less than the 8454144", "raise it to several",
         settings={"kafka": {"fetch_max_bytes": 1_000_000}}),
    Case("one replica", "warning", "is kept by one broker of 2", "keep it on 3 brokers", "output.topic", replicas=1),
    Case("as many in sync as replicas", "warning", "min.insync.replicas is 2 of 2 replicas: nothing is committed",
         "keep it on 3 brokers", "output.dead_letter_topic", {"min.insync.replicas": "2"}),
    Case("dead letters too small", "warning", "max.message.bytes is 1000, less than 8454144: dead letters lose",
         "raise it", "output.dead_letter_topic", {"max.message.bytes": "1000"}),
    Case("results too small", "warning", "max.message.bytes is 1000, less than 262144: large results become",
         "raise it", "output.topic", {"max.message.bytes": "1000"}),
    Case("inputs too small", "note", "max.message.bytes is 1000, less than the 8388608 that [limits] lets in",
         "raise it, or lower the limit", "streams.frames.topic", {"max.message.bytes": "1000"}),
    Case("compacted input", "warning", "cleanup.policy is compact: events that a newer one", "use delete",
         "streams.frames.topic", {"cleanup.policy": "compact"}),
    Case("compacted results", "warning", "cleanup.policy is compact: of a key's results only the newest", "use delete",
         "output.topic", {"cleanup.policy": "compact"}),
    Case("compacted dead letters", "warning", "one without a key is refused", "use delete",
         "output.dead_letter_topic", {"cleanup.policy": "compact"}),
    Case("compacted reviews", "warning", "of a key's questions only the newest is kept", "use delete", "review.topic",
         {"cleanup.policy": "compact"}),
    Case("compacted answers", "warning", "an answer takes the place of those", "use delete", "review.labels",
         {"cleanup.policy": "compact"}),
    Case("kept too short", "warning", "retention.ms is 1000, less than its horizon of 30s", "raise it",
         "streams.frames.topic", {"retention.ms": "1000"}),
    Case("session timeout", "error", "kafka.session_timeout = 1s is not from 6000 to 1800000 ms, which broker 1 takes",
         "change the one or the other", settings={"kafka": {"session_timeout": "1s"}}, also="which broker 2 takes"),
]  # fmt: skip
# Of this cluster always: both are set at its second broker, and 2 replicas are too few.
ALWAYS = {
    "commit metadata": ("broker 2: offset.metadata.max.bytes is 1000, less than 4096", "set it to 4096"),
    "offsets forgotten": ("broker 2: offsets.retention.minutes is 60", "set it to 4320 or more"),
    "one in sync is enough": ("min.insync.replicas is 1 of 2 replicas", "keep it on 3 brokers"),
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two brokers, with a topic for each case; the address of the first."""
    jars = fetch_jars(Path(os.environ.get("FUSION_CACHE", ROOT / ".cache")), print)
    port, second, controller = free_port(), free_port(), f"127.0.0.1:{free_port()}"
    voters = {"controller.quorum.voters": f"1@{controller}"}
    listeners = {"listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://{controller}", **voters}
    odd = {
        "process.roles": "broker", "node.id": "2", "listeners": f"PLAINTEXT://127.0.0.1:{second}",
        "offset.metadata.max.bytes": "1000", "offsets.retention.minutes": "60", **voters,
    }  # fmt: skip
    with contextlib.ExitStack() as closing:
        for number, (at, properties) in enumerate(((port, listeners), (second, odd))):
            broker = EmbeddedKafka(jars, tmp_path_factory.mktemp(f"broker{number}"), properties, at)
            closing.callback(broker.stop)
        admin = closing.enter_context(contextlib.closing(KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}")))
        well = [NewTopic(_good(key), 2, 2, topic_configs=WIDE) for key in KEYS]
        odd_ones = [NewTopic(_odd(case), case.partitions, case.replicas, topic_configs={**WIDE, **case.topic})
                    for case in CASES if case.key]  # fmt: skip
        admin.create_topics([*well, *odd_ones])
        admin.wait_for_topics([topic.name for topic in [*well, *odd_ones]])
        yield f"127.0.0.1:{port}"


def _good(key: str) -> str:
    return key.split(".")[1] if key.startswith("streams") else key


def _odd(case: Case) -> str:
    return f"odd.{case.name.replace(' ', '-')}"


def asked(address: str, case: Case | None = None, **more: Any) -> Told:
    """What `check` says of this cluster, with the topics of a case in the place of good ones."""
    given: dict[str, Any] = {
        "kafka": {"bootstrap_servers": address},
        "streams": {
            "texts": {"modality": "text", "role": "anchor"},
            "frames": {"modality": "image", "role": "context"},
        },
        "output": {},
        "review": {},
    }
    for key in KEYS:
        *path, name = key.split(".")
        table = given
        for part in path:
            table = table[part]
        table[name] = _odd(case) if case is not None and case.key == key else _good(key)
    for section, values in {**(case.settings if case is not None else {}), **more}.items():
        given[section] = {**given.get(section, {}), **values}
    return ask_all({"kafka": (check._kafka, 60.0)}, Settings.model_validate(given))["kafka"]


@pytest.fixture(scope="module")
def baseline(cluster: str) -> Told:
    """Of topics that are as well as this cluster lets them be."""
    return asked(cluster)


def test_versions_are_told(baseline: Told) -> None:
    """Of the brokers, and of what reads them."""
    assert baseline.exit_code == 0
    assert "2 brokers of version 4." in baseline.line
    assert "read by librdkafka" in baseline.line


@pytest.mark.parametrize("name", ALWAYS)
def test_what_this_cluster_is_never_without(baseline: Told, name: str) -> None:
    """Two settings of a broker, asked of each; and too few replicas."""
    sentence, remedy = ALWAYS[name]
    found = [one for one in baseline.findings if sentence in one.sentence]
    assert found, [str(one) for one in baseline.findings]
    assert {one.level for one in found} == {"warning"}
    assert all(remedy in one.remedy for one in found)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_thing_that_is_wrong_is_one_finding(cluster: str, baseline: Told, case: Case) -> None:
    """Beside those that were there before; an error is exit 2, anything else 0."""
    answer = asked(cluster, case)
    known = {one.sentence for one in baseline.findings}
    told = [one for one in answer.findings if one.sentence.replace(_odd(case), _good(case.key or "-")) not in known]
    matching = [one for one in told if case.sentence in one.sentence]
    assert matching, [str(one) for one in told]
    assert matching[0].level == case.level
    assert case.remedy in matching[0].remedy
    assert [str(one) for one in told if case.sentence not in one.sentence and case.also not in one.sentence] == []
    assert answer.exit_code == (2 if case.level == "error" else 0)


def test_a_transaction_that_is_too_long_is_a_failure(cluster: str) -> None:
    """Found by trying it, whoever may see the brokers' settings or not."""
    answer = asked(cluster, delivery={"transaction_timeout": "20m"})
    assert answer.exit_code == 2
    assert "delivery.transaction_timeout = 1200s is over the brokers' transaction.max.timeout.ms" in answer.line


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[redis.Redis]:
    """A server that keeps everything, in bounds."""
    server = EmbeddedValkey(tmp_path, ["--maxmemory", "100mb"])
    with contextlib.closing(redis.Redis.from_url(server.url)) as admin:
        yield admin
    server.stop()


def asked_redis(admin: redis.Redis) -> Told:
    """What `check` says of it."""
    port = admin.connection_pool.connection_kwargs["port"]
    settings = Settings.model_validate({"redis": {"url": f"redis://127.0.0.1:{port}/0"}})
    return ask_all({"redis": (check._redis, 60.0)}, settings)["redis"]


def test_redis_without_a_bound_or_with_another_policy(valkey: redis.Redis) -> None:
    """Nothing of one that is well; one that could evict today is refused."""
    assert list(asked_redis(valkey).findings) == []
    valkey.config_set("maxmemory", "0")
    (unbound,) = asked_redis(valkey).findings
    assert (unbound.level, unbound.remedy[:21]) == ("note", "set it to half of tha")
    assert "maxmemory is not set" in unbound.sentence
    valkey.config_set("maxmemory-policy", "allkeys-lru")
    (policy,) = asked_redis(valkey).findings
    assert (policy.level, policy.remedy) == ("warning", "set it to noeviction")
    assert "maxmemory-policy is allkeys-lru" in policy.sentence
    valkey.config_set("maxmemory", "100mb")
    assert asked_redis(valkey).exit_code == 2


def test_a_clock_that_is_off(valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's here, which stands at the beginning of 2026."""
    monkeypatch.setattr(check, "SystemClock", FixedClock)
    (found,) = asked_redis(valkey).findings
    assert (found.level, found.remedy) == ("warning", "set both by NTP")
    assert "s behind that of Redis: [limits] max_ahead" in found.sentence


def test_too_few_files() -> None:
    """In a process of its own; where there are enough, the line alone tells how many."""
    code = (
        "from worker.check import _host; from worker.config import Settings; told = _host(Settings()); "
        "print(told.line); print(*told.findings)"
    )
    done = subprocess.run(
        ["bash", "-c", 'ulimit -n 200 && exec "$@"', "-", sys.executable, "-c", code], check=True, text=True,
        capture_output=True, cwd=ROOT,
    )  # fmt: skip
    line, found = done.stdout.splitlines()
    assert line.endswith("; open files: 200")
    assert {"Python", "torch", "kafka-python", "confluent-kafka", "redis"} <= {
        one.split()[0] for one in line.split(", ")
    }
    assert "may open 200 files and connections, less than 256" in found
    assert "`ulimit -n 1024`" in found
    assert of_open_files(1024) == []
    assert of_open_files(resource.RLIM_INFINITY) == []


def test_the_page_has_every_finding() -> None:
    """docs/check.md has a row for each case of this file, with its level; tests/unit/test_check_page.py for all."""
    page = (ROOT / "docs/check.md").read_text()
    for name, level in [*((case.name, case.level) for case in CASES), *((name, "warning") for name in ALWAYS)]:
        assert f"| {name} | {level} |" in page
