"""What a preset makes of each kind of message that its program sends."""

from __future__ import annotations

import json

from tests.unit.test_messages import all_of, preset, reading


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
