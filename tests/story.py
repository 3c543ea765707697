"""Events as a seed tells them, and the oracle's answer: which frame belongs to which text."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.unit.incoming import JPEG


@dataclass(frozen=True, order=True)
class Fed:
    """One event as it was produced."""

    time_us: int
    stream: str
    key: str
    id: str
    body: bytes = field(default=b"", compare=False)


def story(seed: int, start_us: int, keys: int, anchors_per_key: int, spacing_us: int = 400_000) -> list[Fed]:
    """Texts about every `spacing_us` and frames twice as often, per key, in the order of time."""
    rng = random.Random(seed)
    events = []
    for key in (f"junction-{number}" for number in range(keys)):
        for n in range(anchors_per_key):
            at = start_us + n * spacing_us + rng.randrange(0, spacing_us, 1000)
            events.append(Fed(at, "texts", key, f"{key}-t{n}", f"report {key} {n}".encode()))
        for n in range(2 * anchors_per_key + 2):
            at = start_us + n * spacing_us // 2 + rng.randrange(0, spacing_us // 2, 1000)
            events.append(Fed(at, "frames", key, f"{key}-f{n}", frame(f"{key}-f{n}", large=n % 3 > 0)))
    return sorted(events)


def frame(name: str, *, large: bool = True) -> bytes:
    """A JPEG of its own: what follows the end marker nobody reads. Of two in three Redis has a reference alone."""
    return JPEG + name.encode() * (2_000 // len(name) if large else 1)


def echoed(text: bytes, frames: Iterable[tuple[str, bytes]]) -> float:
    """The score by which EchoModel says which text it was given, and which frames: (id, body)."""
    return (sum(text) + sum(sum(name.encode()) + sum(body) for name, body in frames)) % 1000 / 1000


def nearest_frame(events: Sequence[Fed], before_us: int = 500_000, after_us: int = 500_000) -> dict[str, str | None]:
    """The oracle: text id -> id of the frame that CONTRACT section 5 picks."""
    frames: dict[str, list[Fed]] = {}
    for event in events:
        if event.stream == "frames":
            frames.setdefault(event.key, []).append(event)
    out: dict[str, str | None] = {}
    for text in (event for event in events if event.stream == "texts"):
        near = [
            (abs(f.time_us - text.time_us), f.time_us, f.id)
            for f in frames.get(text.key, [])
            if -before_us <= f.time_us - text.time_us <= after_us
        ]
        out[text.id] = min(near)[2] if near else None
    return out


def headers_of(event: Fed) -> list[tuple[str, bytes]]:
    """The CloudEvents headers of an event."""
    at = datetime.fromtimestamp(event.time_us // 1_000_000, UTC).replace(microsecond=event.time_us % 1_000_000)
    content = b"text/plain" if event.stream == "texts" else b"image/jpeg"
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", event.id.encode()),
        ("ce_source", b"/tests"),
        ("ce_type", b"test.event"),
        ("ce_time", at.isoformat().replace("+00:00", "Z").encode()),
        ("content-type", content),
    ]


def minutes_ago(minutes: float) -> int:
    """An event time in the past, to the second (us)."""
    return (int(time.time()) - int(minutes * 60)) * 1_000_000


def inside_a_minute(minutes: float) -> int:
    """An event time in the past (us), 10 s after a minute began: few keys are divided by minute, and edges left out."""
    return minutes_ago(minutes) // 60_000_000 * 60_000_000 + 10_000_000
