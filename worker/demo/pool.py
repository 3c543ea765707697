"""The demo's workers: real processes of `python -m worker run`."""

from __future__ import annotations

import functools
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.error import URLError

from worker.demo.oracle import AFTER_US, BEFORE_US
from worker.demo.processes import free_port, spawn, stop, wait_for
from worker.errors import Unreachable

START_SECONDS = 120.0
_CONFIG = """\
[kafka]
bootstrap_servers = "{kafka}"
group_id = "{prefix}demo"
[redis]
url = "{redis}"
[streams.texts]
topic = "{prefix}texts"
modality = "text"
role = "anchor"
[streams.frames]
topic = "{prefix}frames"
modality = "image"
role = "context"
match = "nearest"
before = "{before_ms}ms"
after = "{after_ms}ms"
[output]
topic = "{prefix}fusions"
dead_letter_topic = "{prefix}fusions.dead"
evidence = {evidence}
[http]
port = {port}
console = true
[log]
format = "json"
"""


@dataclass(slots=True)
class _Worker:
    number: int
    process: subprocess.Popen[bytes]
    port: int
    log: Path
    state: str = "starting"


class Pool:
    """Workers with a configuration file, a port and a log each; all end with the block."""

    def __init__(self, folder: Path, kafka: str, redis: str, prefix: str, evidence: bool = False) -> None:
        """`prefix` begins the names of the topics and of the group; `evidence`: as `[output]` has it."""
        self._folder, self._kafka, self._redis, self._prefix = folder, kafka, redis, prefix
        self._evidence = evidence
        self._workers: list[_Worker] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for worker in self._workers:
            stop(worker.process)

    def start(self, count: int) -> None:
        """Starts workers and waits until each is ready.

        Raises:
            Unreachable: one ended, or was not ready in time; with the end of its log.
        """
        new = [self._spawn() for _ in range(count)]
        for worker in new:
            ready = functools.partial(_ready, worker.port)
            wait_for(f"worker {worker.number}", ready, worker.process, worker.log, START_SECONDS)
            worker.state = "ready"

    def _spawn(self) -> _Worker:
        number, port = len(self._workers) + 1, free_port()
        config, log = self._folder / f"worker-{number}.toml", self._folder / f"worker-{number}.log"
        config.write_text(
            _CONFIG.format(
                prefix=self._prefix,
                kafka=self._kafka,
                redis=self._redis,
                port=port,
                evidence=str(self._evidence).lower(),
                before_ms=BEFORE_US // 1000,
                after_ms=AFTER_US // 1000,
            )
        )
        process = spawn([sys.executable, "-m", "worker", "run", "--config", str(config)], log=log)
        self._workers.append(_Worker(number, process, port, log))
        return self._workers[-1]

    def look(self) -> None:
        """Notes who is ready.

        Raises:
            Unreachable: a worker ended by itself; with the end of its log.
        """
        for worker in self._workers:
            if worker.state == "killed":
                continue
            if worker.process.poll() is not None:
                end = worker.log.read_text(errors="replace")[-1500:]
                raise Unreachable(f"worker {worker.number} ended with {worker.process.returncode}:\n{end}")
            if worker.state == "starting" and _ready(worker.port):
                worker.state = "ready"

    def kill(self) -> int:
        """SIGKILL to the first worker, and a new one in its place; the number of the killed one."""
        first = next(worker for worker in self._workers if worker.state != "killed")
        first.process.kill()
        first.process.wait()
        first.state = "killed"
        self._spawn()
        return first.number

    def states(self) -> Mapping[int, str]:
        """What each worker is doing."""
        return {worker.number: worker.state for worker in self._workers}

    def pages(self) -> list[str]:
        """Where those that live show themselves."""
        return [f"http://127.0.0.1:{worker.port}/" for worker in self._workers if worker.state != "killed"]

    def pids(self) -> list[int]:
        """The processes of those that live."""
        return [worker.process.pid for worker in self._workers if worker.state != "killed"]

    def metrics(self) -> dict[str, str]:
        """Address of each ready worker's metrics, with what they say."""
        found = {}
        for worker in self._workers:
            if worker.state == "ready":
                url = f"http://127.0.0.1:{worker.port}/metrics"
                with urllib.request.urlopen(url, timeout=5) as answer:
                    found[url] = answer.read().decode()
        return found

    def stop(self) -> list[int]:
        """SIGTERM to all; their exit codes."""
        living = [worker for worker in self._workers if worker.state != "killed"]
        for worker in living:
            worker.process.terminate()
        return [worker.process.wait(timeout=60) for worker in living]


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
