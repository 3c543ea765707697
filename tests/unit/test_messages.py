"""Messages of other programs as events: each preset, joins, and whatever else may be in a message."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.test_feed_outlet import Lines
from worker.feeds.messages.bodies import Unusable
from worker.feeds.messages.joins import Joined, Joiner
from worker.feeds.messages.mapping import MessageMapping, mapping_of, preset_file, presets_of
from worker.feeds.messages.table import PAGE, page_with, section
from worker.feeds.messages.translate import Message, Translator
from worker.feeds.messages.values import time_us
from worker.feeds.outlet import LiveEvent

NOW_US = 1_795_956_280_000_000
STREAMS = {modality: (f"{modality}s", f"t.{modality}") for modality in ("image", "text", "sensor", "audio")}
_FIELDS = [
    "after",
    "id",
    "type",
    "camera",
    "frame_time",
    "label",
    "score",
    "last_seen",
    "state",
    "entity_id",
    "sensor",
    "object",
    "last_updated",
    "@timestamp",
    "sensorId",
    "objects",
    "description",
    "timestamp",
    "time",
    "data",
    "operation",
    "snapshot",
]
_TOPICS = [
    "frigate/events",
    "frigate/reviews",
    "frigate/c/person/snapshot",
    "frigate/c/audio/transcription",
    "frigate/c/audio/x",
    "frigate/tracked_object_update",
    "zigbee2mqtt/a/b",
    "zigbee2mqtt/a/availability",
    "homeassistant/a/b/state",
    "homeassistant/a/b/last_updated",
    "gate/RuleEngine/Motion",
]
_HALF = b'{"after": {"id": "x\\ud800", "camera": "c", "label": "l", "frame_time": 1.5e9}, "type": "new"}'
ALL = [(transport, name) for transport in ("mqtt", "kafka", "onvif") for name in presets_of(transport)]


def preset(transport: str, name: str) -> MessageMapping:
    return mapping_of(preset_file(transport, name))


def all_of(mapping: MessageMapping, *messages: tuple[str, str | bytes], step_us: int = 1000) -> list[LiveEvent]:
    """What becomes of messages that come one behind the other."""
    translator = Translator(mapping, STREAMS, "/test")
    joins = [rule.join for rule in mapping.rule if rule.join]
    joiner = Joiner({j.rule: [one for one in joins if one.rule == j.rule] for j in joins}, Lines())
    found: list[Joined] = []
    for number, (topic, payload) in enumerate(messages):
        at_us = NOW_US + number * step_us
        found += joiner.due(at_us)
        read = translator.read(Message(topic, payload.encode() if isinstance(payload, str) else payload, at_us))
        found += joiner.take(read) if read else ()
    found += joiner.due(2**62)
    return [
        translator.event(one.read, one.payloads, one.of)[0] for one in found if translator.has_stream(one.read.rule)
    ]


def reading(event: LiveEvent) -> Any:
    return json.loads(event.body)


def test_a_picture_belongs_to_the_last_event_of_its_camera_and_label() -> None:
    """Told before it or right behind it; of several objects it says so; of none it goes by its arrival."""
    frigate = preset("mqtt", "frigate")

    def seen(name: str, label: str = "person") -> tuple[str, str]:
        at = NOW_US / 1e6 - 1
        after = {"id": name, "camera": "c", "label": label, "frame_time": at, "snapshot": {"frame_time": at - 0.5}}
        return "frigate/events", json.dumps({"type": "new", "after": after})

    picture = "frigate/c/person/snapshot", b"\xff\xd8\xff one"
    [_, _, shot] = all_of(frigate, seen("a"), seen("b", "car"), picture)
    assert shot.attributes == {"clock": "device", "frigateevent": "a", "frigatelabel": "person"}
    assert shot.time_us == NOW_US - 1_500_000
    by_type = {one.type: one for one in all_of(frigate, picture, seen("a"))}
    assert by_type["frigate.snapshot"].attributes["frigateevent"] == "a"
    last = [one for one in all_of(frigate, seen("a"), seen("b"), picture) if one.type == "frigate.snapshot"]
    assert [(one.attributes["frigateevent"], one.attributes["joinedof"]) for one in last] == [("b", "2")]
    [_, late] = all_of(frigate, seen("a"), picture, step_us=11_000_000)
    assert late.attributes == {"clock": "arrival", "frigatelabel": "person"}
    again = all_of(frigate, seen("a"), picture, picture)
    assert (again[1].id, again[1].time_us) == (again[2].id, again[2].time_us)


def test_a_snapshot_that_is_no_picture_makes_no_event() -> None:
    """It would be the worker's dead letter."""
    frigate = preset("mqtt", "frigate")
    with pytest.raises(Unusable, match="8 bytes that are no JPEG and no PNG"):
        all_of(frigate, ("frigate/c/person/snapshot", b"notajpeg"))
    assert all_of(frigate, ("frigate/c/person/snapshot", b"\x89PNG one"))[0].content_type == "image/png"


