"""Each kind of feed with each thing that goes wrong with its source: one clear line, and it goes on or ends."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from kafka import KafkaProducer

from tests.chaos.ground import jars
from tests.feeds import Feeds
from tests.messages import MessageFeeds
from tests.mosquitto import mosquitto
from tests.onvif_camera import onvif_camera
from tests.prometheus_tools import wait_until
from tests.rtsp import Server, draw, served
from tests.strangers import PAGE, REFUSAL, stranger
from worker.broker.admin import NewTopic, create_topics
from worker.demo.kafka import EmbeddedKafka

TESTS = Path(__file__).parents[1]
HERE = "integration/test_bad_sources.py"
VIDEO, MQTT, KAFKA, ONVIF = (f"integration/test_feed_{kind}.py" for kind in ("video", "mqtt", "kafka", "onvif"))
# Kind -> fault -> where it is tried, on the real counterpart. What a kind cannot have is not there.
WALK = {
    "video file": {
        "not there": f"{VIDEO}::test_a_file_that_is_no_video_ends_with_2",
        "malformed": f"{VIDEO}::test_a_file_that_is_no_video_ends_with_2",
        "broken stream": f"{HERE}::test_a_damaged_clip_and_a_folder_with_broken_pictures",
    },
    "folder": {
        "not there": "unit/test_feed_sources.py::test_what_is_wrong_with_sources_is_told_before_kafka_is_asked",
        "malformed": "unit/test_feed_pictures.py::test_what_is_broken_in_a_folder_costs_itself_alone",
        "broken stream": f"{HERE}::test_a_damaged_clip_and_a_folder_with_broken_pictures",
    },
    "device": {"not there": "unit/test_feed_pictures.py::test_a_device_that_is_no_camera_is_told"},
    "rtsp, http": {
        "wrong password": f"{VIDEO}::test_a_wrong_password_is_one_line_and_the_other_cameras_play",
        "dead host": f"{VIDEO}::test_a_wrong_password_is_one_line_and_the_other_cameras_play",
        "broken stream": f"{HERE}::test_a_camera_s_damaged_stream_goes_on",
        "gone": f"{VIDEO}::test_rtsp_gives_the_frames_of_the_file_at_their_distances",
        "malformed": f"{HERE}::test_what_is_no_camera_is_told_once_and_asked_until_it_is_one",
    },
    "mqtt": {
        "wrong password": f"{MQTT}::test_a_wrong_password_is_one_line_and_3",
        "dead host": f"{HERE}::test_presets_without_a_broker_at_first_and_with_malformed_messages",
        "gone": f"{MQTT}::test_a_broker_that_goes_away_is_told_once_and_asked_again",
        "malformed": f"{MQTT}::test_what_is_broken_empty_or_retained_is_told_and_counted",
        "malformed, by preset": f"{HERE}::test_presets_without_a_broker_at_first_and_with_malformed_messages",
    },
    "kafka": {
        "wrong password": "security/test_ways_in.py::test_a_feed_with_a_wrong_password_is_one_line_and_3",
        "dead host": f"{HERE}::test_a_kafka_that_is_not_there_is_one_line_and_3",
        "gone": f"{HERE}::test_kafka_goes_and_comes_back_under_a_preset",
        "malformed": f"{KAFKA}::test_states_of_home_assistant_over_a_kill",
        "malformed, by preset": f"{HERE}::test_kafka_goes_and_comes_back_under_a_preset",
    },
    "onvif": {
        "wrong password": f"{ONVIF}::test_what_a_camera_tells_over_its_restart",
        "dead host": f"{HERE}::test_what_is_no_onvif_camera_is_told_once_and_asked_until_it_is_one",
        "gone": f"{ONVIF}::test_what_a_camera_tells_over_its_restart",
        "malformed": f"{ONVIF}::test_a_notification_that_lacks_something_costs_that_one_alone",
    },
    "sumo": {"not there": "unit/test_sumo_junction.py::test_without_sumo_one_line_says_what_to_install"},
}


@pytest.mark.parametrize("place", sorted({place for faults in WALK.values() for place in faults.values()}))
def test_each_step_of_the_walk_is_there(place: str) -> None:
    """The table names tests that exist."""
    file, name = place.split("::")
    assert re.search(rf"^def {name}\(", (TESTS / file).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture
def feeds(stack: Any, tmp_path: Path) -> Iterator[Feeds]:
    """A topic of frames of its own."""
    made = Feeds(stack, tmp_path)
    yield made
    made.close()


@pytest.fixture
def messages(stack: Any, tmp_path: Path) -> Iterator[MessageFeeds]:
    """Topics of their own."""
    made = MessageFeeds(stack, tmp_path)
    yield made
    made.close()


def damage(clip: Path, first: int, last: int) -> Path:
    """The clip with the pictures from `first` to `last` made unreadable, all else as it was."""
    content = bytearray(clip.read_bytes())
    with av.open(str(clip)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        for packet in packets[first : last + 1]:
            assert packet.pos is not None
            # Behind the length and the kind of the unit, which say where the next one begins.
            begin, end = packet.pos + 6, packet.pos + packet.size
            content[begin:end] = bytes(0x55 for _ in range(begin, end))
    path = clip.with_name(f"damaged-{clip.name}")
    path.write_bytes(content)
    return path


def test_a_damaged_clip_and_a_folder_with_broken_pictures(feeds: Feeds, tmp_path: Path) -> None:
    """Both end with 0: what is whole is sent, and of the rest a line tells; no traceback."""
    clip = damage(draw(tmp_path / "clip.mp4", 4), 20, 25)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"no picture")
    draw(folder / "b.avi", 1, codec="mjpeg")
    assert feeds.run(f"clip={clip}", f"yard={folder}", "--speed", "0") == 0
    frames = feeds.wait_for(45)
    assert len([frame for frame in frames if frame.key == "yard"]) == 15
    whole = {frame.number for frame in frames if frame.key == "clip"}
    assert {*range(20), *range(30, 60)} <= whole
    assert feeds.log().count(f"{folder}/a.jpg: it cannot be decoded") == 1
    assert f"{clip}: it cannot be decoded" in feeds.log()
    assert "Traceback" not in feeds.log()


@pytest.mark.long
def test_a_camera_s_damaged_stream_goes_on(feeds: Feeds, tmp_path: Path) -> None:
    """From a real server: what cannot be decoded costs itself alone, and what comes after it is sent; no line is
    FFmpeg's."""
    with served(damage(draw(tmp_path / "clip.mp4", 20), 45, 60)) as server:
        feed = feeds.start(f"gate={server.url()}", "--hold", "0ms")
        feeds.wait_for(60)
        feeds.wait_for(1 + next(n for n, frame in enumerate(feeds.wait_for(120)) if frame.number > 75))
        feed.send_signal(signal.SIGTERM)
        assert feed.wait(20) == 0
    numbers = [frame.number for frame in feeds.read()]
    assert {*range(20, 45), *range(75, 90)} <= set(numbers)
    assert all(line.startswith(("{", "sent ")) for line in feeds.log().splitlines()), feeds.log()


