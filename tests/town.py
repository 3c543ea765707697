"""A town for tests: topics of its own on the stack, workers started and killed, results read."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from tests.producers import MAX_RECORD_BYTES, Producers
from tests.story import Fed, headers_of

LIVELINESS_SECONDS = 60.0
FETCHERS = ("librdkafka", "kafka-python")


class Worker(Protocol):
    """A worker's process: subprocess.Popen, or one that a nursery forked."""

    pid: int
    returncode: int

    def poll(self) -> int | None:
        """The exit code, or None while it lives."""

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended."""

    def send_signal(self, sig: int) -> None:
        """Sends a signal, unless it has ended."""

    def kill(self) -> None:
        """SIGKILL."""


def _started(path: Path, log: Path) -> Worker:
    with log.open("ab") as out:
        return subprocess.Popen([sys.executable, "-m", "tests.worker_process", str(path)], stdout=out, stderr=out)


class Town:
    """Topics, producers, workers and a reader, all with names of their own."""

    def __init__(self, stack: Any, folder: Path, partitions: Mapping[str, int], **settings: Any) -> None:
        self.name = f"t{uuid.uuid4().hex[:10]}"
        self.stack, self.folder = stack, folder
        self.cost_ms = settings.pop("cost_ms", 1.0)  # None: the real model
        self.mutant = settings.pop("mutant", None)
        self.lifetime_ms = settings.pop("lifetime_ms", None)  # None: the real one
        self.decodes = settings.pop("decodes", False)
        self._nursery = settings.pop("nursery", None)
        self._partitions = partitions
        self.settings = self._settings(settings)
        self.workers: list[Worker] = []
        self._turns = itertools.count(zlib.crc32(folder.name.encode()))
        self.results: list[dict[str, Any]] = []
        self.raw: list[Any] = []
        self.dead: list[Any] = []
        self._create_topics()
        self.producers = Producers(stack.bootstrap_servers)
        self._reader = self._open_reader()
        self._read_to: dict[TopicPartition, int] = {}

    def _settings(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        topic = f"{self.name}."
        settings: dict[str, Any] = {
            "kafka": {"bootstrap_servers": self.stack.bootstrap_servers, "group_id": self.name},
            "redis": {"url": self.stack.redis_url},
            "streams": {
                "texts": {"topic": topic + "texts", "modality": "text", "role": "anchor"},
                "frames": {"topic": topic + "frames", "modality": "image", "role": "context"},
            },
            "output": {"topic": topic + "fusions", "dead_letter_topic": topic + "dead"},
            "http": {"port": 0},
            "log": {"format": "json"},
        }
        for section, values in changes.items():
            for key, value in values.items():
                if isinstance(value, Mapping):
                    settings.setdefault(section, {}).setdefault(key, {}).update(value)
                else:
                    settings.setdefault(section, {})[key] = value
        return settings

    def _create_topics(self) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.stack.bootstrap_servers)
        wanted = {"texts": 4, "frames": 3, "fusions": 2, "dead": 1, **self._partitions}
        copies = getattr(self.stack, "replication", 1)
        sizes = {"max.message.bytes": str(MAX_RECORD_BYTES)}
        admin.create_topics([NewTopic(f"{self.name}.{t}", n, copies, topic_configs=sizes) for t, n in wanted.items()])
        admin.close()

    def _open_reader(self) -> Any:
        reader = KafkaConsumer(
            bootstrap_servers=self.stack.bootstrap_servers,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            group_id=None,
            fetch_max_wait_ms=50,
            reconnect_backoff_max_ms=1000,
        )
        out = self._partitions.get("fusions", 2)
        places = [TopicPartition(f"{self.name}.fusions", n) for n in range(out)]
        reader.assign([*places, TopicPartition(f"{self.name}.dead", 0)])
        reader.seek_to_beginning()
        return reader

    @contextlib.contextmanager
    def twin(self) -> Iterator[Town]:
        """Another group on the same input topics, with output topics of its own."""
        made = Town(
            self.stack, self.folder, self._partitions, cost_ms=self.cost_ms, nursery=self._nursery, **self.settings
        )
        try:
            made.settings["kafka"] = {**self.settings["kafka"], "group_id": made.name}
            names = {"topic": f"{made.name}.fusions", "dead_letter_topic": f"{made.name}.dead"}
            made.settings["output"] = {**self.settings["output"], **names}
            yield made
        finally:
            made.close()

    def feed(self, events: Sequence[Fed]) -> None:
        """Produces events as CloudEvents in binary mode, in the given order."""
        for event in events:
            self.send(event.stream, event.key, event.body, headers_of(event))
        self.flush()

    def send(self, stream: str, key: str | bytes | None, value: bytes | None, headers: Sequence[Any] = ()) -> None:
        """Produces one record as it is."""
        raw = key.encode() if isinstance(key, str) else key
        self.producers.send(f"{self.name}.{stream}", raw, value, headers)

    def flush(self) -> None:
        """Waits until Kafka has what was sent."""
        self.producers.flush()

    def start(self, count: int = 1) -> list[Worker]:
        """Starts workers."""
        new = [self._start() for _ in range(count)]
        self.workers += new
        return new

    def _start(self) -> Worker:
        """Unless the settings say which, workers read by one fetcher and the other in turn; a test's name says by which
        the first of them does, so that those with one worker have both among them."""
        fetcher = self.settings["kafka"].get("fetcher") or FETCHERS[next(self._turns) % len(FETCHERS)]
        path, log = self.folder / f"{self.name}-{fetcher}.json", self.folder / f"{self.name}.log"
        told = {name: getattr(self, name) for name in ("cost_ms", "mutant", "lifetime_ms", "decodes")}
        told["settings"] = {**self.settings, "kafka": {**self.settings["kafka"], "fetcher": fetcher}}
        path.write_text(json.dumps(told))
        return self._nursery.start(path, log) if self._nursery else _started(path, log)

    def kill(self, worker: Worker) -> None:
        """SIGKILL."""
        worker.kill()
        worker.wait(LIVELINESS_SECONDS)
        self.workers.remove(worker)

    def stop(self) -> list[int]:
        """SIGTERM to all, once they are so far that they hear it; their exit codes."""
        self.read_until(lambda: len(self.ports()) == len(self.workers))
        for worker in self.workers:
            worker.send_signal(signal.SIGTERM)
        codes = [worker.wait(timeout=30) for worker in self.workers]
        self.workers.clear()
        return codes

    def read(self, seconds: float = 0.2) -> None:
        """Takes what is committed by now, each place once: after a broker's restart a client may go back (KIP-320)."""
        for place, found in self._reader.poll(timeout_ms=int(seconds * 1000)).items():
            records = [record for record in found if record.offset >= self._read_to.get(place, 0)]
            self._read_to[place] = found[-1].offset + 1
            if place.topic.endswith(".dead"):
                self.dead += records
            else:
                self.raw += records
                self.results += [json.loads(record.value) for record in records]

    def read_until(self, done: Callable[[], bool], seconds: float = LIVELINESS_SECONDS) -> None:
        """Reads until the condition holds.

        Raises:
            AssertionError: it did not in time; with the end of the workers' log.
        """
        deadline = time.monotonic() + seconds
        while not done():
            dead = [worker.returncode for worker in self.workers if worker.poll() is not None]
            assert not dead, f"workers ended by themselves with {dead}: {self.log()}"
            assert time.monotonic() < deadline, f"{len(self.results)} results after {seconds:g} s: {self.log()}"
            self.read()

    def logs(self) -> str:
        """What a fresh reader finds in the topics, and what the group has committed: for a failure's message."""
        sizes = {"texts": 4, "frames": 3, "fusions": 2, "dead": 1, **self._partitions}
        places = [TopicPartition(f"{self.name}.{topic}", n) for topic, size in sizes.items() for n in range(size)]
        options = {
            "bootstrap_servers": self.stack.bootstrap_servers,
            "group_id": self.name,
            "enable_auto_commit": False,
        }
        told = []
        for isolation in ("read_committed", "read_uncommitted"):
            reader = KafkaConsumer(isolation_level=isolation, **options)
            reader.assign(places)
            ends, counts = reader.end_offsets(places), dict.fromkeys(places, 0)
            reader.seek_to_beginning()
            until = time.monotonic() + 3
            while time.monotonic() < until:
                for place, records in reader.poll(timeout_ms=200).items():
                    counts[place] += len(records)
            for place in places:
                committed = reader.committed(place, metadata=True)
                told.append(
                    f"{isolation} {place.topic}/{place.partition}: {counts[place]} of {ends[place]}, {committed}"
                )
            reader.close()
        return "\n".join(told)

    def ports(self) -> dict[int, int]:
        """The living workers' HTTP ports by their process ids, as far as their log names them."""
        path, found = self.folder / f"{self.name}.log", {}
        for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
            if '"listening"' in line:
                told = json.loads(line)
                found[told["pid"]] = told["port"]
        return {worker.pid: found[worker.pid] for worker in self.workers if worker.pid in found}

    def ask(self, path: str) -> dict[int, str]:
        """What each living worker answers to this path."""
        told = {}
        for pid, port in self.ports().items():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
                    told[pid] = answer.read().decode()
            except urllib.error.HTTPError as error:
                told[pid] = error.read().decode()
            except OSError as error:
                told[pid] = str(error)
        return told

    def metrics(self) -> str:
        """All that /metrics say, of all workers."""
        return "\n".join(self.ask("metrics").values())

    def states(self) -> str:
        """What each living worker says of itself, for a message."""
        wanted = r"fusion_(?:pending|oldest|unaccounted|consumer_lag|redis_reb|transactions_total|late).*"
        return "\n".join(
            f"{pid}: {ready}{re.findall(rf'^{wanted}', metrics, re.MULTILINE)}"
            for (pid, ready), metrics in zip(self.ask("readyz").items(), self.ask("metrics").values(), strict=False)
        )

    def log(self) -> str:
        """The end of the workers' log, without what the Kafka client says."""
        path = self.folder / f"{self.name}.log"
        lines = path.read_text(errors="replace").splitlines(keepends=True) if path.exists() else []
        return "".join(line for line in lines if not line.startswith('{"logger": "kafka.'))[-3000:]

    def close(self) -> None:
        """Ends everything."""
        for worker in list(self.workers):
            self.kill(worker)
        self.producers.close()
        self._reader.close()


@contextlib.contextmanager
def town(stack: Any, folder: Path, partitions: Mapping[str, int] | None = None, **settings: Any) -> Iterator[Town]:
    """A Town that is closed at the end."""
    made = Town(stack, folder, partitions or {}, **settings)
    try:
        yield made
    finally:
        made.close()


def verdicts(results: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """Text id -> matched frame's id, of every result."""
    return {r["inputs"]["texts"]["id"]: r["inputs"].get("frames", {}).get("id") for r in results}
