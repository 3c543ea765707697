"""A seeded road junction: camera frames and spoken reports in which neither alone tells what goes on.

The camera tells a full road from an empty one. The report tells a calm voice from an alarm. Only both tell the label:

| | calm | alarm |
|---|---|---|
| empty | free_flow | emergency |
| full | congestion | accident |
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image, ImageDraw

from worker.feeds.story import FeedEvent, one_of, times, with_a_letter_lost
from worker.feeds.wordings import wording_of

LABELS = ("free_flow", "congestion", "accident", "emergency")
STREAMS = {"frames": "image", "texts": "text"}
_TYPES = {"frames": ("junction.frame.v1", "image/jpeg"), "texts": ("junction.report.v1", "text/plain")}
_FULL = {"free_flow": False, "congestion": True, "accident": True, "emergency": False}
_ALARM = {"free_flow": False, "congestion": False, "accident": True, "emergency": True}

WIDTH, HEIGHT = 320, 240  # pixels; 12 to 20 KB as JPEG
JPEG_QUALITY = 80

# A report keeps this distance from a change of the state, so that any frame within 500 ms shows the same state.
_SETTLED_US = 800_000
_DARK, _DIM = 0.6, 0.85  # Exposures below which a scene is dark, or dim.
_STATE_US = (4_000_000, 9_000_000)

_CALM = (
    "signals normal at the {place}",
    "nothing to report from the {place}",
    "regular cycle, all lanes open at the {place}",
    "routine check of the {place}, all quiet",
    "patrol reports a usual {hour} at the {place}",
    "lights work as planned at the {place}",
)
_ALARM_TEXTS = (
    "loud bang heard near the {place}",
    "callers report a collision or siren at the {place}",
    "siren near the {place}, help is called for",
    "blue lights seen close to the {place}",
    "urgent: someone may be hurt at the {place}",
    "alarm raised at the {place}, units are sent",
)
_PLACES = ("north arm", "south arm", "east arm", "west arm", "bus stop", "crossing", "left lane", "roundabout exit")
_HOURS = ("morning", "noon", "evening", "night")
CARS = ((196, 40, 40), (40, 70, 180), (230, 230, 230), (30, 30, 30), (150, 150, 155), (200, 170, 60), (40, 120, 70))


@dataclass(frozen=True, slots=True)
class Scene:
    """One moment of a junction: a JPEG frame, a report, what goes on, and by which light: dark, dim or bright."""

    image: bytes
    text: str
    label: str
    light: str


def scene(rng: np.random.Generator, label: str | None = None) -> Scene:
    """A scene of this label, or of any."""
    label = label or one_of(rng, LABELS)
    image, exposure = _frame(rng, label)
    light = "dark" if exposure < _DARK else "dim" if exposure < _DIM else "bright"
    return Scene(image, report(rng, label), label, light)


def junction_events(
    seed: int, junctions: int, seconds: float, frames_per_second: float = 5.0, texts_per_second: float = 1.0
) -> Iterator[FeedEvent]:
    """Frames and texts of all junctions (keys `junction-N`), in the order of event time; the same for the same seed.

    Texts are of sentences that no model of ours was trained on.
    """
    streams = (
        _junction(np.random.default_rng([seed, number]), number, seconds, frames_per_second, texts_per_second)
        for number in range(1, junctions + 1)
    )
    return heapq.merge(*streams, key=lambda event: (event.time_us, event.key, event.stream, event.id))


def _junction(
    rng: np.random.Generator, number: int, seconds: float, frames_per_second: float, texts_per_second: float
) -> Iterator[FeedEvent]:
    key, end = f"junction-{number}", int(seconds * 1e6)
    moments = sorted(
        [(int(t), "frames") for t in times(rng, end, frames_per_second)]
        + [(int(t), "texts") for t in times(rng, end, texts_per_second)]
    )
    since, label = 0, one_of(rng, LABELS)
    until = since + int(rng.integers(*_STATE_US))
    counts = {"frames": 0, "texts": 0}
    for time_us, stream in moments:
        while time_us >= until:
            since, label = until, one_of(rng, LABELS)
            until = since + int(rng.integers(*_STATE_US))
        if stream == "texts" and not since + _SETTLED_US <= time_us <= until - _SETTLED_US:
            continue
        counts[stream] += 1
        event_id = f"{key}-{stream[0]}{counts[stream]:06d}"
        if stream == "frames":
            yield FeedEvent(time_us, stream, key, event_id, *_TYPES[stream], frame(rng, label), label)
        else:
            text = wording_of(rng, label, "test")
            yield FeedEvent(time_us, stream, key, event_id, *_TYPES[stream], text.encode(), label)


def report(rng: np.random.Generator, label: str) -> str:
    """A sentence that tells calm from alarm, with a letter lost now and then."""
    sentence = one_of(rng, _ALARM_TEXTS if _ALARM[label] else _CALM)
    text = sentence.format(place=one_of(rng, _PLACES), hour=one_of(rng, _HOURS))
    return with_a_letter_lost(rng, text) if rng.random() < 0.2 else text


def frame(rng: np.random.Generator, label: str) -> bytes:
    """A JPEG that tells a full road from an empty one, by day or night, through noise."""
    return _frame(rng, label)[0]


def _frame(rng: np.random.Generator, label: str) -> tuple[bytes, float]:
    """The JPEG, and its exposure."""
    image = Image.new("RGB", (WIDTH, HEIGHT), shade(rng, (96, 128, 80)))
    draw = ImageDraw.Draw(image)
    middle = (WIDTH / 2 + rng.uniform(-25, 25), HEIGHT / 2 + rng.uniform(-20, 20))
    angle, width = rng.uniform(-0.35, 0.35), rng.uniform(44, 60)
    for turn in (0.0, np.pi / 2):
        _road(draw, middle, angle + turn, width, shade(rng, (84, 84, 88)))
    cars = int(rng.integers(11, 19)) if _FULL[label] else int(rng.integers(0, 5))
    for _ in range(cars):
        turn = angle + (np.pi / 2 if rng.random() < 0.5 else 0.0)
        _car(draw, rng, middle, turn, width)
    return _exposed(rng, image)


def photograph(rng: np.random.Generator, image: Image.Image) -> bytes:
    """A JPEG of it, by day or night, through noise."""
    return _exposed(rng, image)[0]


def _exposed(rng: np.random.Generator, image: Image.Image) -> tuple[bytes, float]:
    """As `photograph`, and the part of the light that it was taken by."""
    light = rng.uniform(0.35, 1.1)
    pixels = np.asarray(image, np.float32) * light + rng.normal(0, rng.uniform(2, 7), (HEIGHT, WIDTH, 1))
    encoded: bytes = simplejpeg.encode_jpeg(np.clip(pixels, 0, 255).astype(np.uint8), quality=JPEG_QUALITY)
    return encoded, light


def shade(rng: np.random.Generator, colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """The colour, a little lighter or darker."""
    red, green, blue = (int(np.clip(part + rng.integers(-18, 19), 0, 255)) for part in colour)
    return red, green, blue


def _road(
    draw: ImageDraw.ImageDraw, middle: tuple[float, float], angle: float, width: float, colour: tuple[int, int, int]
) -> None:
    draw.polygon(box(middle, angle, 2 * WIDTH, width), fill=colour)
    for along in range(-WIDTH, WIDTH, 24):
        draw.polygon(box(_at(middle, angle, along, 0.0), angle, 12, 2), fill=(210, 210, 200))


def _car(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, middle: tuple[float, float], angle: float, width: float
) -> None:
    lane = (1 if rng.random() < 0.5 else -1) * width / 4
    place = _at(middle, angle, rng.uniform(-130, 130), lane + rng.uniform(-3, 3))
    turned, length = angle + rng.uniform(-0.08, 0.08), rng.uniform(20, 30)
    draw.polygon(box(place, turned, length, 12), fill=CARS[int(rng.integers(len(CARS)))])
    draw.polygon(box(_at(place, turned, length / 6, 0.0), turned, 5, 9), fill=(60, 80, 95))


def _at(middle: tuple[float, float], angle: float, along: float, across: float) -> tuple[float, float]:
    """The point that lies so far along and across a line through `middle`."""
    cos, sin = np.cos(angle), np.sin(angle)
    return middle[0] + along * cos - across * sin, middle[1] + along * sin + across * cos


def box(middle: tuple[float, float], angle: float, length: float, width: float) -> list[tuple[float, float]]:
    """The corners of what lies so far around `middle`, turned by `angle` (radians)."""
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return [_at(middle, angle, a * length / 2, b * width / 2) for a, b in signs]
