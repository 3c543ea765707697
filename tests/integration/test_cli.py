"""The command as a user types it: exit codes, and one line that says what to do."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import redis

from worker.demo.processes import free_port
from worker.demo.valkey import EmbeddedValkey

Done = subprocess.CompletedProcess[str]


def typed(*arguments: str, **environ: str) -> Done:
    """Runs `python -m worker ...`."""
    command = [sys.executable, "-m", "worker", *arguments]
    return subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=120)


def refused(done: Done, code: int) -> str:
    """The one line on stderr of a command that ended with this code."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("fusion-worker: ")]
    assert done.returncode == code, done.stderr
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


@pytest.fixture
def servers(stack: Any, tmp_path: Path) -> list[str]:
    """Arguments that name the servers and topics of this test alone."""
    name = uuid.uuid4().hex[:8]
    config = tmp_path / "fusion.toml"
    config.write_text(
        f'[kafka]\nbootstrap_servers = "{stack.bootstrap_servers}"\ngroup_id = "{name}"\nstartup_timeout = "10s"\n'
        f'[redis]\nurl = "{stack.redis_url}"\n[output]\ntopic = "{name}.out"\ndead_letter_topic = "{name}.dead"\n'
        f'[streams.texts]\ntopic = "{name}.texts"\nmodality = "text"\nrole = "anchor"\n'
        f'[streams.frames]\ntopic = "{name}.frames"\nmodality = "image"\nrole = "context"\n[http]\nport = 0\n'
    )
    return ["--config", str(config)]


def test_bad_usage_is_2() -> None:
    """No command, an unknown one, an argument that is none."""
    assert typed().returncode == 2
    assert "invalid choice: 'rum'" in refused(typed("rum"), 2)
    assert "is not a whole number from 1" in refused(typed("topics", "--partitions", "0"), 2)
    assert "--out" in refused(typed("train"), 2)


def test_version_and_help() -> None:
    """Told without a server, a model or torch."""
    assert typed("--version").stdout.startswith("fusion-worker 0.")
    for command in ("run", "check", "topics", "demo", "feed", "replay", "explain", "record", "train", "evaluate"):
        assert typed(command, "--help").stdout.startswith(f"usage: fusion-worker {command}")


def test_an_unknown_key_is_2_with_the_nearest_known(tmp_path: Path) -> None:
    """For any command that reads the configuration."""
    config = tmp_path / "fusion.toml"
    config.write_text("[model]\nmax_bach = 3\n")
    for command in ("run", "check", "topics", "feed", "replay"):
        line = refused(typed(command, "--config", str(config)), 2)
        assert "model.max_bach" in line
        assert "did you mean model.max_batch?" in line


def test_an_unreachable_kafka_is_3_within_the_timeout() -> None:
    """The address, the time and the remedy."""
    nobody = f"kafka.bootstrap_servers=127.0.0.1:{free_port()}"
    for command in ("run", "topics", "feed", "replay"):
        line = refused(typed(command, "--set", nobody, "--set", "kafka.startup_timeout=1s", "--set", "http.port=0"), 3)
        assert "127.0.0.1" in line
        assert "not reached within" in line


def test_a_wrong_redis_password_is_3(servers: list[str], tmp_path: Path) -> None:
    """`run` and `check` say what the server said and which key to look at; the password is not shown."""
    assert typed("topics", *servers).returncode == 0
    with contextlib.ExitStack() as closing:
        server = EmbeddedValkey(tmp_path)
        closing.callback(server.stop)
        redis.Redis.from_url(server.url).config_set("requirepass", "right")
        given = ["--set", f"redis.url=redis://:wr0ng@127.0.0.1:{server.port}/0"]
        line = refused(typed("run", *servers, *given), 3)
        assert "refuses access" in line
        assert "check redis.username and redis.password" in line
        checked = typed("check", *servers, *given)
        assert checked.returncode == 3
        assert "redis  failed  Redis refuses access" in checked.stdout
        assert "wr0ng" not in checked.stdout + checked.stderr + line


def test_a_missing_topic_is_2_and_topics_creates_it_once(servers: list[str]) -> None:
    """`run` names what is missing and the remedy; the remedy works, and twice changes nothing."""
    line = refused(typed("run", *servers), 2)
    assert "topics that do not exist" in line
    assert ".out" in line
    assert "`fusion-worker topics` creates them" in line
    assert typed("topics", *servers, "--partitions", "3").stdout.count(": created") == 4
    assert typed("topics", *servers, "--partitions", "5").stdout.count(": existed") == 4
    checked = typed("check", *servers, FUSION__MODEL__MAX_BATCH="7")
    assert checked.returncode == 0, checked.stdout
    assert "model.max_batch = 7" in checked.stdout
    assert "(environment FUSION__MODEL__MAX_BATCH)" in checked.stdout
    assert ".texts (3)" in checked.stdout
    assert "model  ok      junction" in checked.stdout


def test_a_model_that_is_none_is_2(servers: list[str], tmp_path: Path) -> None:
    """The directory is named with what it lacks."""
    assert typed("topics", *servers).returncode == 0
    line = refused(typed("run", *servers, "--set", f"model.path={tmp_path}"), 2)
    assert "no config.json, model.safetensors, tokenizer.json there" in line


def test_debug_shows_where(tmp_path: Path) -> None:
    """A traceback only on request."""
    assert "Traceback" in typed("--debug", "run", "--config", str(tmp_path / "none.toml")).stderr
