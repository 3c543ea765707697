"""What tests of `feed mqtt` and `feed kafka` have in common: topics of their own, the feeds, and the events."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from tests.prometheus_tools import wait_until
from worker.broker.admin import NewTopic, create_topics

MODALITIES = {"readings": "sensor", "texts": "text", "pictures": "image"}
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Told:
    """One event as it lies on a topic."""

    stream: str
    key: str
    id: str
    time: str
    type: str
    body: bytes
    attributes: dict[str, str]

    @property
    def reading(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


class MessageFeeds:
    """Topics of their own, what lies on them, and the feeds that write there; all are ended at the end."""

    def __init__(self, stack: Any, folder: Path) -> None:
        self.name, self.folder, self._address = f"feed-{uuid.uuid4().hex[:8]}", folder, stack.bootstrap_servers
        self.connection = {"bootstrap_servers": [stack.bootstrap_servers]}
        self.topics = {stream: f"{self.name}.{stream}" for stream in MODALITIES}
        create_topics(self.connection, [NewTopic(topic, 1, 1) for topic in self.topics.values()], 30.0)
        self._reader = KafkaConsumer(**self.connection, group_id=None)
        self._reader.assign([TopicPartition(topic, 0) for topic in self.topics.values()])
        self._reader.seek_to_beginning()
        self.events: list[Told] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self.path = folder / f"{self.name}.log"

    def arguments(self, kind: str, *arguments: str, **settings: Any) -> list[str]:
        """The command line of a feed; `settings`: of `[feeds.KIND]`."""
        told = {
            "kafka.bootstrap_servers": self._address, "kafka.group_id": self.name, "log.format": "json",
            "kafka.startup_timeout": "10s", **{f"feeds.{kind}.{name}": value for name, value in settings.items()},
        }  # fmt: skip
        config = self.folder / f"{self.name}.toml"
        config.write_text(
            "".join(
                f'[streams.{name}]\ntopic = "{self.topics[name]}"\nmodality = "{modality}"\n'
                + ('role = "anchor"\n' if modality == "text" else 'role = "context"\nmatch = "latest"\nbefore = "1m"\n'
                   'horizon = "2m"\n')
                for name, modality in MODALITIES.items()
            )
        )  # fmt: skip
        pairs = [part for name, value in told.items() for part in ("--set", f"{name}={value}")]
        return ["feed", kind, "--config", str(config), *pairs, *arguments]

    def start(self, kind: str, *arguments: str, hang: int = 0, **settings: Any) -> subprocess.Popen[bytes]:
        """A feed that runs; `hang`: it hangs when it writes to Kafka for that time."""
        module = ["tests.feed_process", "--hang", str(hang)] if hang else ["worker"]
        command = [sys.executable, "-m", *module, *self.arguments(kind, *arguments, **settings)]
        with self.path.open("ab") as log:
            self.processes.append(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log))
        return self.processes[-1]

    def listening(self, kind: str, *arguments: str, hang: int = 0, **settings: Any) -> subprocess.Popen[bytes]:
        """The same, once it listens."""
        before = self.log().count('"listens"')
        process = self.start(kind, *arguments, hang=hang, **settings)
        self.wait(lambda: self.log().count('"listens"') > before)
        return process

    def kill_hanging(self, process: subprocess.Popen[bytes], holds: Callable[[float], bool] | None = None) -> None:
        """SIGKILL, once an event has waited for Kafka for a second: all that would be acknowledged too early is.
        `holds`: what must be true of the bytes that the feed holds then."""
        self.wait(lambda: re.search(r"^fusion_feed_behind_seconds\S* [1-9]", self.metrics(), re.MULTILINE))
        if holds is not None:
            held = re.search(r"^fusion_feed_buffered_bytes\S* (\S+)", self.metrics(), re.MULTILINE)
            assert held is not None
            assert holds(float(held[1])), held[0]
        process.kill()
        process.wait()

    def fails(self, kind: str, *arguments: str, **settings: Any) -> tuple[int, str]:
        """A feed that ends: its exit code, and its line."""
        command = [sys.executable, "-m", "worker", *self.arguments(kind, *arguments, **settings)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        told = [line for line in ended.stderr.splitlines() if line.startswith("fusion-worker: ")]
        assert len(told) == 1, ended.stderr
        return ended.returncode, told[0]

    def log(self) -> str:
        """All that was said."""
        return self.path.read_text(encoding="utf-8") if self.path.exists() else ""

    def metrics(self) -> str:
        """Of the feed that was started last."""
        port = next(json.loads(line)["port"] for line in reversed(self.log().splitlines()) if '"listening"' in line)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
            return str(page.read().decode())

    def read(self) -> list[Told]:
        """All events that are there by now."""
        streams = {topic: stream for stream, topic in self.topics.items()}
        for batch in self._reader.poll(timeout_ms=100).values():
            for record in batch:
                headers = {name.removeprefix("ce_"): value.decode() for name, value in record.headers}
                own = {n: headers.pop(n) for n in ("id", "time", "type", "source", "specversion", "content-type")}
                told = (record.key.decode(), own["id"], own["time"], own["type"], record.value, headers)
                self.events.append(Told(streams[record.topic], *told))
        return self.events

    def wait_for(self, count: int, seconds: float = 30) -> list[Told]:
        """At least so many events."""
        self.wait(lambda: len(self.read()) >= count, seconds)
        return self.events

    def wait(self, true: Callable[[], Any], seconds: float = 30) -> Any:
        """Until it is true."""
        try:
            return wait_until(true, seconds, "what the test waits for")
        except TimeoutError as error:
            raise TimeoutError(f"{error}; {self.log()[-3000:]}") from error

    def of(self, kind: str) -> Sequence[Told]:
        """The events of a type."""
        return [one for one in self.events if one.type == kind]

    def close(self) -> None:
        """Ends what was started."""
        for process in self.processes:
            process.kill()
            process.wait()
        self._reader.close()
