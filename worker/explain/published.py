"""The output topic -> the result that was published for an anchor, and how it differs from the rebuilt one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.names import CE_ID
from worker.broker.log import LogReader
from worker.records import Event
from worker.stages.publish import result_id


@dataclass(frozen=True, slots=True)
class Published:
    """A result as consumers read it; `place` is its topic/partition/offset."""

    place: str
    body: Mapping[str, Any]


def find_result(log: LogReader, topic: str, anchor: Event, slack_us: int) -> Published | None:
    """The last result with the anchor's id, looked for from the anchor's record time less `slack_us` on.

    Two anchor records with one id have two results with one id: the one that names this record is preferred.
    """
    wanted = result_id(anchor.source, anchor.id).encode()
    found: list[Published] = []
    for record in log.between(topic, anchor.record.timestamp_ms - slack_us // 1000, None):
        if record.value is not None and (CE_ID, wanted) in record.headers:
            found.append(Published(record.place, json.loads(record.value)))
    own = [one for one in found if _names(one.body["inputs"].get(anchor.stream), anchor)]
    return next(reversed(own or found), None)


def _names(told: Any, anchor: Event) -> bool:
    record = anchor.record
    return isinstance(told, dict) and (told.get("partition"), told.get("offset")) == (record.partition, record.offset)


def differences(published: Mapping[str, Any], rebuilt: Mapping[str, Any]) -> list[str]:
    """What a consumer would notice, a line each; empty: label and inputs are the same."""
    lines = []
    if published["label"] != rebuilt["label"]:
        lines.append(f"label: published {_said(published)}, rebuilt {_said(rebuilt)}")
    before, now = published["inputs"], rebuilt["inputs"]
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            lines.append(f"{name}: published {_ids(before, name, published)}, rebuilt {_ids(now, name, rebuilt)}")
    return lines


def _said(body: Mapping[str, Any]) -> str:
    model = body["model"]
    return f"{body['label']} {body['score']:.2f} (model {model['name']} {model['version']})"


def _ids(inputs: Mapping[str, Any], name: str, body: Mapping[str, Any]) -> str:
    told = inputs.get(name)
    events = told if isinstance(told, list) else [told] if told else []
    if not events:
        return f"nothing ({body['missing'].get(name, 'no event in bounds')})"
    return ", ".join(f"{one['id']} at {one['topic']}/{one['partition']}/{one['offset']}" for one in events)
