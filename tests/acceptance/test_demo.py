"""`fusion-worker demo`, as a user runs it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer

from worker.broker.admin import configs_of

SECONDS = "8"


def played(stack: Any, out: Path, *more: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Runs the demo on the test's servers and returns what it printed and wrote."""
    servers = {"FUSION_TEST_KAFKA": stack.bootstrap_servers, "FUSION_TEST_REDIS": stack.redis_url}
    command = [sys.executable, "-m", "worker", "demo", "--seconds", SECONDS, "--junctions", "3", "--json", str(out)]
    done = subprocess.run(
        [*command, *more],
        env={**os.environ, **servers}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done, json.loads(out.read_text())


def bytes_kept_of_frames(stack: Any) -> set[str]:
    """What Kafka keeps a partition, at most, of each demo's frames."""
    options = {"bootstrap_servers": stack.bootstrap_servers.split(",")}
    with contextlib.closing(KafkaConsumer(**options)) as consumer:
        names = [name for name in consumer.topics() if re.fullmatch(r"demo-\w+\.frames", name)]
    told = configs_of(options, names)
    assert told is not None
    return {told[name]["retention.bytes"] for name in names}


@pytest.fixture(scope="module")
def undisturbed(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run in which nothing is killed."""
    return played(stack, tmp_path_factory.mktemp("demo") / "demo.json")


def test_the_demo_accounts_for_every_text_and_agrees_with_the_oracle(undisturbed: Any) -> None:
    """Nothing lost, nothing doubled, every pair the oracle's; the summary and the table say so."""
    done, told = undisturbed
    summary = told["summary"]
    assert summary["anchors"] == summary["results"] == summary["right_pairs"] > 10
    assert (summary["unaccounted"], summary["doubled"], summary["faults"]) == (0, 0, [])
    assert f"pairs as the oracle's  {summary['results']} of {summary['results']}" in done.stdout
    assert "unaccounted            0" in done.stdout
    assert "/metrics" in done.stdout
    assert "junction-1" in done.stdout


@pytest.mark.long
def test_a_worker_killed_on_the_way_changes_nothing_but_time(stack: Any, undisturbed: Any, tmp_path: Path) -> None:
    """SIGKILL half-way: the same texts with the same frames and labels."""
    done, told = played(stack, tmp_path / "killed.json", "--kill")
    assert "with SIGKILL and starting another" in done.stdout
    assert told["results"] == undisturbed[1]["results"]


@pytest.mark.long
def test_with_keep_the_pages_stay_until_ctrl_c(stack: Any, tmp_path: Path) -> None:
    """Their addresses are told; new verdicts come after the counted story, in words; Ctrl-C sums up and ends with 0.
    What is kept of the topics is bounded, since it may go on for days."""
    servers = {"FUSION_TEST_KAFKA": stack.bootstrap_servers, "FUSION_TEST_REDIS": stack.redis_url}
    command = [sys.executable, "-m", "worker", "demo", "--seconds", "4", "--junctions", "2", "--workers", "1", "--keep"]
    given = {"env": {**os.environ, **servers}, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, **given) as demo:  # type: ignore[call-overload]
        told = next(line for line in demo.stdout if "the junctions go on" in line)
        (page,) = re.findall(r"http://127\.0\.0\.1:\d+/", told)
        with urllib.request.urlopen(page, timeout=10) as answer:
            assert b"Last verdicts" in answer.read()
        with urllib.request.urlopen(f"{page}console/live", timeout=60) as live:
            names = (line.split()[1] for line in live if line.startswith(b"event: "))
            # Those that were there, and others that came after.
            assert [next(name for name in names if name == b"verdicts") for _ in range(2)] == [b"verdicts"] * 2
        assert str(64 << 20) in bytes_kept_of_frames(stack)
        demo.send_signal(signal.SIGINT)
        left = demo.stdout.read()
    assert demo.returncode == 0, left
    assert "unaccounted            0" in left
    assert "workers ended with     0" in left
