"""`fusion-worker feed mqtt` by a real broker (mosquitto) to a real Kafka, and what goes wrong between them."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from tests.messages import MessageFeeds
from tests.mosquitto import PASSWORD, USER, mosquitto
from tests.security.certificates import Authority
from worker.feeds.messages.command import sent_before

JPEG = b"\xff\xd8\xff\xe0" + b"picture" * 20


@pytest.fixture
def feeds(stack: Any, tmp_path: Path) -> Iterator[MessageFeeds]:
    """Topics of their own."""
    made = MessageFeeds(stack, tmp_path)
    yield made
    made.close()


def frigate_event(number: int = 0, **after: Any) -> str:
    """As Frigate documents `frigate/events`, shortened to what is looked at and some that is not."""
    at = time.time() + number / 1000
    told = {
        "id": f"{at:.6f}-mxklsc", "camera": "front_door", "frame_time": at, "label": "person",
        "snapshot": {"frame_time": at, "box": [415, 489, 528, 700], "area": 12728, "score": 0.77, "attributes": []},
        "sub_label": ["John Smith", 0.79], "top_score": 0.95, "false_positive": False, "start_time": at,
        "end_time": None, "score": 0.87890625, "area": 40096, "ratio": 1.25, "current_zones": ["yard", "driveway"],
        "has_clip": False, "active": True, "stationary": False, "position_changes": 2, **after,
    }  # fmt: skip
    return json.dumps({"type": "update", "before": told, "after": told})


def frigate_messages(event: str) -> list[tuple[str, str | bytes]]:
    """Those that Frigate documents, some broken or empty, of one object."""
    after = json.loads(event)["after"]
    plate = {"type": "lpr", "id": after["id"], "name": None, "plate": "123ABC", "score": 0.95, "camera": "drive"}
    review = {
        "id": "1718987129.308396-fqk5ka", "camera": "front_door", "severity": "alert",
        "data": {"detections": [after["id"], "x"], "objects": ["person", "car"], "zones": [], "audio": []},
    }  # fmt: skip
    described = {"type": "description", "id": after["id"], "description": "A man in a red coat."}
    return [
        ("frigate/events", event),
        ("frigate/front_door/person/snapshot", JPEG + b"2"),
        ("frigate/front_door/person/snapshot", b""),
        ("frigate/front_door/audio/transcription", "somebody is at the door"),
        ("frigate/front_door/audio/dBFS", "-31.2"),
        ("frigate/front_door/audio/state", "ON"),
        ("frigate/events", "{broken"),
        ("frigate/tracked_object_update", json.dumps(described)),
        ("frigate/tracked_object_update", json.dumps(plate | {"timestamp": after["frame_time"]})),
        ("frigate/reviews", json.dumps({"type": "end", "before": {}, "after": review})),
    ]


def test_frigate_tells_objects_pictures_and_words(feeds: MessageFeeds, tmp_path: Path) -> None:
    """Documented messages become readings, pictures joined to their event, and texts; times are Frigate's own where it
    tells any."""
    with mosquitto(tmp_path / "broker") as broker:
        feeds.listening("mqtt", "--preset", "frigate", host="127.0.0.1", port=broker.port)
        event = frigate_event()
        after = json.loads(event)["after"]
        broker.publish(*frigate_messages(event))
        feeds.wait_for(7)
    [seen] = feeds.of("frigate.event")
    assert seen.key == "front_door"
    assert seen.time == datetime.fromtimestamp(after["frame_time"], UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert seen.attributes == {"clock": "device", "frigateevent": after["id"], "frigatetype": "update"}
    expected = {"label": "person", "sub_label": "John Smith", "score": 0.87890625, "zones": 2, "zone": "yard"}
    assert expected.items() <= seen.reading.items()
    [picture] = feeds.of("frigate.snapshot")
    assert (picture.stream, picture.body, picture.time) == ("pictures", JPEG + b"2", seen.time)
    assert picture.attributes["frigateevent"] == after["id"]
    [words] = feeds.of("frigate.transcription")
    assert (words.stream, words.body.decode()) == ("texts", "somebody is at the door")
    assert words.attributes["clock"] == "arrival"
    [described] = feeds.of("frigate.description")
    assert (described.key, described.body.decode()) == ("front_door", "A man in a red coat.")
    assert [one.reading for one in feeds.of("frigate.sound")] == [{"dBFS": -31.2}]
    assert [one.reading["plate"] for one in feeds.of("frigate.recognised")] == ["123ABC"]
    [review] = feeds.of("frigate.review")
    assert review.reading == {"severity": "alert", "detections": 2, "objects": 2, "object": "person"}


def test_what_is_broken_empty_or_retained_is_told_and_counted(feeds: MessageFeeds, tmp_path: Path) -> None:
    """Once each, and the others go on; SIGTERM ends it when Kafka has all."""
    with mosquitto(tmp_path / "broker") as broker:
        broker.publish(("frigate/front_door/person/snapshot", JPEG), retain=True)
        feed = feeds.listening("mqtt", "--preset", "frigate", host="127.0.0.1", port=broker.port)
        broker.publish(*frigate_messages(frigate_event()))
        feeds.wait_for(7)
        feeds.wait(lambda: "retained messages are no new events" in feeds.log())
        counted = {
            line.partition("{")[2] for line in feeds.metrics().splitlines() if line.startswith("fusion_feed_dropped")
        }
        assert counted == {
            'reason="retained",stream="unknown"} 1.0', 'reason="malformed",stream="unknown"} 1.0',
            'reason="empty",stream="pictures"} 1.0',
        }  # fmt: skip
        assert feeds.log().count("the message is no JSON") == 1
        feed.send_signal(signal.SIGTERM)
        assert feed.wait(20) == 0
        assert "sent 7 events" in feeds.log()


def test_a_feed_that_is_killed_loses_nothing_and_makes_nothing_twice(feeds: MessageFeeds, tmp_path: Path) -> None:
    """QoS 1 is acknowledged when Kafka has the event: killed with events that Kafka does not have, it takes them again,
    and what was sent twice has the same id and time."""
    with mosquitto(tmp_path / "broker") as broker:
        told, sent = {"host": "127.0.0.1", "port": broker.port}, list[str]()
        for hang in (2, 1):
            feed = feeds.listening("mqtt", "--preset", "frigate", hang=hang, **told)
            many = [frigate_event(len(sent) + n) for n in range(100)]
            sent += many
            broker.publish(*(("frigate/events", one) for one in many))
            feeds.kill_hanging(feed)
        feeds.listening("mqtt", "--preset", "frigate", **told)
        after = [json.loads(one)["after"] for one in sent]
        ids = {f"{one['id']}-update-{one['frame_time']}" for one in after}
        feeds.wait(lambda: {one.id for one in feeds.read()} == ids)
        assert len({(one.id, one.time) for one in feeds.events}) == len(ids)


def test_what_kafka_has_and_the_broker_does_not_know_is_one_event(feeds: MessageFeeds, tmp_path: Path) -> None:
    """Killed between Kafka's acknowledgement and its own: what tells no time comes again with the time that it had, and
    so with the same id; the same sentence said again is another event."""
    with mosquitto(tmp_path / "broker") as broker:
        told = {"host": "127.0.0.1", "port": broker.port}
        feed = feeds.listening("mqtt", "--preset", "frigate", hang=-1, **told)
        broker.publish(("frigate/c/audio/transcription", "help"))
        feeds.wait_for(1)
        feeds.kill_hanging(feed)
        feeds.listening("mqtt", "--preset", "frigate", **told)
        feeds.wait_for(2)
        broker.publish(("frigate/c/audio/transcription", "help"))
        feeds.wait_for(3)
    first, again, another = feeds.events
    assert (first.id, first.time, first.attributes["clock"]) == (again.id, again.time, "arrival")
    assert first.id != another.id


def test_what_other_programs_write_to_a_stream_s_topic_is_passed_over(feeds: MessageFeeds) -> None:
    """Whatever is in their headers: a feed that looks for its own deliveries at its start would never start again."""
    topic, source = feeds.topics["texts"], "/fusion-worker/feeds/mqtt/frigate"
    own = [("ce_source", source.encode()), ("ce_delivery", b"7-ab"), ("ce_time", b"2026-11-29T12:00:00Z")]
    producer = KafkaProducer(**feeds.connection)
    for headers in ([("trace", b"\xff\xfe")], [*own, ("trace", b"\xff")]):
        producer.send(topic, value=b"x", headers=headers)
    producer.flush()
    producer.close()
    assert list(sent_before(feeds.connection, [topic], source)) == [("7-ab", 1_795_953_600_000_000)]


def test_a_broker_that_goes_away_is_told_once_and_asked_again(feeds: MessageFeeds, tmp_path: Path) -> None:
    """What is sent while the feed is away comes when it is back, with QoS 1; the broker's restart loses nothing."""
    with mosquitto(tmp_path / "broker") as broker:
        feed = feeds.listening("mqtt", "--preset", "frigate", host="127.0.0.1", port=broker.port)
        broker.stop()
        feeds.wait(lambda: "the MQTT broker is away" in feeds.log())
        broker.start()
        feeds.wait(lambda: feeds.log().count('"listens"') == 2)
        broker.publish(("frigate/events", frigate_event()))
        feeds.wait_for(1)
        feed.send_signal(signal.SIGTERM)
        assert feed.wait(20) == 0
        broker.publish(("frigate/front_door/audio/transcription", "said while nobody listened"))
        feeds.listening("mqtt", "--preset", "frigate", host="127.0.0.1", port=broker.port)
        feeds.wait_for(2)
        assert feeds.log().count("the MQTT broker is away") == 1


