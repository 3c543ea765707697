"""Finds or fetches `prometheus` and `promtool`, and runs a Prometheus with the rules of deploy/prometheus.

`python -m tests.prometheus_tools` fetches them ahead of the tests.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "prometheus"
RULES = ROOT / "deploy" / "prometheus"

# The release that docker-compose.yml runs; Prometheus 3.5.0 is called v0.305.0 as a Go module.
GO_MODULE = "github.com/prometheus/prometheus/cmd/{name}@v0.305.0"

MISSING = "prometheus and promtool are missing and could not be fetched; install them: apt-get install prometheus"

# Seconds. A download of 19 MB takes 2 s here; a build from source takes minutes on two cores.
_FETCH_SECONDS, _BUILD_SECONDS = 120, 900


def find(name: str) -> Path:
    """The path of `prometheus` or `promtool`: from PATH, else from the cache, else fetched into the cache.

    Raises:
        FileNotFoundError: none of the ways worked; the message says what to install.
    """
    if found := shutil.which(name) or shutil.which(name, path=str(CACHE)):
        return Path(found)
    with _one_at_a_time():
        if not (CACHE / name).exists():
            _fetch()
    return CACHE / name


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch() -> None:
    for way in (_from_debian, _from_source):
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            found = way(Path(folder))
            if all(path.exists() for path in found):
                for path in found:
                    path.replace(CACHE / path.name)
                return
    raise FileNotFoundError(MISSING)


def _from_debian(folder: Path) -> Sequence[Path]:
    bin_folder = folder / "usr" / "bin"
    if shutil.which("apt-get") and shutil.which("dpkg"):
        if _run(["apt-get", "download", "prometheus"], folder) and os.geteuid() == 0:
            # A fresh container has no package lists; only root may fetch them.
            _run(["apt-get", "update"], folder)
            _run(["apt-get", "download", "prometheus"], folder)
        for package in folder.glob("prometheus_*.deb"):
            _run(["dpkg", "-x", package.name, "."], folder)
    return bin_folder / "prometheus", bin_folder / "promtool"


def _from_source(folder: Path) -> Sequence[Path]:
    names = ("prometheus", "promtool")
    if shutil.which("go"):
        modules = [GO_MODULE.format(name=name) for name in names]
        _run(["go", "install", *modules], folder, _BUILD_SECONDS, {**os.environ, "GOBIN": str(folder)})
    return [folder / name for name in names]


def _run(command: list[str], folder: Path, seconds: float = _FETCH_SECONDS, env: dict[str, str] | None = None) -> int:
    print(f"prometheus: {' '.join(command)}", flush=True)
    try:
        done = subprocess.run(command, cwd=folder, env=env, timeout=seconds, capture_output=True, check=False)
    except subprocess.TimeoutExpired:
        return 1
    return done.returncode


def wait_until(condition: Callable[[], T], seconds: float, what: str) -> T:
    """The condition's first true value.

    Raises:
        TimeoutError: it did not become true in time; the message says what was waited for.
    """
    end = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        pause.wait(0.05)


class Prometheus:
    """A running Prometheus."""

    def __init__(self, address: str, targets: Path) -> None:
        """`address`: host:port of its HTTP API; `targets`: the file that says what it scrapes."""
        self.address, self._targets = address, targets

    def watch(self, targets: Sequence[str], sinks: Sequence[str] = ()) -> None:
        """From now on, within a second, it scrapes these (host:port); sinks under a job of their own."""
        other = self._targets.with_suffix(".new")
        told = [{"targets": list(targets)}, {"targets": list(sinks), "labels": {"job": "fusion-sink"}}]
        other.write_text(json.dumps(told), encoding="utf-8")
        other.replace(self._targets)

    def get(self, path: str, **query: str) -> Any:
        """The `data` of an API answer.

        Raises:
            ValueError: Prometheus refused the query; the message is its own.
        """
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(json.load(error)["error"]) from error

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of an expression."""
        return list(self.get("query", query=expression)["result"])

    def numbers(self, expression: str) -> list[dict[str, Any]]:
        """The series of its answer that hold a number."""
        return [one for one in self.query(expression) if one["value"][1] != "NaN"]

    def ready(self) -> bool:
        """It answers."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


@contextlib.contextmanager
def serve(folder: Path, targets: Sequence[str], rules: Path | None = None) -> Iterator[Prometheus]:
    """A Prometheus on a free port, with the rules of deploy/prometheus or others, that scrapes `targets` each second.

    Guarantees: only the discovery and the intervals differ from the deployed configuration; the process ends with the
    block, and with this process.
    """
    config = yaml.safe_load((RULES / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "900ms", "evaluation_interval": "1s"}
    config["rule_files"] = [str(rules)] if rules else [str(RULES / name) for name in config["rule_files"]]
    job = next(one for one in config["scrape_configs"] if one["job_name"] == "fusion-worker")
    del job["dns_sd_configs"]
    job["file_sd_configs"] = [{"files": [str(folder / "targets.json")], "refresh_interval": "1s"}]
    config["scrape_configs"] = [job]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        str(find("prometheus")), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={address}", "--log.level=warn", "--enable-feature=exemplar-storage",
    ]  # fmt: skip
    server = Prometheus(address, folder / "targets.json")
    server.watch(targets)
    libc = ctypes.CDLL(None)
    with (folder / "log").open("wb") as log:
        # 1 is PR_SET_PDEATHSIG: a test run that is killed leaves no server behind.
        process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=lambda: libc.prctl(1, signal.SIGKILL))
    try:
        wait_until(lambda: server.ready() or process.poll() is not None, 30, "Prometheus ready")
        if process.poll() is not None:
            raise RuntimeError((folder / "log").read_text(encoding="utf-8"))
        yield server
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    print(find("prometheus"), find("promtool"))
