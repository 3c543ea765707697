"""Holds what was committed against what was fed: conservation, no double, order, the oracle's pairs, same bytes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from tests.story import Fed, echoed, nearest_frame
from tests.town import Town


@dataclass(frozen=True)
class Findings:
    """What may not be; each names its first cases."""

    lost: list[str]
    doubled: list[str]
    changed: list[str]
    disordered: list[str]

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))

    def __str__(self) -> str:
        return ", ".join(
            f"{len(found)} {field.name}" + (f" ({', '.join(found[:3])})" if found else "")
            for field in fields(self)
            for found in [getattr(self, field.name)]
        )


def findings(events: Sequence[Fed], made: Town) -> Findings:
    """Compares the town's results and dead letters with the events that were fed."""
    fed = {event.id for event in events if event.stream == "texts"}
    seen = Counter(_anchor(record) for record in made.raw)
    seen.update(dict(record.headers)["ce_id"].decode() for record in made.dead)
    wanted = nearest_frame(events)
    bodies = {event.id: event.body for event in events}
    return Findings(
        sorted(fed - seen.keys()),
        sorted(name for name, count in seen.items() if count > 1 or name not in fed),
        sorted(said for record in made.raw if (said := _wrong(json.loads(record.value), wanted, bodies))),
        _disordered(made.raw),
    )


def _anchor(record: Any) -> str:
    name: str = json.loads(record.value)["inputs"]["texts"]["id"]
    return name


def _wrong(result: dict[str, Any], wanted: dict[str, str | None], bodies: dict[str, bytes]) -> str:
    """What is not the oracle's frame, or not a verdict of this text with this frame (see EchoModel); else empty."""
    text, frame = result["inputs"]["texts"]["id"], result["inputs"].get("frames", {}).get("id")
    score = echoed(bodies[text], [(frame, bodies.get(frame, b""))] if frame else [])
    if frame == wanted[text] and result["score"] == score and result["complete"]:
        return ""
    return f"{text}: {frame} for {wanted[text]}, score {result['score']} for {score}, {result['missing'] or 'complete'}"


def _disordered(records: Sequence[Any]) -> list[str]:
    """Results that come before an earlier anchor's of their key."""
    last: dict[bytes, int] = {}
    found = []
    for record in records:
        offset = json.loads(record.value)["inputs"]["texts"]["offset"]
        if offset <= last.get(record.key, -1):
            found.append(_anchor(record))
        last[record.key] = offset
    return found


def content(records: Sequence[Any]) -> dict[str, tuple[bytes, bytes, list[Any]]]:
    """Anchor -> key, value and headers of its result, without the name of the group that made it."""
    return {_anchor(r): (r.key, r.value, sorted(h for h in r.headers if h[0] != "ce_source")) for r in records}


def undisturbed(made: Town, anchors: int) -> dict[str, tuple[bytes, bytes, list[Any]]]:
    """What one worker makes of the same topics in peace, under another group and into other topics."""
    with made.twin() as calm:
        calm.start()
        calm.read_until(lambda: len(calm.results) >= anchors)
        assert calm.stop() == [0]
        return content(calm.raw)