def test_a_wrong_password_is_one_line_and_3(feeds: MessageFeeds, tmp_path: Path) -> None:
    """And so is a topic that the user may not read, if the broker says so; a right one passes."""
    with mosquitto(tmp_path / "broker", users=True) as broker:
        told = {"host": "127.0.0.1", "port": broker.port, "username": USER}
        code, line = feeds.fails("mqtt", "--preset", "frigate", password="wr0ng-one", **told)
        assert (code, "refuses this user" in line, "wr0ng-one" in line) == (3, True, False)
        feed = feeds.listening("mqtt", "--preset", "frigate", password=PASSWORD, **told)
        feed.send_signal(signal.SIGTERM)
        assert feed.wait(20) == 0
    code, line = feeds.fails("mqtt", "--preset", "frigat", host="127.0.0.1")
    assert (code, "did you mean frigate?" in line) == (2, True)
    code, line = feeds.fails("mqtt", "--preset", "frigate")
    assert (code, "feeds.mqtt.host: must be given" in line) == (2, True)


def test_homes_of_home_assistant_and_zigbee2mqtt(feeds: MessageFeeds, tmp_path: Path) -> None:
    """Two feeds of one broker: what is unavailable is said; a state's time is its last_updated; of a device it is
    last_seen, and the same state again is the same event; a retained one is none."""
    seen = "2026-11-29T12:00:00+01:00"
    lamp = json.dumps({"state": "ON", "brightness": 215, "last_seen": seen, "linkquality": 9})
    with mosquitto(tmp_path / "broker") as broker:
        told = {"host": "127.0.0.1", "port": broker.port}
        broker.publish(("homeassistant/sensor/kitchen/state", "20.0"), ("zigbee2mqtt/lamp", lamp), retain=True)
        feeds.listening("mqtt", "--preset", "homeassistant", **told)
        feeds.listening("mqtt", "--preset", "zigbee2mqtt", "--key", "home", **told)
        for value, at in (("21.5", "2026-11-29T10:00:00.5+00:00"), ("unavailable", "2026-11-29T10:00:01.5+00:00")):
            broker.publish(
                ("homeassistant/sensor/kitchen/state", value), ("homeassistant/sensor/kitchen/last_updated", at),
                retain=True,
            )  # fmt: skip
        broker.publish(
            ("zigbee2mqtt/lamp", lamp), ("zigbee2mqtt/lamp", lamp), ("zigbee2mqtt/lamp/set", "{}"),
            ("zigbee2mqtt/lamp/availability", '{"state":"offline"}'),
        )  # fmt: skip
        feeds.wait_for(5)
    states = feeds.of("homeassistant.state")
    assert [(one.reading, one.time) for one in states] == [
        ({"sensor.kitchen": 21.5}, "2026-11-29T10:00:00.500000Z"),
        ({"sensor.kitchen": "unavailable"}, "2026-11-29T10:00:01.500000Z"),
    ]
    lamps = feeds.of("zigbee2mqtt.reading")
    assert {(one.id, one.time, one.body) for one in lamps} == {
        (lamps[0].id, "2026-11-29T11:00:00.000000Z", b'{"lamp_state":"ON","lamp_brightness":215}')
    }
    assert lamps[0].attributes == {"clock": "device", "clockerrorms": "1000"}
    assert [one.reading for one in feeds.of("zigbee2mqtt.availability")] == [{"lamp_availability": "offline"}]
    assert {one.key for one in feeds.events} == {"home"}


