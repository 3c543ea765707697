"""What spoils inputs: alike for the same seed, more with more strength, and readable still."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from worker.feeds import home
from worker.feeds.sounds import wav_file
from worker.model.config import FusionConfig
from worker.model.pictures import decode_image
from worker.model.preprocess import Body, text_of
from worker.model.signals import Column, read_sensor, wave_of
from worker.training.robust import MIDDLE, STRENGTHS, Kind, change_of, kinds
from worker.training.sources import home_samples, junction_samples

CONFIG = FusionConfig(
    inputs=("image", "text", "sensor", "audio"), channels=["motion", "power", "temperature", "door"],
    channel_words=[None, None, None, "OPEN"], channel_mean=[1.0, 800.0, 21.0, 0.0], channel_std=[2.0, 900.0, 1.5, 1.0],
    times=True,
)  # fmt: skip
KINDS = kinds(CONFIG)
COLUMNS = [Column("motion"), Column("power"), Column("temperature")]


def given() -> dict[str, tuple[Body, ...]]:
    """Bodies of each modality."""
    (scene,), (moment, *_) = junction_samples("test", 1, 3), home_samples("test", 6, 2)
    bodies = scene.bodies | moment.bodies
    return {"image": bodies["image"], "text": bodies["text"], "sensor": bodies["sensors"], "audio": bodies["sounds"]}


GIVEN = given()


def named(one: Kind) -> str:
    """In the names of tests."""
    return f"{one.modality} {one.name}"


def numbers(modality: str, bodies: tuple[Body, ...]) -> list[NDArray[np.float64]]:
    """What the model would see."""
    if modality == "image":
        return [decode_image(one.payload, 224, one.stream).double().numpy() for one in bodies]
    if modality == "audio":
        return [wave_of(one.payload)[0].astype(np.float64) for one in bodies]
    series = [read_sensor(one.payload, COLUMNS, one.stream).double() for one in bodies]
    return [torch.cat(series).numpy()]


def apart(one: Kind, bodies: tuple[Body, ...]) -> float:
    """How far these bodies are from those that were given."""
    plain = GIVEN[one.modality]
    if one.modality == "text":
        had, has = (text_of(*some[0][:3]) for some in (plain, bodies))
        return abs(len(had) - len(has)) + sum(a != b for a, b in zip(had, has, strict=False)) / 1000
    if one.name == "clock ahead":
        return float(np.mean([b.seconds - a.seconds for a, b in zip(plain, bodies, strict=True)]))
    if one.name == "later":
        return float(np.argmax(np.abs(numbers("audio", bodies)[0]) > 0))
    if one.name in ("steps lost", "numbers lost"):
        return float(-np.isfinite(numbers("sensor", bodies)[0]).sum())
    pairs = zip(numbers(one.modality, plain), numbers(one.modality, bodies), strict=True)
    return float(np.mean([np.nanmean((a - b) ** 2) for a, b in pairs]))


@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_more_strength_spoils_more_and_the_same_seed_alike(kind: Kind) -> None:
    """On the average over seeds strictly, and for nearly each seed not less; others' modalities stay untouched."""
    told = []
    for seed in range(4 if kind.modality == "image" else 20):
        made = [
            change_of([kind], n)(GIVEN[kind.modality], kind.modality, np.random.default_rng(seed)) for n in STRENGTHS
        ]
        again = change_of([kind], MIDDLE)(GIVEN[kind.modality], kind.modality, np.random.default_rng(seed))
        assert str(again) == str(made[MIDDLE])
        told.append([apart(kind, one) for one in made])
    means = np.mean(told, axis=0)
    assert means[0] < means[1] < means[2]
    plain = apart(kind, GIVEN[kind.modality])
    assert means[0] > plain
    if kind.name != "typos":
        assert all(a <= b + 1e-9 for row in told for a, b in pairwise(row))
    for modality, bodies in GIVEN.items():
        same = change_of([kind], 2)(bodies, modality, np.random.default_rng(1)) is bodies
        assert same == (modality != kind.modality)


