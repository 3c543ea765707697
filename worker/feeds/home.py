"""A seeded home: sounds, sensors and spoken sentences, of which any two tell what goes on, and none alone does.

Each input takes two pairs of the labels for the same, and each pair is told apart by the two others:

| input | takes for the same |
|---|---|
| sounds | away and sleeping (silence); cooking and shower (running water, but for a kettle now and then) |
| sensors | away and shower (nobody moves where sensors are, the boiler heats); sleeping and most of emergency |
| texts | most of cooking and visitor (company for dinner); sleeping and shower (no disturbance) |

One in twelve of each is odd: a film in the sound, a cat before the sensors, a sentence about something else.
Many sentences deny what other labels say: "nobody has fallen, we only dropped a pan".
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from worker.feeds.sentences import OTHER, SLOTS, TEXTS
from worker.feeds.sounds import sound
from worker.feeds.story import FeedEvent, one_of, times

LABELS = ("away", "cooking", "emergency", "shower", "sleeping", "visitor")
STREAMS = {"sounds": "audio", "sensors": "sensor", "texts": "text"}

# What a sound is fused with, as docs/examples/home.toml has it: the readings of WINDOW_US before it, the last sentence
# of MEMORY_US. A state is long, and its sentence early, so that neither reaches into the state before.
WINDOW_US, MEMORY_US = 20_000_000, 70_000_000
_STATE_US = (75_000_000, 110_000_000)
_SAID_US = (1_000_000, 15_000_000)
_SAID = 0.8  # Of the states have a sentence at all.
_ODD = 1 / 12
READINGS_PER_SECOND, SOUNDS_PER_SECOND = 0.2, 0.1

_SOUNDS = {
    "away": ("silence",),
    "cooking": ("water", "water", "water", "kettle"),
    "emergency": ("alarm", "glass", "thud"),
    "shower": ("water",),
    "sleeping": ("silence",),
    "visitor": ("bell", "voices"),
}
# Per look: motions in five seconds, how often the door is open, watts.
_LOOKS = {
    "still": ((0, 1), 0.0, (60, 220)),
    "boiler": ((0, 1), 0.0, (1700, 2400)),
    "kitchen": ((1, 5), 0.05, (1200, 3000)),
    "hall": ((1, 6), 0.6, (100, 500)),
    "struggle": ((4, 10), 0.1, (60, 300)),
}
_LOOKS_OF = {
    "away": ("boiler",),
    "cooking": ("kitchen",),
    "emergency": ("still", "still", "still", "struggle", "struggle"),
    "shower": ("boiler",),
    "sleeping": ("still",),
    "visitor": ("hall",),
}
TYPES = {
    "sounds": ("home.sound.v1", "audio/wav"),
    "sensors": ("home.reading.v1", "application/json"),
    "texts": ("home.sentence.v1", "text/plain"),
}


@dataclass(frozen=True, slots=True)
class Moment:
    """A sound and what belongs to it: (microseconds after the sound, body) of each reading and of the sentence."""

    sound: bytes
    readings: tuple[tuple[int, bytes], ...]
    text: tuple[int, bytes] | None
    label: str


def moment(rng: np.random.Generator, label: str) -> Moment:
    """A sound at any time of a state, with what the rules of docs/examples/home.toml match to it."""
    lasts_us = int(rng.integers(*_STATE_US))
    at = int(rng.integers(WINDOW_US, lasts_us))
    told = list(_sensors(rng, label, lasts_us))
    said = _text(rng, label)
    readings = tuple((time_us - at, body) for time_us, body in told if at - WINDOW_US <= time_us <= at)
    text = (said[0] - at, said[1]) if said and at - MEMORY_US <= said[0] <= at else None
    return Moment(_sound(rng, label), readings, text, label)


def home_events(seed: int, homes: int, seconds: float) -> Iterator[FeedEvent]:
    """Events of all homes (keys `home-N`), in the order of event time; the same for the same seed."""
    each = (_home(np.random.default_rng([seed, number]), number, int(seconds * 1e6)) for number in range(1, homes + 1))
    return heapq.merge(*each, key=lambda event: (event.time_us, event.key, event.stream, event.id))


def _home(rng: np.random.Generator, number: int, end_us: int) -> Iterator[FeedEvent]:
    key, since = f"home-{number}", 0
    counts = dict.fromkeys(STREAMS, 0)
    while since < end_us:
        label, lasts_us = one_of(rng, LABELS), int(rng.integers(*_STATE_US))
        for time_us, stream, body in _state(rng, label, lasts_us):
            if since + time_us < end_us:
                counts[stream] += 1
                name = f"{key}-{stream[:2]}{counts[stream]:06d}"
                yield FeedEvent(since + time_us, stream, key, name, *TYPES[stream], body, label)
        since += lasts_us


def _state(rng: np.random.Generator, label: str, lasts_us: int) -> list[tuple[int, str, bytes]]:
    """All events of a state, in order; sounds come once a whole window lies in it."""
    said = _text(rng, label)
    heard = [int(at) for at in times(rng, lasts_us, SOUNDS_PER_SECOND) if at >= WINDOW_US]
    events = [(at, "sensors", body) for at, body in _sensors(rng, label, lasts_us)]
    events += [(at, "sounds", _sound(rng, label)) for at in heard]
    events += [(said[0], "texts", said[1])] if said else []
    return sorted(events)


def _sound(rng: np.random.Generator, label: str) -> bytes:
    return sound(rng, "tv" if rng.random() < _ODD else one_of(rng, _SOUNDS[label]))


def _sensors(rng: np.random.Generator, label: str, lasts_us: int) -> Iterator[tuple[int, bytes]]:
    """The readings of a state, as one device sends them; of an odd one as if another label were."""
    look = one_of(rng, _LOOKS_OF[one_of(rng, LABELS) if rng.random() < _ODD else label])
    motions, open_share, watts = _LOOKS[look]
    power, warmth = rng.uniform(*watts), rng.uniform(18, 24)
    for at in times(rng, lasts_us, READINGS_PER_SECOND):
        reading = {
            "motion": int(rng.integers(*motions)),
            "door": "OPEN" if rng.random() < open_share else "CLOSED",
            "temperature": None if rng.random() < 0.05 else round(warmth + rng.normal(0, 0.1), 1),
            "power": round(power * rng.uniform(0.95, 1.05)),
        }
        yield int(at), json.dumps(reading).encode()


def _text(rng: np.random.Generator, label: str) -> tuple[int, bytes] | None:
    """The sentence of a state and when it is said; None where nobody speaks."""
    at, is_odd = int(rng.integers(*_SAID_US)), rng.random() < _ODD
    sentence = one_of(rng, OTHER if is_odd else TEXTS[label])
    filled = sentence.format(**{slot: one_of(rng, words) for slot, words in SLOTS.items()})
    return (at, filled.encode()) if rng.random() < _SAID else None
