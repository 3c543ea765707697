"""What a preset makes of each kind of message that its program sends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.test_messages import STREAMS, all_of, preset, reading
from worker.feeds.messages.check import check
from worker.feeds.messages.translate import Translator


def test_an_onvif_event_says_what_it_is_about() -> None:
    """Two topics with a field of one name are told apart, and which line was crossed, which input was closed; what
    stands in no part of it is no field."""
    told = [
        ("VideoSource/MotionAlarm", {"Source": "v1"}, {"State": "true"}),
        ("VideoSource/ImageTooDark/ImagingService", {"Source": "v1"}, {"State": "true"}),
        ("Device/Trigger/DigitalInput", {"InputToken": "door"}, {"LogicalState": "true"}),
        ("RuleEngine/LineDetector/Crossed", {"Rule": "left"}, {"ObjectId": "4"}),
    ]
    common = {"time": "2026-11-29T12:00:00+00:00", "operation": "Changed", "key": {}}
    events = all_of(
        preset("onvif", "onvif"),
        *((f"gate/{at}", json.dumps(common | {"source": source, "data": data})) for at, source, data in told),
    )
    assert [reading(one) for one in events] == [
        {"VideoSource/MotionAlarm_source_Source": "v1", "VideoSource/MotionAlarm_data_State": "true"},
        {f"{told[1][0]}_source_Source": "v1", f"{told[1][0]}_data_State": "true"},
        {f"{told[2][0]}_source_InputToken": "door", f"{told[2][0]}_data_LogicalState": "true"},
        {f"{told[3][0]}_source_Rule": "left", f"{told[3][0]}_data_ObjectId": 4},
    ]


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
