"""Results on a topic of their own, and sinks that deliver them, for tests."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer

from schemas import names
from tests import prometheus_tools
from worker.broker.admin import NewTopic, create_topics

ROOT = Path(__file__).parents[1]


def result(key: str, number: int, **more: Any) -> dict[str, Any]:
    """One result as the worker writes it; a second apart of its neighbours."""
    own_id = hashlib.sha256(f"{key}/{number}".encode()).hexdigest()[:32]
    at = f"2026-01-01T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}.000Z"
    anchor = {"id": f"t{number}", "time": at, "topic": "texts", "partition": 0, "offset": number}
    return {
        "id": own_id, "key": key, "time": at, "label": "congestion", "score": 0.93,
        "scores": {"congestion": 0.93, "free_flow": 0.07}, "inputs": {"texts": anchor},
        "missing": {"frames": "never_seen"}, "complete": True, "model": {"name": "traffic", "version": "1"}, **more,
    }  # fmt: skip


class Sinks:
    """A topic of results, and the processes that deliver them; all are ended at the end."""

    def __init__(self, stack: Any, folder: Path, partitions: int = 2) -> None:
        self.stack, self.folder, self.name = stack, folder, f"sink-{uuid.uuid4().hex[:8]}"
        self.connection = {"bootstrap_servers": [stack.bootstrap_servers]}
        create_topics(self.connection, [NewTopic(self.topic, partitions, 1)], 30.0)
        self.producer = KafkaProducer(**self.connection, linger_ms=5)
        self.processes: list[subprocess.Popen[str]] = []

    @property
    def topic(self) -> str:
        """Where the results are."""
        return f"{self.name}.out"

    def feed(self, results: Sequence[dict[str, Any]]) -> list[str]:
        """Sends them; their ids."""
        for one in results:
            self.send(one["key"], json.dumps(one, ensure_ascii=False).encode())
        self.producer.flush()
        return [one["id"] for one in results]

    def send(self, key: str, value: bytes) -> None:
        """Sends a record as it is."""
        self.producer.send(self.topic, key=key.encode(), value=value, headers=[(names.CE_TYPE, b"fusion.result.v1")])

    def arguments(self, kind: str, *more: str, create: bool = True, **settings: Any) -> list[str]:
        """The command line of a sink."""
        told = {
            "kafka.bootstrap_servers": self.stack.bootstrap_servers, "kafka.group_id": self.name, "http.port": 0,
            "output.topic": self.topic, "kafka.startup_timeout": "10s", "log.format": "json",
            **{f"sinks.{kind}.{name}": value for name, value in settings.items()},
        }  # fmt: skip
        pairs = [part for name, value in told.items() for part in ("--set", f"{name}={value}")]
        return ["sink", kind, *(["--create"] if create else []), *pairs, *more]

    def start(self, kind: str, *more: str, harness: Sequence[str] = (), **settings: Any) -> subprocess.Popen[str]:
        """A sink that runs; `harness`: see tests/sink_process.py."""
        command = [sys.executable, "-m", "tests.sink_process", *harness, *self.arguments(kind, *more, **settings)]
        log = (self.folder / f"sink-{len(self.processes)}.log").open("w")
        self.processes.append(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, text=True))
        return self.processes[-1]

    def run(self, kind: str, *more: str, harness: Sequence[str] = (), **settings: Any) -> int:
        """A sink with `--once`; its exit code."""
        return self.start(kind, "--once", *more, harness=harness, **settings).wait(60)

    def fails(self, kind: str, *more: str, create: bool = True, **settings: Any) -> tuple[int, str]:
        """A sink that does not start: its exit code, and its line."""
        command = [sys.executable, "-m", "worker", *self.arguments(kind, *more, create=create, **settings)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        told = [line for line in ended.stderr.splitlines() if line.startswith("fusion-worker: ")]
        assert len(told) == 1, ended.stderr
        return ended.returncode, told[0]

    def log(self, number: int = -1) -> list[dict[str, Any]]:
        """What a sink has logged."""
        numbered = number if number >= 0 else len(self.processes) + number
        lines = (self.folder / f"sink-{numbered}.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def port(self, number: int = -1) -> int:
        """Of the HTTP server of a running sink."""
        wait_until(lambda: any("port" in line for line in self.log(number)))
        return int(next(line["port"] for line in self.log(number) if "port" in line))

    def stop(self, process: subprocess.Popen[str]) -> int:
        """SIGTERM; the exit code."""
        process.send_signal(signal.SIGTERM)
        return process.wait(30)

    def letters(self, kind: str) -> list[Any]:
        """The dead letters of a sink."""
        reader = KafkaConsumer(
            f"{self.topic}.{kind}.dead", **self.connection, auto_offset_reset="earliest", consumer_timeout_ms=1500
        )
        found = list(reader)
        reader.close()
        return found

    def close(self) -> None:
        """Ends what runs."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        self.producer.close(timeout=5)


@contextlib.contextmanager
def sinks(stack: Any, folder: Path, partitions: int = 2) -> Iterator[Sinks]:
    """See `Sinks`."""
    made = Sinks(stack, folder, partitions)
    try:
        yield made
    finally:
        made.close()


def wait_until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Returns once it is true; an error when it is not in time."""
    prometheus_tools.wait_until(true, seconds, "what the test waits for")


def tell_a_sink(observer: Any, turn: int) -> None:
    """What a busy sink tells in one turn of its loop."""
    observer.count("sink_delivered_total", 4, sink="webhook")
    observer.count("sink_retries_total", sink="webhook")
    observer.count("sink_refused_total", sink="webhook", reason="refused")
    observer.gauge("sink_lag_records", turn % 7, sink="webhook", partition="0")
    observer.gauge("sink_behind_seconds", turn % 3, sink="webhook")
    observer.observe("sink_delivery_seconds", turn % 5 / 10, sink="webhook")
