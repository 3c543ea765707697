"""The home's story: the same for a seed, in order, and told by any two inputs, by none alone."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer

from worker.errors import ConfigError
from worker.feeds import home
from worker.feeds.stories import story_of
from worker.model.signals import read_audio
from worker.settings import load

EXAMPLE = Path(__file__).parents[2] / "docs/examples/home.toml"
NAMES = ["sounds", "sensors", "texts"]
Table = NDArray[np.float64]


def test_the_same_seed_tells_the_same_story() -> None:
    """The same bytes in the order of time, and others for another seed; no id twice; every label comes."""
    one, again, other = (list(home.home_events(seed, 3, 600.0)) for seed in (3, 3, 4))
    assert one == again
    assert {event.body for event in one}.isdisjoint(event.body for event in other if event.stream == "sounds")
    assert [event.time_us for event in one] == sorted(event.time_us for event in one)
    assert len({event.id for event in one}) == len(one)
    assert {(event.key, event.stream) for event in one} == set(
        itertools.product(("home-1", "home-2", "home-3"), home.STREAMS)
    )
    assert {event.label for event in one} == set(home.LABELS)


def test_what_the_example_matches_to_a_sound_is_of_its_state() -> None:
    """By the rules of docs/examples/home.toml, which are the story's: as in moments, which models are trained on."""
    streams = load(EXAMPLE, [], {}).settings.streams
    bounds = {name: streams[name].before.total_seconds() * 1e6 for name in ("sensors", "texts")}
    assert bounds == {"sensors": home.WINDOW_US, "texts": home.MEMORY_US}
    assert {name: stream.modality for name, stream in streams.items()} == home.STREAMS
    events = list(home.home_events(5, 1, 3600.0))
    seen: Counter[str] = Counter()
    for sound in (event for event in events if event.stream == "sounds"):
        for stream, before in bounds.items():
            found = [e for e in events if e.stream == stream and 0 <= sound.time_us - e.time_us <= before]
            assert {event.label for event in found} <= {sound.label}
            seen[stream] += bool(found)
        seen["sounds"] += 1
    assert seen["sensors"] == seen["sounds"] > 200
    assert 0.4 < seen["texts"] / seen["sounds"] < 0.8


def tables(moments: list[home.Moment]) -> dict[str, Table]:
    """Each input of each moment as a row of numbers: a spectrum, means of a series, counts of words and pairs."""
    spectra = np.array([read_audio(one.sound, 16_000, 1.0, 32, "sounds").numpy() for one in moments])
    readings = [[json.loads(body) for _, body in one.readings] for one in moments]
    motions = [[reading["motion"] for reading in one] for one in readings]
    opened = [[reading["door"] == "OPEN" for reading in one] for one in readings]
    power = [[reading["power"] for reading in one] for one in readings]
    sensors = [[max(m), np.mean(m), np.mean(o), np.mean(p)] for m, o, p in zip(motions, opened, power, strict=True)]
    texts = [one.text[1].decode() if one.text else "" for one in moments]
    return {
        "sounds": np.concatenate([spectra.mean(2) - spectra.mean((1, 2))[:, None], spectra.std(2)], axis=1),
        "sensors": np.array(sensors),
        "texts": CountVectorizer(ngram_range=(1, 2), binary=True).fit_transform(texts).toarray(),
    }


def test_no_input_alone_tells_what_goes_on() -> None:
    """A learner that is not ours gets at most 0.8 from one input, and far more from all; with 500 moments."""
    rng = np.random.default_rng(1)
    moments = [made for n in range(750) if (made := home.moment(rng, home.LABELS[n % 6])).text is not None]
    labels, found = [one.label for one in moments], tables(moments)
    half = len(moments) // 2

    def told(*names: str) -> float:
        rows = np.concatenate([found[name] for name in names], axis=1)
        learner = RandomForestClassifier(40, random_state=0).fit(rows[:half], labels[:half])
        return float(learner.score(rows[half:], labels[half:]))

    alone = [told(name) for name in NAMES]
    assert 0.55 < min(alone) <= max(alone) <= 0.8
    assert told(*NAMES) > max(alone) + 0.12


def test_a_home_has_rates_of_its_own() -> None:
    """What would change nothing is refused."""
    with pytest.raises(ConfigError, match=r"--frames-per-second and --texts-per-second are the junction's"):
        story_of("home", 0, 1, 1.0, 5.0, None)
