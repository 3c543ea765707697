"""`check`: it asks what `run` needs, tells what will cost something, and ends always."""

from __future__ import annotations

import contextlib
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.integration.test_cli import typed
from worker.broker.admin import NewTopic, create_topics
from worker.check import Told, ask_all, in_force
from worker.config import Settings
from worker.demo.valkey import EmbeddedValkey
from worker.findings.topics import Layout, of_topics
from worker.ops.clock import SystemClock
from worker.settings import load
from worker.store.client import translated
from worker.store.trial import try_out

WIDE = {"max.message.bytes": "9000000", "cleanup.policy": "delete", "retention.ms": "604800000"}
ALL = dict.fromkeys(("texts", "frames", "fusions", "fusions.dead"), Layout(4, 1))


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[redis.Redis]:
    """A real server of this test's own, and its administrator."""
    server = EmbeddedValkey(tmp_path)
    with contextlib.closing(redis.Redis.from_url(server.url)) as admin:
        yield admin
    server.stop()


def options(admin: redis.Redis, **changes: Any) -> dict[str, Any]:
    """The `[redis]` section for it."""
    port = admin.connection_pool.connection_kwargs["port"]
    return Settings().redis.model_dump() | {"url": f"redis://127.0.0.1:{port}/0"} | changes


@pytest.mark.parametrize(
    ("rights", "refused"),
    [
        (["-@all", "+ping", "+info", "+client"], "function|load"),
        (["+@all", "-fcall"], "fcall"),
        (["+@all", "-lpop"], "lpop"),
        (["+@all", "-zadd"], "zadd"),
    ],
)
def test_a_right_that_run_needs_is_missed_by_check(valkey: redis.Redis, rights: list[str], refused: str) -> None:
    """Loading, calling, what the functions do inside: the sentence names the command and what the user needs."""
    valkey.execute_command("ACL", "SETUSER", "worker", "on", ">pw", "~*", *rights)
    with pytest.raises(Exception, match=r"refuses a right|Redis") as caught:
        try_out(options(valkey, username="worker", password="pw"), "group", SystemClock())
    assert caught.value.__class__.__name__ == "Unreachable"
    assert refused in str(caught.value).lower()
    assert "~fw:<kafka.group_id>:*" in str(caught.value)


def test_rights_on_other_keys_alone_are_missed(valkey: redis.Redis) -> None:
    """A user with all commands on keys that are not the group's; one with those of the group passes."""
    valkey.execute_command("ACL", "SETUSER", "worker", "on", ">pw", "+@all", "~other:*")
    with pytest.raises(Exception, match="refuses a right"):
        try_out(options(valkey, username="worker", password="pw"), "group", SystemClock())
    needed = ["resetkeys", "~fw:group:*", "-@all", "+@all", "-@dangerous", "+function", "+info", "+keys", "+scan"]
    valkey.execute_command("ACL", "SETUSER", "worker", *needed)
    told = try_out(options(valkey, username="worker", password="pw"), "group", SystemClock())
    assert told.version
    assert told.memory[0]["maxmemory_policy"] == "noeviction"
    assert all(valkey.ttl(key) > 0 for key in valkey.keys("*")), "what the trial leaves behind expires"


def test_a_full_server_is_told_as_full(valkey: redis.Redis) -> None:
    """Not as one that is away."""
    valkey.config_set("maxmemory", "1")
    with pytest.raises(Exception, match=r"Redis is full: .*; raise its maxmemory") as caught, translated():
        valkey.set("x", "y")
    assert caught.value.__class__.__name__ == "NoRoom"


@pytest.mark.parametrize("part", ["kafka", "redis"])
def test_a_server_that_never_answers_does_not_hold_it(part: str) -> None:
    """The port is open, nothing comes: exit 3 with a line for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        key = {"redis": "redis.url=redis://", "kafka": "kafka.bootstrap_servers="}[part] + f"127.0.0.1:{port}"
        done = typed("check", "--set", key, "--set", "kafka.startup_timeout=1s")
    assert done.returncode == 3, done.stderr
    assert f"{part:<6} failed" in done.stdout


def test_a_question_ends_by_whatever_it_raises_or_not_at_all() -> None:
    """An exception that nobody foresaw, and one that never comes back."""

    def raises(_: Settings) -> Told:
        raise TypeError("unexpected keyword argument 'foo'")

    forever = threading.Event()

    def hangs(_: Settings) -> Told:
        forever.wait()
        return Told("")

    told = ask_all({"a": (raises, 60), "b": (hangs, 0.05), "c": (lambda _: Told("fine"), 60)}, Settings())
    forever.set()
    assert (told["a"].line, told["a"].exit_code) == ("unexpected TypeError: unexpected keyword argument 'foo'", 1)
    assert (told["b"].line, told["b"].exit_code) == ("no answer within 0.05 s", 3)
    assert told["c"] == Told("fine")


def test_only_what_differs_is_shown_unless_all_is_asked_for() -> None:
    """A key that was given, also in the environment; with --all each key."""
    loaded = load(None, ["model.max_batch=7"], {})
    assert [line.split()[0] for line in in_force(loaded, everything=False)] == ["model.max_batch", "all"]
    assert len(in_force(loaded, everything=True)) == len(loaded.origin)


def test_what_topics_cost_is_found() -> None:
    """Too small for dead letters or results, kept too short, compacted, unequal; nothing where all is well."""
    settings = Settings()
    well = dict.fromkeys(ALL, WIDE)
    assert of_topics(settings, ALL, 1, well) == []
    for changes, sentence in (
        ({"fusions.dead": WIDE | {"max.message.bytes": "1048588"}}, "dead letters lose their bodies"),
        ({"fusions": WIDE | {"max.message.bytes": "1000"}}, "large results become dead letters"),
        ({"frames": WIDE | {"retention.ms": "1000"}}, "retention.ms is 1000, less than its horizon of 30s"),
        ({"texts": WIDE | {"cleanup.policy": "compact,delete"}}, "cleanup.policy is compact,delete"),
    ):
        (found,) = of_topics(settings, ALL, 1, well | changes)
        assert sentence in str(found)
    assert "has 3 partitions, 'texts' has 4" in str(of_topics(settings, ALL | {"frames": Layout(3, 1)}, 1, well)[0])
    assert "needs DESCRIBE_CONFIGS on the topics" in str(of_topics(settings, ALL, 1, None)[0])


def test_findings_are_told_and_cost_no_exit_code(stack: Any, tmp_path: Path) -> None:
    """With a real cluster whose dead-letter topic is too small."""
    name = uuid.uuid4().hex[:8]
    topics = {key: f"{name}.{key}" for key in ("texts", "frames", "out", "dead")}
    small = [NewTopic(one, 1, 1, {"max.message.bytes": "1000000"}) for one in topics.values()]
    create_topics({"bootstrap_servers": [stack.bootstrap_servers]}, small, 20.0)
    done = typed(
        "check", "--set", f"kafka.bootstrap_servers={stack.bootstrap_servers}", "--set", f"redis.url={stack.redis_url}",
        "--set", f"output.topic={topics['out']}", "--set", f"output.dead_letter_topic={topics['dead']}",
        "--set", f"streams.texts.topic={topics['texts']}", "--set", f"streams.frames.topic={topics['frames']}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "functions loaded and called" in done.stdout
    assert f"kafka  warning output.dead_letter_topic = '{name}.dead': max.message.bytes is 1000000" in done.stdout
    assert "all other settings are the defaults" in done.stdout