def test_unavailable_is_said_and_a_number_is_a_number() -> None:
    """Home Assistant's states; the time is last_updated where it comes right behind, else the arrival."""
    home, at = preset("mqtt", "homeassistant"), "2026-11-29T10:44:39.123456+00:00"
    base = "homeassistant/sensor/kitchen"
    events = all_of(
        home, (f"{base}/state", "21.5"), (f"{base}/last_updated", at), (f"{base}/state", "unavailable"),
        (f"{base}/last_updated", at.replace(":39", ":40")), ("homeassistant/light/hall/state", "on"),
    )  # fmt: skip
    assert [reading(one) for one in events] == [
        {"sensor.kitchen": 21.5}, {"sensor.kitchen": "unavailable"}, {"light.hall": "on"},
    ]  # fmt: skip
    assert [one.attributes["clock"] for one in events] == ["device", "device", "arrival"]
    assert events[0].time_us == time_us(at, None)


def test_devices_of_zigbee2mqtt_in_every_form_of_last_seen() -> None:
    """A field is named after its device; commands and the bridge's own messages make no event; a state that is sent
    again is the same event; a clock that was never set is not believed."""
    zigbee = preset("mqtt", "zigbee2mqtt")
    seen = ("2026-11-29T12:00:00.250Z", "2026-11-29T13:00:00+01:00", 1_795_953_600_250)
    events = all_of(
        zigbee, *(("zigbee2mqtt/hall/lamp", json.dumps({"state": "ON", "color": {"x": 0.5}, "linkquality": 9,
                                                        "last_seen": at})) for at in seen),
        ("zigbee2mqtt/hall/lamp/set", '{"state": "ON"}'), ("zigbee2mqtt/bridge/state", '{"state":"online"}'),
        ("zigbee2mqtt/hall/lamp/availability", '{"state":"offline"}'), ("zigbee2mqtt/door/availability", "online"),
        ("zigbee2mqtt/door", '{"contact": false, "battery": null, "last_seen": "1970-01-01T00:00:00.000Z"}'),
    )  # fmt: skip
    assert [one.time_us - 1_795_953_600_000_000 for one in events[:3]] == [250_000, 0, 250_000]
    assert {one.attributes["clock"] for one in events[:3]} == {"device"}
    assert reading(events[0]) == {"hall/lamp_state": "ON", "hall/lamp_color_x": 0.5}
    assert [reading(one) for one in events[3:]] == [
        {"hall/lamp_availability": "offline"}, {"door_availability": "online"},
        {"door_contact": False, "door_battery": None},
    ]  # fmt: skip
    assert events[5].attributes == {"clock": "arrival"}
    same = all_of(zigbee, *(("zigbee2mqtt/door", json.dumps({"contact": True, "last_seen": seen[0]})) for _ in "12"))
    assert len({(one.id, one.time_us) for one in same}) == 1


def test_both_schemas_of_deepstream() -> None:
    """A frame with its objects counted; an object with its place."""
    deepstream = preset("kafka", "deepstream")
    minimal = {
        "version": "4.0", "id": "118", "@timestamp": "2026-11-29T12:00:00.250Z", "sensorId": "HWY_20",
        "objects": ["957|1834|150|1918|215|Vehicle|#|sedan|Bugatti|M|blue|CA 444|California|0.8", "1|2|3|4|5|Person"],
    }  # fmt: skip
    full = {
        "messageid": "75205036-04f0", "mdsversion": "1.0", "@timestamp": "2026-11-29T12:00:00.250Z",
        "place": {"id": "1"}, "sensor": {"id": "HWY_20", "type": "Camera"}, "event": {"id": "e", "type": "moving"},
        "object": {
            "id": "957", "speed": 31.5, "direction": 0.0, "vehicle": {"type": "sedan", "color": "blue"},
            "bbox": {"topleftx": 263, "toplefty": 176, "bottomrightx": 320, "bottomrighty": 258},
        },
    }  # fmt: skip
    [frame, thing] = all_of(deepstream, ("any", json.dumps(minimal)), ("any", json.dumps(full)))
    assert {"objects": 2, "vehicles": 1, "persons": 1, "cars": 0}.items() <= reading(frame).items()
    assert (frame.key, thing.key, thing.id) == ("HWY_20", "HWY_20", "75205036-04f0")
    assert {"speed": 31.5, "vehicle": "sedan", "left": 263, "event": "moving"}.items() <= reading(thing).items()


