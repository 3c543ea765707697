"""`fusion-worker feed`: what it says was sent is in Kafka, in time, and the same seed tells the same story."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from tests.town import Town, town
from worker.feeds.junction import junction_events


def fed(made: Town, folder: Path, *more: str) -> str:
    """Runs the command on the town's topics; what it said."""
    config = folder / "feed.toml"
    config.write_text(
        f'[kafka]\nbootstrap_servers = "{made.stack.bootstrap_servers}"\n'
        f'[streams.texts]\ntopic = "{made.name}.texts"\nmodality = "text"\nrole = "anchor"\n'
        f'[streams.frames]\ntopic = "{made.name}.frames"\nmodality = "image"\nrole = "context"\n'
    )
    command = [
        sys.executable,
        "-m",
        "worker",
        "feed",
        "--config",
        str(config),
        "--junctions",
        "2",
        "--seed",
        "4",
        *more,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout + done.stderr


def read(made: Town, stream: str, partitions: int) -> list[Any]:
    """All records of a topic, as they lie."""
    reader = KafkaConsumer(bootstrap_servers=made.stack.bootstrap_servers, group_id=None)
    places = [TopicPartition(f"{made.name}.{stream}", n) for n in range(partitions)]
    reader.assign(places)
    reader.seek_to_beginning()
    ends = reader.end_offsets(places)
    records: list[Any] = []
    while any(reader.position(place) < ends[place] for place in places):
        records += [record for batch in reader.poll(timeout_ms=500).values() for record in batch]
    reader.close()
    return records


def test_what_was_sent_is_there(stack: Any, tmp_path: Path) -> None:
    """Counts, bodies, keys and distances in time are those of the story; ids are unique."""
    story = list(junction_events(4, 2, 5.0, 4.0, 2.0))
    with town(stack, tmp_path) as made:
        said = fed(
            made, tmp_path, "--seconds", "5", "--frames-per-second", "4", "--texts-per-second", "2", "--speed", "0"
        )
        for stream, partitions in (("texts", 4), ("frames", 3)):
            records = read(made, stream, partitions)
            told = [event for event in story if event.stream == stream]
            assert sorted(record.value for record in records) == sorted(event.body for event in told)
            assert re.search(rf"\b{len(told)} {stream}", said)
            headers = [dict(record.headers) for record in records]
            assert len({one["ce_id"] for one in headers}) == len(told)
            at = sorted(datetime.fromisoformat(one["ce_time"].decode()).timestamp() for one in headers)
            assert abs((at[-1] - at[0]) - (told[-1].time_us - told[0].time_us) / 1e6) < 0.01


def test_the_same_seed_tells_the_same_story_under_other_ids(stack: Any, tmp_path: Path) -> None:
    """Two feeds never share an id, so the second is not taken for a repetition of the first."""
    with town(stack, tmp_path) as made:
        for _ in range(2):
            fed(made, tmp_path, "--seconds", "2", "--speed", "0")
        records = read(made, "texts", 4)
        bodies = sorted(record.value for record in records)
        assert bodies[::2] == bodies[1::2]
        assert len({dict(record.headers)["ce_id"] for record in records}) == len(records)
