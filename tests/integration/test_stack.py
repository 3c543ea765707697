"""Real servers for demo and tests: what is given wins, what is missing is named, nothing outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import ROOT
from worker.demo.kafka import fetch_jars
from worker.demo.stack import KAFKA_VARIABLE, REDIS_VARIABLE, open_stack
from worker.errors import ConfigError

_OPEN = """
import sys, time
from pathlib import Path
from worker.demo.stack import open_stack
with open_stack(Path(sys.argv[1]), print):
    print("open", flush=True)
    time.sleep(600)
"""

# As Maven does: a relative output folder is taken from the folder of the pom, the argument after -f.
_MAVEN = """#!/bin/sh
cd "$(dirname "$4")"
for word; do case "$word" in -DoutputDirectory=*) out="${word#*=}";; esac; done
mkdir -p "$out" && touch "$out/kafka_2.13-0.jar"
"""


def test_addresses_that_are_given_win(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is started; one of the two alone is a mistake."""
    monkeypatch.setenv(KAFKA_VARIABLE, "broker:9092")
    monkeypatch.setenv(REDIS_VARIABLE, "redis://cache:6379/0")
    with open_stack(tmp_path, print) as opened:
        assert (opened.kind, opened.bootstrap_servers, opened.redis_url) == (
            "given",
            "broker:9092",
            "redis://cache:6379/0",
        )
    monkeypatch.delenv(REDIS_VARIABLE)
    with (
        pytest.raises(ConfigError, match="give both FUSION_TEST_KAFKA and FUSION_TEST_REDIS, or neither"),
        open_stack(tmp_path, print),
    ):
        pass


def test_what_is_missing_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Java and Maven the line says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="java and mvn is missing: install Java 17") as caught:
        fetch_jars(tmp_path, print)
    assert "\n" not in str(caught.value)


def test_jars_lie_where_they_are_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative cache is that of the working folder, not of the pom; a second call fetches nothing."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in (("java", "#!/bin/sh\n"), ("mvn", _MAVEN)):
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    for _ in range(2):
        assert (fetch_jars(Path("cache"), said.append) / "kafka_2.13-0.jar").exists()
    assert len(said) == 1


def test_nothing_outlives_a_parent_that_is_killed(stack: Any) -> None:
    """After SIGKILL neither broker nor Valkey runs."""
    environ = {name: value for name, value in os.environ.items() if name not in (KAFKA_VARIABLE, REDIS_VARIABLE)}
    cache = os.environ.get("FUSION_CACHE", str(ROOT / ".cache"))
    parent = subprocess.Popen(
        [sys.executable, "-c", _OPEN, cache], cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    assert any(line == "open\n" for line in parent.stdout)
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 2
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
