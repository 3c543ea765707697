"""Mistakes that servers tell, before torch is looked for; and a healthy start, which says nothing else."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import uuid
from typing import Any

import pytest

from tests.unit.test_first_mistakes import mistaken
from worker.broker.admin import NewTopic, create_topics


@pytest.fixture
def servers(stack: Any) -> list[str]:
    """Arguments that name the servers and topics of this test alone; the topics do not exist."""
    name = uuid.uuid4().hex[:8]
    keys = ("streams.texts.topic", "streams.frames.topic", "output.topic", "output.dead_letter_topic")
    given = {
        "kafka.bootstrap_servers": stack.bootstrap_servers, "redis.url": stack.redis_url, "kafka.group_id": name,
        "http.port": "0", **{key: f"{name}.{n}" for n, key in enumerate(keys)},
    }  # fmt: skip
    return [word for key, value in given.items() for word in ("--set", f"{key}={value}")]


def topics_of(servers: list[str]) -> list[str]:
    """Those that it names."""
    return [one.partition("=")[2] for one in servers if "topic=" in one]


@pytest.mark.parametrize("command", ["run", "feed", "check", "explain {}/0/5"])
def test_topics_that_do_not_exist(command: str, servers: list[str]) -> None:
    """Named; nothing was sent or created. Only `check` goes on to look at the model."""
    words = command.format(topics_of(servers)[0]).split()
    if words == ["check"]:
        done = subprocess.run(
            [sys.executable, "-m", "worker", *words, *servers], capture_output=True, text=True, timeout=120
        )
        assert "topics that do not exist" in done.stdout
    else:
        done = mistaken(*words, *servers)
        assert topics_of(servers)[0] in done.stderr
    assert done.returncode == 2


def test_explain_of_nowhere_and_a_wrong_password(servers: list[str], stack: Any) -> None:
    """A place that is not in the log; a Redis that refuses: the model is not looked at."""
    names = topics_of(servers)
    create_topics({"bootstrap_servers": [stack.bootstrap_servers]}, [NewTopic(one, 1, 1) for one in names], 20.0)
    for place, said in ((f"{names[0]}/0/5", "the log ends before"), (f"{names[0]}/9/0", "has partitions 0 to 0")):
        done = mistaken("explain", place, *servers)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    done = mistaken("run", *servers, "--set", "redis.username=nobody", "--set", "redis.password=wr0ng")
    assert done.returncode == 3
    assert "Redis refuses access" in done.stderr


def test_a_healthy_start_writes_our_own_lines_alone(servers: list[str], stack: Any) -> None:
    """stderr of a real worker from its start until it has drained: JSON of ours, nothing above information."""
    create_topics(
        {"bootstrap_servers": [stack.bootstrap_servers]}, [NewTopic(one, 1, 1) for one in topics_of(servers)], 20.0
    )
    command = [sys.executable, "-m", "worker", "run", *servers, "--set", "log.format=json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if '"partitions"' in line:
                break
        process.send_signal(signal.SIGTERM)
        out, rest = process.communicate(timeout=60)
    told = [json.loads(line) for line in [*lines, *rest.splitlines()]]
    assert out == ""
    assert [one for one in told if one["level"] != "info" or "logger" in one] == []
    assert process.returncode == 0
