"""A simulated home: what devices send is what people do, and so is the truth."""

from __future__ import annotations

import json

import numpy as np
import pytest

from worker.feeds import home
from worker.feeds.household import Household, Person, household_events
from worker.training.sources import household_samples

EVENTS = list(household_events(6, 3, 600.0))


def held(*does: str, lies: float = 0.0, guest: float = 0.0) -> Household:
    """A home in which these go on; long past the last coming and going."""
    made = Household(np.random.default_rng(1))
    made.people = [Person(one, 1e9) for one in does]
    made.lies_until, made.guest_until = lies, guest
    return made


@pytest.mark.parametrize(
    ("made", "label"),
    [
        (held("out", "out"), "away"),
        (held("out", "sleeping"), "sleeping"),
        (held("sleeping", "shower"), "shower"),
        (held("shower", "cooking"), "cooking"),
        (held("cooking", "out", guest=200.0), "visitor"),
        (held("out", "out", guest=200.0), "away"),
        (held("cooking", "out", lies=200.0, guest=200.0), "emergency"),
    ],
)
def test_the_truth_is_the_second_s(made: Household, label: str) -> None:
    """One who lies on the floor before a guest, a guest before the stove, and so on."""
    assert made.label(100.0) == label


def test_devices_measure_what_goes_on() -> None:
    """Stove and boiler on the meter, motion of who moves, none of who lies on the floor; no label is told."""
    homes = {
        "cooking": held("cooking", "out"),
        "asleep": held("sleeping", "sleeping"),
        "lies": held("cooking", "out", lies=200.0),
        "guest": held("cooking", "sleeping", guest=200.0),
    }
    told = {name: [json.loads(made.reading(100.0)) for _ in range(40)] for name, made in homes.items()}
    assert min(one["power"] for one in told["cooking"]) > 1300
    assert max(one["power"] for one in told["asleep"] + told["lies"]) < 300
    assert sum(one["motion"] for one in told["lies"]) == 0
    assert np.mean([one["motion"] for one in told["guest"]]) > np.mean([one["motion"] for one in told["cooking"]]) > 1
    assert {*told["guest"][0]} == {"motion", "door", "temperature", "power"}


def test_the_story_is_in_order_and_the_same_for_the_same_seed() -> None:
    """The streams of the home's story, several labels, no id twice."""
    assert [one.time_us for one in EVENTS] == sorted(one.time_us for one in EVENTS)
    assert len({one.id for one in EVENTS}) == len(EVENTS)
    assert {one.stream for one in EVENTS} == set(home.STREAMS)
    assert len({one.label for one in EVENTS}) >= 4
    assert list(household_events(6, 3, 600.0)) == EVENTS
    assert list(household_events(7, 3, 600.0)) != EVENTS


def test_a_sample_is_what_the_worker_would_match() -> None:
    """Readings of twenty seconds before the sound, the last sentence of seventy."""
    made = list(household_samples("test", 60, 0))
    assert len(made) == 60
    assert any("texts" in sample.bodies for sample in made)
    for sample in made:
        assert [body.seconds for body in sample.bodies["sounds"]] == [0.0]
        assert 3 <= len(sample.bodies["sensors"]) <= 5
        assert all(-20 <= (body.seconds or 0) <= 0 for body in sample.bodies["sensors"])
        assert all(-70 <= (body.seconds or 0) <= 0 for body in sample.bodies.get("texts", ()))
