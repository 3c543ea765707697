"""`fusion-worker feed onvif` at a camera's event service, to a real Kafka."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.messages import MessageFeeds
from tests.onvif_camera import onvif_camera

MOTION = "tns1:RuleEngine/CellMotionDetector/Motion"


def told(topic: str, **data: Any) -> dict[str, Any]:
    """A reading of this camera's only rule."""
    named = {f"RuleEngine_{topic}_data_{name}": value for name, value in data.items()}
    return {f"RuleEngine_{topic}_source_Rule": "MyMotion"} | named


MOVES, STILL = (told("CellMotionDetector_Motion", IsMotion=word) for word in ("true", "false"))


@pytest.fixture
def feeds(stack: Any, tmp_path: Path) -> Iterator[MessageFeeds]:
    """Topics of their own."""
    made = MessageFeeds(stack, tmp_path)
    yield made
    made.close()


def test_what_a_camera_tells_over_its_restart(feeds: MessageFeeds) -> None:
    """A change is a reading at the camera's time; the state at the subscription is none. A camera that loses its power
    is told once and asked again; a wrong password too, and neither holds the other up; no line has it."""
    with onvif_camera() as camera, onvif_camera() as other:
        feed = feeds.listening("onvif", f"gate={camera.url()}", f"yard={other.url('wr0ng-word')}")
        camera.say(MOTION, "2026-11-29T12:00:00Z", {"IsMotion": "false"}, "Initialized")
        camera.say(MOTION, "2026-11-29T12:00:01.250Z", {"IsMotion": "true"})
        camera.say("tns1:RuleEngine/CountAggregation/Counter", "2026-11-29T12:00:02Z", {"Count": "17"})
        feeds.wait_for(2)
        camera.stop()
        feeds.wait(lambda: "a camera's events are lost" in feeds.log() and "nobody listens there" in feeds.log())
        camera.start()
        feeds.wait(lambda: feeds.log().count('"listens"') == 2)
        camera.say(MOTION, "2026-11-29T12:00:09Z", {"IsMotion": "false"})
        feeds.wait_for(3)
        feed.send_signal(signal.SIGTERM)
        assert feed.wait(20) == 0
    motion, count, still = feeds.events
    assert (motion.key, motion.time, motion.reading) == ("gate", "2026-11-29T12:00:01.250000Z", MOVES)
    assert motion.attributes == {"clock": "device", "onviftopic": "RuleEngine/CellMotionDetector/Motion"}
    assert (count.reading, still.reading) == (told("CountAggregation_Counter", Count=17), STILL)
    assert feeds.log().count("user or password is wrong") == 1
    assert "wr0ng-word" not in feeds.log()


ODD = (
    "",
    '<wsnt:Message><tt:Message UtcTime="2026-11-29T12:00:00Z"/></wsnt:Message>',
    "<wsnt:Topic/><wsnt:Message/>",
    f"<wsnt:Topic>{MOTION}</wsnt:Topic>",
    f"<wsnt:Topic>{MOTION}</wsnt:Topic><wsnt:Message><tt:Other/></wsnt:Message>",
    f'<wsnt:Topic>{MOTION}</wsnt:Topic><wsnt:Message><tt:Message UtcTime="noon"/></wsnt:Message>',
)


def test_a_notification_that_lacks_something_costs_that_one_alone(feeds: MessageFeeds) -> None:
    """Some cameras leave out the topic, the message or what is in it; the next one is a reading."""
    with onvif_camera() as camera:
        feeds.listening("onvif", f"gate={camera.url()}")
        for inside in ODD:
            camera.say_xml(f"<wsnt:NotificationMessage>{inside}</wsnt:NotificationMessage>")
        camera.say(MOTION, "2026-11-29T12:00:01.250Z", {"IsMotion": "true"})
        feeds.wait(lambda: any(one.reading == MOVES for one in feeds.read()))
    assert "Traceback" not in feeds.log()


COUNTED = """
name = "joined"
[[rule]]
name = "counted"
topic = "{camera}/RuleEngine/Counter"
payload = "json"
skip = true
"""
WAITS = """
[[rule]]
name = "%s"
topic = "{camera}/RuleEngine/%s"
modality = "sensor"
type = "%s"
key = "{camera}"
id = "{digest}"
body = "/data"
join = { rule = "counted", on = "{camera}", equals = "{camera}", after = "%s" }
"""
JOINED = COUNTED + "".join(
    WAITS % (name, name, name, after) for name, after in (("soon", "100ms"), ("later", "3s"), ("last", "1h"))
)


def test_what_waits_for_another_message_is_an_event_without_it(feeds: MessageFeeds, tmp_path: Path) -> None:
    """When it has waited long enough, though its camera is lost meanwhile; what waits still when the feed is ended,
    then."""
    mapping = tmp_path / "joined.toml"
    mapping.write_text(JOINED)
    with onvif_camera() as camera:
        feed = feeds.listening("onvif", f"gate={camera.url()}", "--mapping", str(mapping))
        for name in ("last", "later", "soon"):
            camera.say(f"tns1:RuleEngine/{name}", "2026-11-29T12:00:00Z", {"ObjectId": "4"})
        assert [one.type for one in feeds.wait_for(1)] == ["soon"]
        camera.stop()
        assert [one.type for one in feeds.wait_for(2)] == ["soon", "later"]
        feed.send_signal(signal.SIGTERM)
        assert feed.wait(20) == 0
        assert [one.type for one in feeds.wait_for(3)] == ["soon", "later", "last"]


def test_an_address_that_is_none_is_one_line_and_2(feeds: MessageFeeds) -> None:
    """It names the source; the password in it is not told."""
    code, line = feeds.fails("onvif", "gate=rtsp://viewer:s3cret-word@127.0.0.1/x")
    assert (code, "SOURCE: gate: an ONVIF camera is http://" in line, "s3cret-word" in line) == (2, True, False)