def test_while_kafka_is_slow_messages_wait_in_the_broker(feeds: MessageFeeds, tmp_path: Path) -> None:
    """The feed takes no more of QoS 1 than the broker's window; what happens is told, and the rest comes when another
    feed takes over."""
    with mosquitto(tmp_path / "broker", more=["max_inflight_messages 10"]) as broker:
        told = {"host": "127.0.0.1", "port": broker.port}
        feed = feeds.listening("mqtt", "--preset", "frigate", hang=1, **told)
        broker.publish(*(("frigate/c/audio/transcription", f"sentence {n}") for n in range(50)))
        feeds.kill_hanging(feed, lambda held: 0 < held <= 10 * len("sentence 49"))
        feeds.listening("mqtt", "--preset", "frigate", **told)
        feeds.wait_for(50)
        assert sorted(one.body.decode() for one in feeds.events) == sorted(f"sentence {n}" for n in range(50))


@pytest.mark.long
def test_tls_and_a_certificate_of_another_authority(feeds: MessageFeeds, tmp_path: Path) -> None:
    """The right one passes; another is one line and 3, a file that is none 2."""
    authority, other = Authority(tmp_path, "authority"), Authority(tmp_path, "other")
    pair = authority.sign("server")
    lines = [f"certfile {pair.certificate}", f"keyfile {pair.key}"]
    with mosquitto(tmp_path / "broker", more=lines) as broker:
        told = {"host": "localhost", "port": broker.port, "tls": "true"}
        feed = feeds.listening("mqtt", "--preset", "frigate", ca_file=str(authority.file), **told)
        feed.send_signal(signal.SIGTERM)
        assert feed.wait(20) == 0
        code, line = feeds.fails("mqtt", "--preset", "frigate", ca_file=str(other.file), **told)
        assert (code, "certificate is not accepted" in line) == (3, True)
        code, line = feeds.fails("mqtt", "--preset", "frigate", ca_file=str(tmp_path / "none.pem"), **told)
        assert (code, "feeds.mqtt.ca_file" in line) == (2, True)
