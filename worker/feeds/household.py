"""A home of rooms, people and devices, second by second: what devices send is what people do, and so is the truth.

Each of two people goes out, sleeps, cooks or showers, one after another, each in the room for it; now and then a guest
comes, or somebody falls. Devices know no label: motion and door see who moves where they are, the meter adds up what
runs, the microphone hears the loudest thing near, and a sentence is said where something begins. Streams and fields are
those of `home.py`, so that its model can be held against a truth that nobody chose first:

| label | true of a second |
|---|---|
| emergency | somebody lies on the floor |
| visitor | else a guest is there |
| cooking | else somebody cooks |
| shower | else somebody showers |
| sleeping | else somebody is at home, and all who are sleep |
| away | nobody is at home |
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from worker.feeds.home import READINGS_PER_SECOND, SOUNDS_PER_SECOND, STREAMS, TYPES
from worker.feeds.sentences import OTHER, SLOTS, TEXTS
from worker.feeds.sounds import sound
from worker.feeds.story import FeedEvent, one_of, times

SECOND = 1_000_000
_LASTS = {"out": (90, 300), "sleeping": (120, 360), "cooking": (80, 200), "shower": (70, 140)}
_LIES, _STAYS = (75, 150), (75, 200)
_FALLS, _RINGS = 1 / 900, 1 / 500  # Chance a second, while somebody is at home and up; of a guest, at home.
_SAID, _ODD = 0.8, 1 / 12
# What runs, in watts, and how often somebody who does this is seen to move where motion sensors are.
_WATTS = {"cooking": (1300, 2800), "shower": (1600, 2200)}
_MOVES = {"sleeping": 0.04, "cooking": 0.55, "shower": 0.04, "guest": 0.7}
_SOUNDS = {
    "emergency": ("alarm", "glass", "thud"), "visitor": ("bell", "voices"), "cooking": ("water", "water", "kettle"),
    "shower": ("water",), "sleeping": ("silence",), "away": ("silence",),
}  # fmt: skip


@dataclass
class Person:
    """Who does what, until when (seconds)."""

    does: str
    until: float


@dataclass
class Household:
    """The state of a home, and how it goes on."""

    rng: np.random.Generator
    people: list[Person] = field(default_factory=list)
    lies_until: float = 0.0
    guest_until: float = 0.0
    came_or_went: float = -10.0
    began: str | None = None

    def __post_init__(self) -> None:
        self.people = [Person(*self._next(0.0)) for _ in range(2)]

    def step(self, now: float) -> None:
        """A second; `began` is the label that has just become true, if one has."""
        before = self.label(now - 1)
        for person in self.people:
            if now >= person.until and now >= self.lies_until:
                did = person.does
                person.does, person.until = self._next(now)
                if "out" in (did, person.does) and did != person.does:
                    self.came_or_went = now
        up = [person for person in self.people if person.does in ("cooking", "shower")]
        if up and now >= self.lies_until and self.rng.random() < _FALLS:
            self.lies_until = now + self.rng.uniform(*_LIES)
        if up and now >= self.guest_until and self.rng.random() < _RINGS:
            self.guest_until, self.came_or_went = now + self.rng.uniform(*_STAYS), now
        after = self.label(now)
        self.began = after if after != before else None

    def label(self, now: float) -> str:
        """What is true."""
        home = {person.does for person in self.people} - {"out"}
        if now < self.lies_until:
            return "emergency"
        if home and now < self.guest_until:
            return "visitor"
        return next((one for one in ("cooking", "shower", "sleeping") if one in home), "away")

    def reading(self, now: float) -> bytes:
        """What the device sends of the five seconds before; the boiler heats while nobody is at home, too."""
        label = self.label(now)
        doing = [person.does for person in self.people if person.does != "out"]
        watts = 120.0 + self.rng.uniform(-40, 80)
        for one in {*doing} & set(_WATTS) if label != "emergency" else ():
            watts += self.rng.uniform(*_WATTS[one])
        watts += self.rng.uniform(*_WATTS["shower"]) if not doing else 0.0
        moving = [] if label == "emergency" else [*doing, *(["guest"] * 2 if label == "visitor" else [])]
        told = {
            "motion": int(sum(self.rng.binomial(5, _MOVES[one]) for one in moving)),
            "door": "OPEN"
            if now - self.came_or_went < 8 or (label == "visitor" and self.rng.random() < 0.4)
            else "CLOSED",
            "temperature": None if self.rng.random() < 0.05 else round(20.5 + self.rng.normal(0, 0.6), 1),
            "power": round(watts),
        }
        return json.dumps(told).encode()

    def sound(self, now: float) -> bytes:
        """A second of the microphone."""
        return sound(self.rng, "tv" if self.rng.random() < _ODD else one_of(self.rng, _SOUNDS[self.label(now)]))

    def sentence(self, label: str) -> bytes:
        """What is said when this begins; one in twelve is about something else."""
        text = one_of(self.rng, OTHER if self.rng.random() < _ODD else TEXTS[label])
        return text.format(**{slot: one_of(self.rng, words) for slot, words in SLOTS.items()}).encode()

    def _next(self, now: float) -> tuple[str, float]:
        does = one_of(self.rng, ("out", "out", "sleeping", "sleeping", "cooking", "shower"))
        return does, now + self.rng.uniform(*_LASTS[does])


def household_events(seed: int, homes: int, seconds: float) -> Iterator[FeedEvent]:
    """Events of all homes (keys `home-N`), in the order of event time; the same for the same seed."""
    each = (_home(np.random.default_rng([seed, number, 9]), number, seconds) for number in range(1, homes + 1))
    return heapq.merge(*each, key=lambda event: (event.time_us, event.key, event.stream, event.id))


def _home(rng: np.random.Generator, number: int, seconds: float) -> Iterator[FeedEvent]:
    key, counts, home = f"home-{number}", dict.fromkeys(STREAMS, 0), Household(rng)
    end_us = int(seconds * SECOND)
    rates = {"sensors": READINGS_PER_SECOND, "sounds": SOUNDS_PER_SECOND}
    due = heapq.merge(*([(int(at), stream) for at in times(rng, end_us, rate)] for stream, rate in rates.items()))
    told = list(due)
    for now in range(int(seconds)):
        home.step(now)
        if home.began is not None and rng.random() < _SAID:
            told = sorted([*told, (now * SECOND + int(rng.integers(SECOND)), "texts")])
        while told and told[0][0] < (now + 1) * SECOND:
            time_us, stream = told.pop(0)
            label = home.label(now)
            body = (
                {"sensors": home.reading, "sounds": home.sound}[stream](now)
                if stream != "texts"
                else home.sentence(label)
            )
            counts[stream] += 1
            yield FeedEvent(
                time_us, stream, key, f"{key}-{stream[:2]}{counts[stream]:06d}", *TYPES[stream], body, label
            )
