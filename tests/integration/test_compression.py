"""Topics and producers may use any codec; a batch that cannot be unpacked ends whoever reads it, at once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition, codec

from tests.story import Fed, headers_of, minutes_ago, nearest_frame, story
from tests.town import Town, town, verdicts
from worker.broker.log import LogReader
from worker.broker.reader import CommittedReader
from worker.broker.replay import Plan, replay
from worker.broker.source import KafkaSource
from worker.errors import Fatal, FusionError
from worker.records import Partition

CODECS = ["gzip", "snappy", "lz4", "zstd"]
# What the issue saw: minutes. A worker that reads a handful of records needs a start and a moment.
AT_ONCE_SECONDS = 45


def feed(made: Town, events: list[Fed], kind: str) -> None:
    """Produces as a camera with this codec does."""
    producer = KafkaProducer(bootstrap_servers=made.stack.bootstrap_servers, compression_type=kind, linger_ms=20)
    for event in events:
        topic = f"{made.name}.{event.stream}"
        producer.send(topic, key=event.key.encode(), value=event.body, headers=list(headers_of(event)))
    producer.flush()
    producer.close(timeout=5)


def committed(made: Town, stream: str) -> int | None:
    """What the group has committed for partition 0."""
    reader = KafkaConsumer(bootstrap_servers=made.stack.bootstrap_servers, group_id=made.name, enable_auto_commit=False)
    found = reader.committed(TopicPartition(f"{made.name}.{stream}", 0))
    reader.close()
    return None if found is None else int(found)


def test_every_codec_gives_the_pairs_of_none(stack: Any, tmp_path: Path) -> None:
    """One topic in which each batch has another codec, as when producers are changed one by one."""
    events = story(23, minutes_ago(2), 4, 20)
    with town(stack, tmp_path, {"texts": 1, "frames": 1}) as made:
        for n in range(8):
            feed(made, events[n * len(events) // 8 : (n + 1) * len(events) // 8], CODECS[n % 4])
        made.start()
        made.read_until(lambda: len(made.results) >= 80)
        assert made.stop() == [0]
        assert verdicts(made.results) == nearest_frame(events)


@pytest.mark.parametrize("stream", ["texts", "frames"])
def test_a_worker_without_the_codec_ends_at_once(
    stack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    """Exit 1, one line that says where and why, and the group's offset stays before the batch. (librdkafka brings its
    codecs with it.)"""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "lz4.py").write_text("raise ImportError('not installed')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(hidden), os.environ.get("PYTHONPATH", "")]))
    events = [event for event in story(29, minutes_ago(2), 2, 5) if event.stream == stream]
    with town(stack, tmp_path, {"texts": 1, "frames": 1}, kafka={"fetcher": "kafka-python"}) as made:
        feed(made, events, "lz4")
        (worker,) = made.start()
        assert worker.wait(AT_ONCE_SECONDS) == 1
        assert f"{made.name}.{stream}/0/0: the batch cannot be unpacked (UnsupportedCodecError: " in made.log()
        assert committed(made, stream) in (None, 0)


def test_every_reader_tells_the_place(stack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's source, also once the partition was paused; the log's readers, and `replay`."""
    connection = {"bootstrap_servers": [stack.bootstrap_servers]}
    with town(stack, tmp_path, {"texts": 1, "frames": 1}) as made:
        topic = f"{made.name}.dead"
        good, bad = story(31, minutes_ago(2), 1, 2)[:2]
        for event, kind in ((good, "gzip"), (bad, "lz4")):
            feed(made, [Fed(event.time_us, "dead", event.key, event.id, event.body)], kind)
        monkeypatch.setattr(codec, "lz4", None)
        options = {"group_id": made.name, "auto_offset_reset": "earliest", "max_poll_records": 500}
        source = KafkaSource(connection, options, [topic], lambda gone: None)
        plan = Plan(topic, (topic,), f"{made.name}-replay", 20.0, 5.0)
        log, reader, place = LogReader(connection), CommittedReader(connection, [topic]), Partition(topic, 0)
        readers: list[Callable[[], object]] = [
            lambda: source.poll(0.1),
            lambda: source.poll(0.1),
            lambda: list(log.records(place, 0, 2)),
            lambda: reader.read(0.1),
            lambda: replay(connection, plan, stages=["MODEL"], limit=None, dry_run=False, say=lambda line: None),
        ]
        for read in readers:
            assert f"{topic}/0/1: the batch cannot be unpacked" in str(first_error(read))
            source.pause([place])
            source.poll(0)
            source.resume([place])
        for each in (source, log, reader):
            each.close()  # type: ignore[attr-defined]


def first_error(read: Callable[[], object]) -> FusionError:
    """What the reader ends with."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            read()
        except Fatal as error:
            return error
    raise AssertionError("it reads on")