@pytest.mark.long
def test_what_is_no_camera_is_told_once_and_asked_until_it_is_one(feeds: Feeds, tmp_path: Path) -> None:
    """Another program's server, a silent one, a wrong path, HTTP that asks for a password: a line each; where a camera
    comes up in place of one, its frames come."""
    with served(draw(tmp_path / "clip.mp4", 20)) as server, stranger(REFUSAL) as http, stranger() as silent:
        camera = Server(tmp_path / "clip.mp4")
        with stranger(PAGE) as camera.port:
            feed = feeds.start(
                f"later={camera.url()}", f"silent=rtsp://127.0.0.1:{silent}/x", f"http=http://joe:s3cret@127.0.0.1:{http}/x",
                f"path={server.url()[:-4]}lens", "--hold", "0ms",
            )  # fmt: skip
            for said in (
                "or the host does not answer as one", "no answer for 4 s", "user or password is wrong",
                "there is no such stream on that host",
            ):  # fmt: skip
                wait_until(lambda: said in feeds.log(), 20, said)  # noqa: B023
        camera.start()
        feeds.wait_for(5)
        camera.stop()
        feed.send_signal(signal.SIGTERM)
        assert feed.wait(20) == 0
    assert {frame.key for frame in feeds.frames} == {"later"}
    assert [feeds.log().count(f'"key": "{key}"') for key in ("silent", "http", "path")] == [1, 1, 1]
    assert "Traceback" not in feeds.log()
    assert "s3cret" not in feeds.log()


@pytest.mark.long
def test_presets_without_a_broker_at_first_and_with_malformed_messages(messages: MessageFeeds, tmp_path: Path) -> None:
    """A broker that is not there yet, and one that is silent, are told once and asked until they are there; what is no
    JSON or no text is left out, told and counted, by each preset in its own words; the next message is an event."""
    with mosquitto(tmp_path / "broker") as broker, stranger() as silent:
        broker.stop()
        told = {"host": "127.0.0.1", "port": broker.port}
        messages.start("mqtt", "--preset", "frigate", host="127.0.0.1", port=silent, timeout="1s")
        messages.start("mqtt", "--preset", "homeassistant", **told)
        messages.start("mqtt", "--preset", "zigbee2mqtt", **told)
        messages.wait(lambda: messages.log().count("the MQTT broker is away") == 3)
        assert "(no answer)" in messages.log()
        broker.start()
        messages.wait(lambda: messages.log().count('"listens"') == 2)
        broker.publish(
            ("zigbee2mqtt/lamp", "{broken"), ("zigbee2mqtt/lamp", b"\xff\xfe"), ("zigbee2mqtt/lamp", "[1, 2]"),
            ("homeassistant/sensor/kitchen/state", b"\xff\xfe"),
            ("zigbee2mqtt/lamp", '{"state": "ON"}'), ("homeassistant/sensor/kitchen/state", "21.5"),
        )  # fmt: skip
        messages.wait_for(2)
    assert [one.reading for one in messages.of("zigbee2mqtt.reading")] == [{"lamp_state": "ON"}]
    assert [one.reading for one in messages.of("homeassistant.state")] == [{"sensor.kitchen": 21.5}]
    assert messages.log().count("the MQTT broker is away") == 3
    lines = [json.loads(line) for line in messages.log().splitlines() if "a message is left out" in line]
    assert {line["topic"] for line in lines} == {"zigbee2mqtt/lamp", "homeassistant/sensor/kitchen/state"}
    assert "Traceback" not in messages.log()


