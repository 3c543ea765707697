"""What tests of live feeds have in common."""

from __future__ import annotations

import subprocess
import sys
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from tests.prometheus_tools import wait_until
from tests.rtsp import number_of
from worker.broker.admin import NewTopic, create_topics
from worker.ops.metrics import PrometheusObserver


def tell_feed(observer: PrometheusObserver, turn: int) -> None:
    """What a busy feed tells."""
    observer.count("feed_sent_total", 4, stream="frames")
    observer.count("feed_dropped_total", stream="frames", reason="buffer_full")
    observer.gauge("feed_buffered_bytes", turn % 9, place="outlet")
    observer.gauge("feed_behind_seconds", turn % 3, place="outlet")
    observer.count("feed_clock_changes_total", key="junction-12", clock="arrival")


class Feeds:
    """A topic of frames, what is on it, and the feeds that write to it; all are ended at the end."""

    def __init__(self, stack: Any, folder: Path) -> None:
        self.topic = f"feed-{uuid.uuid4().hex[:8]}.frames"
        connection = {"bootstrap_servers": [stack.bootstrap_servers]}
        create_topics(connection, [NewTopic(self.topic, 1, 1)], 30.0)
        self._folder, self._address = folder, stack.bootstrap_servers
        self._reader = KafkaConsumer(**connection, group_id=None)
        self._reader.assign([TopicPartition(self.topic, 0)])
        self._reader.seek_to_beginning()
        self.frames: list[Frame] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """`feed video` with these arguments, as a process whose log is `self.log()`."""
        told = {
            "kafka.bootstrap_servers": self._address, "streams.frames.topic": self.topic, "log.format": "json",
        }  # fmt: skip
        pairs = [part for name, value in told.items() for part in ("--set", f"{name}={value}")]
        command = [sys.executable, "-m", "worker", "feed", "video", *arguments, *pairs]
        with self.path.open("ab") as log:
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        return self._processes[-1]

    def run(self, *arguments: str) -> int:
        """The same, to its end: its exit code."""
        return self.start(*arguments).wait(60)

    @property
    def path(self) -> Path:
        """Where the log is."""
        return self._folder / "feed.log"

    def log(self) -> str:
        """All that was said."""
        return self.path.read_text(encoding="utf-8") if self.path.exists() else ""

    def read(self) -> list[Frame]:
        """All frames that are on the topic by now."""
        for batch in self._reader.poll(timeout_ms=200).values():
            self.frames += [Frame.of(record) for record in batch]
        return self.frames

    def wait_for(self, count: int, seconds: float = 30) -> list[Frame]:
        """At least so many frames."""
        wait_until(lambda: len(self.read()) >= count, seconds, f"{count} frames; {self.log()[-2000:]}")
        return self.frames

    def close(self) -> None:
        """Ends what was started."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._reader.close()


@dataclass(frozen=True)
class Frame:
    """A frame's event."""

    number: int
    id: str
    key: str
    time_us: int
    body: bytes
    clock: str
    error_us: int
    arrived_us: int

    @staticmethod
    def of(record: Any) -> Frame:
        """As it lies on the topic."""
        told = {name: value.decode() for name, value in record.headers}
        at = datetime.fromisoformat(told["ce_time"])
        time_us = round((at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))
        return Frame(
            number_of(record.value), told["ce_id"], record.key.decode(), time_us, record.value, told["ce_clock"],
            int(told["ce_clockerrorms"]) * 1000, record.timestamp * 1000,
        )  # fmt: skip
