"""A step of a simulated junction -> what the camera above it sees, and what loops and radar measured."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image, ImageDraw

from worker.feeds.junction import CARS, HEIGHT, WIDTH, box, photograph, shade
from worker.feeds.sumo.trace import CENTRE, EMERGENCY, STEP_SECONDS, TRUCK, VIEW, Row, Trace

_SCALE = WIDTH / (2 * VIEW[0])  # Pixels a metre.
_ROAD = 12.8  # Metres: four lanes.
_TURNED = 0.7  # Radians by which a crashed vehicle lies across its lane.
_PERIOD_STEPS = round(1 / STEP_SECONDS)
_NAMES = ("north", "east", "south", "west")


def frame(rng: np.random.Generator, trace: Trace, step: int) -> bytes:
    """A JPEG of 320x240, north up."""
    image = Image.new("RGB", (WIDTH, HEIGHT), shade(rng, (96, 128, 80)))
    draw, middle = ImageDraw.Draw(image), (WIDTH / 2, HEIGHT / 2)
    for angle in (0.0, np.pi / 2):
        draw.polygon(box(middle, angle, 2 * WIDTH, _ROAD * _SCALE), fill=(84, 84, 88))
    for row in trace.vehicles(step):
        _vehicle(draw, row)
    return photograph(rng, image)


def reading(trace: Trace, second: int) -> bytes:
    """JSON of the second that ends then: per arm `count` and `occupied` (per cent) of the loops, `speed` (m/s, null for
    nobody) of the radar."""
    steps = slice((second - 1) * _PERIOD_STEPS, second * _PERIOD_STEPS)
    counts, occupied = trace.loops[steps].sum(axis=0)[:, 0], trace.loops[steps].mean(axis=0)[:, 1]
    told: dict[str, float | None] = {}
    for number, name in enumerate(_NAMES):
        speed = float(trace.radar[second * _PERIOD_STEPS - 1, number])
        told[f"{name}_count"] = int(counts[number])
        told[f"{name}_occupied"] = round(float(occupied[number]), 1)
        told[f"{name}_speed"] = None if np.isnan(speed) else round(speed, 1)
    return json.dumps(told).encode()


def step_of(time_us: int) -> int:
    """The step that a moment lies in."""
    return int(time_us / 1e6 / STEP_SECONDS)


def _vehicle(draw: ImageDraw.ImageDraw, row: Row) -> None:
    ahead = np.array([np.sin(row.heading), -np.cos(row.heading)])
    front = (np.array([row.x - CENTRE[0], CENTRE[1] - row.y])) * _SCALE + (WIDTH / 2, HEIGHT / 2)
    x, y = front - ahead * row.length * _SCALE / 2
    angle = float(np.arctan2(ahead[1], ahead[0])) + (_TURNED if row.crashed else 0.0)
    length, width = row.length * _SCALE, row.width * _SCALE
    colour = {TRUCK: (205, 205, 195), EMERGENCY: (250, 250, 250)}.get(row.kind) or CARS[row.kind % len(CARS)]
    draw.polygon(box((x, y), angle, length, width), fill=colour)
    if row.kind == EMERGENCY:
        draw.polygon(box((x, y), angle, length / 4, width + 2), fill=(40, 60, 255))
    elif row.kind != TRUCK:
        draw.polygon(
            box((x + ahead[0] * length / 6, y + ahead[1] * length / 6), angle, 2, width - 1), fill=(60, 80, 95)
        )
    if row.crashed:
        for along in (-length / 2, length / 2):
            draw.ellipse(_dot(x + np.cos(angle) * along, y + np.sin(angle) * along), fill=(255, 170, 0))


def _dot(x: float, y: float) -> list[float]:
    return [x - 1.5, y - 1.5, x + 1.5, y + 1.5]
