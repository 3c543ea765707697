"""What a preset makes of each kind of message that its program sends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.test_messages import STREAMS, all_of, preset, reading
from worker.feeds.messages.check import check
from worker.feeds.messages.translate import Translator
from worker.rules.expression import Expression


def test_an_onvif_event_says_what_it_is_about() -> None:
    """Two topics with a field of one name are told apart, and which line was crossed, which input was closed; each is
    a word that a rule can ask for."""
    told = [
        ("VideoSource/MotionAlarm", {"Source": "v1"}, {"State": "true"}),
        ("VideoSource/ImageTooDark/ImagingService", {"Source": "v1"}, {"State": "true"}),
        ("Device/Trigger/DigitalInput", {"InputToken": "door"}, {"LogicalState": "true"}),
        ("RuleEngine/LineDetector/Crossed", {"Rule": "left"}, {"ObjectId": "4"}),
        ("Maker/Own/Deep/Topic", {}, {"State": "1"}),
    ]
    name = "VideoSource_ImageTooDark_ImagingService"
    common = {"time": "2026-11-29T12:00:00+00:00", "operation": "Changed", "key": {}}
    events = all_of(
        preset("onvif", "onvif"),
        *((f"gate/{at}", json.dumps(common | {"source": source, "data": data})) for at, source, data in told),
    )
    assert [reading(one) for one in events] == [
        {"VideoSource_MotionAlarm_source_Source": "v1", "VideoSource_MotionAlarm_data_State": "true"},
        {f"{name}_source_Source": "v1", f"{name}_data_State": "true"},
        {
            "Device_Trigger_DigitalInput_source_InputToken": "door",
            "Device_Trigger_DigitalInput_data_LogicalState": "true",
        },
        {"RuleEngine_LineDetector_Crossed_source_Rule": "left", "RuleEngine_LineDetector_Crossed_data_ObjectId": 4},
        {"Maker/Own/Deep/Topic_data_State": 1},
    ]
    assert [one.attributes["onviftopic"] for one in events] == [at for at, _, _ in told]
    asked = {name for one in events[:4] for name in reading(one)}
    assert all(Expression(f"inputs.gates.{name} != null", {"gates": "sensor"}) for name in asked)


def test_frigate_tells_which_model_and_what_moves() -> None:
    """An attribute says nothing without its model; motion is a reading of its camera."""
    told = {"type": "classification", "id": "1-a", "camera": "door", "timestamp": 1_767_268_800.25}
    told |= {"model": "helmet", "attribute": "yes", "score": 0.9}
    events = all_of(
        preset("mqtt", "frigate"),
        ("frigate/tracked_object_update", json.dumps(told)),
        ("frigate/door/motion", "ON"),
        ("frigate/door/motion", "OFF"),
    )
    assert [(one.key, reading(one)) for one in events] == [
        ("door", {"model": "helmet", "attribute": "yes", "recognised_score": 0.9}),
        ("door", {"motion": "ON"}),
        ("door", {"motion": "OFF"}),
    ]


KNOWN = {
    "frigate": ("available", "stats", "camera_activity", "door/review_status", "door/person", "yard/all/active",
                "door/status/detect", "door/detect/state", "door/motion/set", "door/audio/state"),
    "homeassistant": ("status", "light/hall/last_changed", "light/hall/brightness", "sensor/node/object/config"),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_what_a_program_sends_beside_is_known_and_makes_no_event(tmp_path: Path, name: str) -> None:
    """A sample of all its topics is checked without a fault."""
    sample, lines, mapping = tmp_path / "sample", list[str](), preset("mqtt", name)
    sample.write_text("".join(f"{name}/{topic} online\n" for topic in KNOWN[name]))
    assert check(mapping, Translator(mapping, STREAMS, "/test"), sample, lines.append) == 0
    assert [line.endswith(": makes no event") for line in lines] == [True] * len(KNOWN[name])