def test_a_clock_that_is_ahead_is_not_believed_and_an_empty_text_is_no_event() -> None:
    """The worker would refuse the one and the other; the first goes by its arrival, the second is left out."""
    translator = Translator(preset("mqtt", "frigate"), STREAMS, "/test")
    ahead = {"type": "lpr", "id": "1", "camera": "c", "timestamp": NOW_US / 1e6 + 60}
    read = translator.read(Message("frigate/tracked_object_update", json.dumps(ahead).encode(), NOW_US))
    assert read is not None
    with pytest.raises(Unusable, match="no field of its body"):
        translator.event(read, {})
    ahead["plate"] = "ABC"
    read = translator.read(Message("frigate/tracked_object_update", json.dumps(ahead).encode(), NOW_US))
    assert read is not None
    event, doubt = translator.event(read, {})
    assert (event.time_us, event.attributes["clock"], doubt) == (
        NOW_US,
        "arrival",
        "/timestamp is 60 s ahead of this clock",
    )
    silent = translator.read(Message("frigate/c/audio/transcription", b" ", NOW_US))
    assert silent is not None
    with pytest.raises(Unusable, match="there is no text"):
        translator.event(silent, {})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_FIELDS) | st.text(), inner, max_size=8)
    ),
    max_leaves=20,
)


@example(("mqtt", "frigate"), "frigate/events", _HALF)
@example(("mqtt", "zigbee2mqtt"), "zigbee2mqtt/plug", b'{"power": 1e999}')
@example(("mqtt", "zigbee2mqtt"), "zigbee2mqtt/plug", b'{"power": -1' + b"0" * 400 + b".5}")
@example(("mqtt", "zigbee2mqtt"), "zigbee2mqtt/plug", b'{"power": [{"a": 12E+0400}]}')
@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(ALL),
    st.sampled_from(_TOPICS),
    st.one_of(st.binary(), _JSON.map(lambda one: json.dumps(one).encode())),
)
def test_whatever_is_in_a_message_costs_that_one_alone(chosen: tuple[str, str], topic: str, payload: bytes) -> None:
    """It is an event that Kafka can be given, or none."""
    translator = Translator(preset(*chosen), STREAMS, "/test")
    with contextlib.suppress(Unusable):
        read = translator.read(Message(topic, payload, NOW_US, "key", "t/0/1"))
        if read is not None and translator.has_stream(read.rule):
            event, _ = translator.event(
                read, {"event": {"after": read.facts.payload}, "updated": payload.decode("latin-1")}
            )
            event.record()


def test_what_never_comes_is_not_waited_for() -> None:
    """After ten states whose last_updated did not come the next go at once, and it is told."""
    home, log = preset("mqtt", "homeassistant"), Lines()
    translator = Translator(home, STREAMS, "/test")
    joiner = Joiner({"updated": [rule.join for rule in home.rule if rule.join]}, log)
    gone = []
    for number in range(15):
        at_us = NOW_US + number * 2_000_000
        gone.append(len(list(joiner.due(at_us))))
        read = translator.read(Message("homeassistant/light/hall/state", b"on", at_us))
        assert read is not None
        gone.append(len(list(joiner.take(read))))
    assert gone[:20] == [0, 0, *[1, 0] * 9]
    assert gone[20:] == [1, 1, *[0, 1] * 4]
    assert log.said == ["nothing comes that these are joined to; they wait no more"]


@pytest.mark.parametrize(("transport", "name"), ALL)
def test_the_page_tells_each_preset_as_it_is(transport: str, name: str) -> None:
    """`python -m worker.feeds.messages.table` writes the page's tables."""
    assert section(transport, preset(transport, name)) in PAGE.read_text("utf-8")
    assert page_with(PAGE.read_text("utf-8")) == PAGE.read_text("utf-8")


def test_the_mapping_of_the_page_works(tmp_path: Path) -> None:
    """As it stands there: a time without a zone in the zone that is named, a list counted, a text that is a number."""
    file = tmp_path / "weather.toml"
    file.write_text(PAGE.read_text("utf-8").partition("```toml\n")[2].partition("```")[0], "utf-8")
    told = {
        "kind": "reading",
        "seq": 7,
        "at": "2026-01-01T13:00:00",
        "unit": "m/s",
        "wind": {"speed": "3.5"},
        "gusts": [1, 2],
    }
    [event] = all_of(
        mapping_of(file), ("garden/roof/data", json.dumps(told)), ("garden/roof/data", '{"kind": "hello"}')
    )
    assert (event.key, event.id, event.time_us, reading(event)) == (
        "roof", "roof-7", 1_767_268_800_000_000, {"wind": 3.5, "gusts": 2},
    )  # fmt: skip
    assert event.attributes == {"clock": "station", "clockerrorms": "1000", "unit": "m/s"}
