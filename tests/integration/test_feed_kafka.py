"""`fusion-worker feed kafka`: records of Home Assistant and DeepStream on a real Kafka, over kills and bad records."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from tests.messages import MessageFeeds
from worker.broker.admin import NewTopic, create_topics


@pytest.fixture
def feeds(stack: Any, tmp_path: Path) -> Iterator[MessageFeeds]:
    """Topics of their own, and one that another program writes to."""
    made = MessageFeeds(stack, tmp_path)
    create_topics(made.connection, [NewTopic(source(made), 2, 1)], 30.0)
    yield made
    made.close()


def source(feeds: MessageFeeds) -> str:
    """Where the other program writes to."""
    return f"{feeds.name}.source"


def write(feeds: MessageFeeds, records: Sequence[tuple[str, bytes | None]]) -> None:
    """As another program does."""
    producer = KafkaProducer(**feeds.connection)
    for key, value in records:
        producer.send(source(feeds), key=key.encode(), value=value)
    producer.flush()
    producer.close()


def state(number: int, value: str) -> tuple[str, bytes]:
    """As Home Assistant's integration Apache Kafka writes it: `State.as_dict` as JSON, the entity as key."""
    at = f"2026-11-29T12:{number // 60:02}:{number % 60:02}.123456+00:00"
    told = {
        "entity_id": "sensor.kitchen", "state": value, "attributes": {"unit_of_measurement": "°C"},
        "last_changed": at, "last_reported": at, "last_updated": at,
        "context": {"id": "01HKJ", "parent_id": None, "user_id": None},
    }  # fmt: skip
    return "sensor.kitchen", json.dumps(told).encode()


def test_states_of_home_assistant_over_a_kill(feeds: MessageFeeds) -> None:
    """`unavailable` is said; a broken record and an empty one are counted and told, and the others go on; killed before
    Kafka had the events, the feed reads them again, with the same ids and times; a key that is named is that of all."""
    arguments = ("--preset", "homeassistant", "--from", source(feeds), "--key", "home-1")
    values = ["21.5", "unavailable", "unknown", "on", *map(str, range(40))]
    write(feeds, [state(n, value) for n, value in enumerate(values)])
    write(feeds, [("sensor.kitchen", b"{broken"), ("sensor.kitchen", None)])
    feeds.kill_hanging(feeds.listening("kafka", *arguments, hang=1))
    feed = feeds.start("kafka", *arguments)
    feeds.wait_for(len(values))
    feeds.wait(lambda: 'reason="empty",stream="unknown"} 1.0' in feeds.metrics())
    assert 'reason="malformed",stream="unknown"} 1.0' in feeds.metrics()
    feed.send_signal(signal.SIGTERM)
    assert feed.wait(20) == 0
    told = sorted(feeds.events, key=lambda one: one.time)
    assert [one.reading["sensor.kitchen"] for one in told[:5]] == [21.5, "unavailable", "unknown", "on", 0]
    assert {one.key for one in told} == {"home-1"}
    assert told[0].time == "2026-11-29T12:00:00.123456Z"
    assert told[0].attributes == {"clock": "device", "unit": "°C"}
    feed = feeds.start("kafka", *arguments)
    write(feeds, [state(59, "1")])
    feeds.wait(lambda: any(one.time.startswith("2026-11-29T12:00:59") for one in feeds.read()))
    assert len(feeds.events) == len({one.id for one in feeds.events}) == len(values) + 1


def test_frames_of_deepstream_and_a_topic_that_is_not_there(feeds: MessageFeeds) -> None:
    """A frame is a reading of how many there are; a wrong topic is one line and 2."""
    frame = {
        "version": "4.0", "id": "118", "@timestamp": "2026-11-29T12:00:00.250Z", "sensorId": "HWY_20",
        "objects": ["957|1834|150|1918|215|Vehicle|#|sedan|Bugatti|M|blue|CA 444|California|0.8", "9|1|2|3|4|Person"],
    }  # fmt: skip
    write(feeds, [("", json.dumps(frame).encode()), ("", b'{"another": "schema"}')])
    feeds.start("kafka", "--preset", "deepstream", "--from", source(feeds))
    [seen] = feeds.wait_for(1)
    assert {"objects": 2, "vehicles": 1, "persons": 1}.items() <= seen.reading.items()
    assert (seen.key, seen.time) == ("HWY_20", "2026-11-29T12:00:00.250000Z")
    feeds.wait(lambda: "no rule of the mapping knows it" in feeds.log())
    code, line = feeds.fails("kafka", "--preset", "deepstream", "--from", "nowhere.at.all")
    assert (code, "topics that do not exist: nowhere.at.all" in line) == (2, True)
    code, line = feeds.fails("kafka", "--preset", "deepstream", "--from", feeds.topics["readings"])
    assert (code, "is the topic of a stream" in line) == (2, True)