def test_a_kafka_that_is_not_there_is_one_line_and_3(messages: MessageFeeds) -> None:
    """It names the address."""
    away = ("--set", "kafka.bootstrap_servers=127.0.0.1:9", "--set", "kafka.startup_timeout=1s")
    code, line = messages.fails("kafka", "--preset", "deepstream", "--from", "frames", *away)
    assert (code, "127.0.0.1:9" in line) == (3, True)


@pytest.mark.long
def test_kafka_goes_and_comes_back_under_a_preset(tmp_path: Path) -> None:
    """Killed and started again: told, and what was written before and after is there; what DeepStream did not mean is
    left out."""
    kafka = EmbeddedKafka(jars(), tmp_path)
    try:
        stack = type("Stack", (), {"bootstrap_servers": kafka.address})
        made = MessageFeeds(stack, tmp_path)
        source = f"{made.name}.source"
        create_topics(made.connection, [NewTopic(source, 1, 1)], 30.0)
        feed = made.listening("kafka", "--preset", "deepstream", "--from", source)
        write(kafka.address, source, b"{broken", b"\xff\xfe", b'{"another": "schema"}', seen(1))
        made.wait_for(1)
        assert 'reason="malformed",stream="unknown"} 2.0' in made.metrics()
        assert 'reason="unmapped",stream="unknown"} 1.0' in made.metrics()
        kafka.kill()
        made.wait(lambda: "Kafka gives no records; asked again" in made.log(), 60)
        kafka.start()
        write(kafka.address, source, seen(2))
        made.wait(lambda: {one.time[17:19] for one in made.read()} == {"01", "02"}, 60)
        feed.send_signal(signal.SIGTERM)
        assert feed.wait(20) == 0
        assert "Kafka gives records again" in made.log()
        assert made.log().count("a message is left out") == 2
        assert "Traceback" not in made.log()
        made.close()
    finally:
        kafka.stop()


def seen(second: int) -> bytes:
    """A frame of DeepStream's minimal schema."""
    told = {"id": str(second), "@timestamp": f"2026-11-29T12:00:{second:02}Z", "sensorId": "HWY_20", "objects": []}
    return json.dumps(told).encode()


def write(address: str, topic: str, *values: bytes) -> None:
    """As another program does."""
    producer = KafkaProducer(bootstrap_servers=address)
    for value in values:
        producer.send(topic, value=value)
    producer.flush()
    producer.close()


@pytest.mark.long
def test_what_is_no_onvif_camera_is_told_once_and_asked_until_it_is_one(messages: MessageFeeds) -> None:
    """Nobody, a router's page, one that is silent: a line each, without a traceback; the camera beside them is heard,
    and one that is switched on later too."""
    with onvif_camera() as camera, onvif_camera() as later, stranger(PAGE) as page, stranger() as silent:
        later.stop()
        feed = messages.start(
            "onvif", f"gate={camera.url()}", f"later={later.url()}", f"page=http://u:s3cret@127.0.0.1:{page}",
            f"silent=http://u:s3cret@127.0.0.1:{silent}",
        )  # fmt: skip
        messages.wait(lambda: '"listens"' in messages.log())
        camera.say("tns1:Device/Trigger/DigitalInput", "2026-11-29T12:00:00Z", {"LogicalState": "true"})
        messages.wait_for(1)
        for key in ("later", "page", "silent"):
            messages.wait(lambda: lost(messages, key), 60)  # noqa: B023
        later.start()
        messages.wait(lambda: messages.log().count('"listens"') == 2)
        later.say("tns1:Device/Trigger/DigitalInput", "2026-11-29T12:00:01Z", {"LogicalState": "false"})
        messages.wait_for(2)
        feed.send_signal(signal.SIGTERM)
        assert feed.wait(20) == 0
    assert [one.key for one in messages.events] == ["gate", "later"]
    assert [len(lost(messages, key)) for key in ("later", "page", "silent")] == [1, 1, 1], messages.log()
    assert "Traceback" not in messages.log()
    assert "s3cret" not in messages.log()


def lost(messages: MessageFeeds, key: str) -> list[str]:
    """What was said of a camera that is lost."""
    lines = [json.loads(line) for line in messages.log().splitlines() if line.startswith("{")]
    return [
        line["reason"]
        for line in lines
        if line["event"].startswith("a camera's events are lost") and line["key"] == key
    ]