def test_every_kind_together_is_each_one_after_another() -> None:
    """By the chances that each has alone, and what comes out can still be read."""
    together = change_of(KINDS, 2)
    for modality, bodies in GIVEN.items():
        made = together(bodies, modality, np.random.default_rng(4))
        step = bodies
        for kind in KINDS:
            step = change_of([kind], 2)(step, modality, np.random.default_rng(4))
        assert str(made) == str(step)
        assert numbers(modality, made) if modality != "text" else text_of(*made[0][:3])


def test_a_model_is_spoiled_by_what_it_takes() -> None:
    """No kind of an input that it has not, and no clock where it looks at no time."""
    assert {one.modality for one in kinds(FusionConfig())} == {"image", "text"}
    seen = [one.name for one in kinds(FusionConfig(inputs=("sensor",), channels=["motion"]))]
    assert "clock ahead" not in seen
    assert "stuck" in seen
    assert set(home.STREAMS.values()) <= {one.modality for one in KINDS}


def test_sounds_are_spoiled_by_as_much_as_is_said() -> None:
    """Noise 10 dB below is a tenth of the power; 24 dB quieter a sixteenth of the height; a pitch above is gone."""
    by_name = {one.name: one for one in KINDS if one.modality == "audio"}
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    high = 0.3 * np.sin(2 * np.pi * 5000 * np.arange(16_000) / 16_000)
    body = Body(wav_file(wave + high, 16_000), "audio/wav", "s")
    rng = np.random.default_rng(1)

    def made(name: str) -> NDArray[np.float64]:
        (one,) = change_of([by_name[name]], MIDDLE)((body,), "audio", rng)
        return wave_of(one.payload)[0].astype(np.float64)

    power = float(np.mean((wave + high) ** 2))
    assert np.mean((made("noise") - wave - high) ** 2) == pytest.approx(power / 10, rel=0.05)
    assert np.abs(made("quieter")).max() == pytest.approx(np.abs(wave + high).max() / 10 ** (24 / 20), rel=0.01)
    assert np.abs(made("low-pass") - wave).max() < 0.01
    assert np.abs(made("clipped")).max() == pytest.approx(np.abs(wave + high).max() * 0.2, rel=0.01)
    assert (made("drop-outs") == 0).mean() == pytest.approx(0.3, abs=0.15)
    assert not made("later")[:3_900].any()


def test_readings_are_spoiled_where_the_model_looks() -> None:
    """Words and other fields stay; missing stays missing; a lone reading loses steps of its series, never all."""
    reading = {"values": {"motion": [1, None, 3, 4], "door": "OPEN", "other": 5, "power": 100}, "id": "x"}
    body = Body(json.dumps(reading).encode(), "application/json", "radar")
    for kind in [one for one in KINDS if one.modality == "sensor" and one.name not in ("numbers lost", "clock ahead")]:
        (one,) = change_of([kind], 2)((body,), "sensor", np.random.default_rng(2))
        told = json.loads(one.payload)
        assert (told["id"], told["values"]["door"], told["values"]["other"]) == ("x", "OPEN", 5)
        assert told["values"]["motion"][1] is None
        assert any(value is not None for value in told["values"]["motion"])
    (slipped,) = [one for one in KINDS if one.name == "unit slip"]
    (one,) = change_of([slipped], 1)((body,), "sensor", np.random.default_rng(2))
    told = json.loads(one.payload)["values"]
    assert sorted((told["motion"] == [10, None, 30, 40], told["power"] == 1000)) == [False, True]


def test_a_drift_is_nothing_at_the_oldest_step_and_all_of_it_now() -> None:
    """An offset is the same at each: of readings one after another as of a series in one."""
    series = [Body(b'{"motion": [1, 1, 1]}', "application/json", "radar")]
    several = [Body(b'{"motion": 1}', "application/json", "radar")] * 3
    for name, far in (("drift", [0, 2, 4]), ("offset", [4, 4, 4])):
        (kind,) = [one for one in KINDS if (one.modality, one.name) == ("sensor", name)]
        for bodies in (series, several):
            made = change_of([kind], 2)(bodies, "sensor", np.random.default_rng(6))
            assert np.abs(numbers("sensor", made)[0][:, 0] - 1).tolist() == pytest.approx(far)
