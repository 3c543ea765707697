"""How bodies may be spoiled on their way, by kind and strength, and all kinds of a strength together."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from worker.model.config import FusionConfig
from worker.model.pictures import decode_whole
from worker.model.preprocess import Body, text_of
from worker.readings import fields_of
from worker.training import robust_readings as readings
from worker.training import robust_sounds as sounds

# The bodies of one input, and its modality.
Change = Callable[[Sequence[Body], str, np.random.Generator], tuple[Body, ...]]
Spoil = Callable[[Sequence[Body], float, np.random.Generator], tuple[Body, ...]]
STRENGTHS = (0, 1, 2)  # Weak, middle, strong.
MIDDLE = 1


@dataclass(frozen=True, slots=True)
class Kind:
    """One way in which an input of a modality is spoiled.

    Attributes:
        strengths: weak, middle and strong, in `unit`.
        spoil: (bodies of an input, strength, rng) -> the bodies that come instead. For the same `rng` what is stronger
            spoils all that is weaker does, and more; of typos on the average.
    """

    modality: str
    name: str
    unit: str
    strengths: tuple[float, float, float]
    spoil: Spoil

    def told(self, strength: int) -> str:
        """The strength of this number, for people."""
        return f"{self.strengths[strength]:g}{self.unit}"


def kinds(config: FusionConfig) -> list[Kind]:
    """All that touch an input of this model."""
    found = [*_of_images(), *_of_texts(), *_of_sounds(), *(_of_readings(config) if config.channels else [])]
    return [kind for kind in found if kind.modality in config.inputs]


def change_of(some: Sequence[Kind], strength: int) -> Change:
    """These kinds one after another, each by chances of its own, so that alone and together it does the same."""

    def change(bodies: Sequence[Body], modality: str, rng: np.random.Generator) -> tuple[Body, ...]:
        seed, made = int(rng.integers(2**32)), tuple(bodies)
        for kind in some:
            if kind.modality == modality and made:
                own = np.random.default_rng([seed, zlib.crc32(kind.name.encode())])
                made = kind.spoil(made, kind.strengths[strength], own)
        return made

    return change


def _of_images() -> list[Kind]:
    return [
        # Standard deviation: 25 is a cheap camera at night.
        Kind("image", "noise", " of 255", (10, 25, 50), _image(noisy)),
        # A wet lens.
        Kind("image", "blur", " pixels", (1, 2.5, 5), _image(lambda image, pixels, rng: blurred(image, pixels))),
        Kind(
            "image", "dark", " of the light", (0.6, 0.3, 0.1), _image(lambda image, light, rng: darkened(image, light))
        ),
        # A bracket that has slipped.
        Kind("image", "rotated", " degrees at most", (5, 15, 30), _image(turned)),
    ]


def _of_texts() -> list[Kind]:
    return [
        Kind("text", "typos", " of the letters", (0.05, 0.1, 0.2), _each(with_typos)),
        Kind("text", "words lost", " of the words", (0.1, 0.25, 0.5), _each(with_words_lost)),
    ]


def _of_sounds() -> list[Kind]:
    def sound(change: Callable[..., np.ndarray[tuple[int, ...], np.dtype[np.floating]]]) -> Spoil:
        return _each(lambda body, x, rng: sounds.spoiled_sound(lambda wave, rate: change(wave, x, rate, rng))(body))

    return [
        Kind("audio", "noise", " dB below", (20, 10, 0), sound(lambda w, x, rate, rng: sounds.with_noise(w, x, rng))),
        Kind("audio", "quieter", " dB", (12, 24, 36), sound(lambda w, x, rate, rng: sounds.quieter(w, x))),
        Kind("audio", "clipped", " of its peak", (0.5, 0.2, 0.05), sound(lambda w, x, rate, rng: sounds.clipped(w, x))),
        Kind(
            "audio", "low-pass", " Hz", (4000, 2000, 1000), sound(lambda w, x, rate, _: sounds.low_passed(w, x, rate))
        ),
        Kind("audio", "later", " of its length", (0.1, 0.25, 0.5), sound(lambda w, x, rate, rng: sounds.later(w, x))),
        Kind("audio", "drop-outs", " of the time", (0.1, 0.3, 0.6), sound(sounds.with_drop_outs)),
    ]


def _of_readings(config: FusionConfig) -> list[Kind]:
    spreads = readings.Spreads(config)

    def known(change: Callable[..., tuple[Body, ...]]) -> Spoil:
        return lambda bodies, x, rng: change(bodies, x, spreads, rng)

    clock = Kind("sensor", "clock ahead", " s", (1, 5, 30), lambda some, x, rng: readings.by_another_clock(some, x))
    return [
        Kind("sensor", "noise", " deviations", (0.25, 0.5, 1), known(readings.noisy)),
        Kind("sensor", "offset", " deviations", (0.5, 1, 2), known(readings.offset)),
        Kind("sensor", "drift", " deviations", (0.5, 1, 2), known(readings.drifting)),
        Kind("sensor", "stuck", " of the fields", (0.25, 0.5, 1), known(readings.stuck)),
        Kind("sensor", "spikes", " of the numbers", (0.05, 0.1, 0.2), known(readings.with_spikes)),
        Kind("sensor", "unit slip", " times, one field", (1.6, 10, 1000), known(readings.in_other_units)),
        Kind("sensor", "numbers lost", " of the fields", (0.25, 0.5, 0.75), _each(with_gaps)),
        Kind("sensor", "steps lost", " of the steps", (0.25, 0.5, 0.75), readings.with_steps_lost),
        *([clock] if config.times else []),
    ]


def _each(spoil: Callable[[Body, float, np.random.Generator], Body]) -> Spoil:
    return lambda bodies, strength, rng: tuple(spoil(body, strength, rng) for body in bodies)


def _image(spoil: Callable[[Image.Image, float, np.random.Generator], Image.Image]) -> Spoil:
    def spoiled(body: Body, strength: float, rng: np.random.Generator) -> Body:
        pixels = decode_whole(body.payload, body.stream).permute(1, 2, 0).contiguous()
        out = io.BytesIO()
        spoil(Image.fromarray(pixels.numpy()), strength, rng).save(out, "PNG", compress_level=1)
        return body._replace(payload=out.getvalue(), content_type="image/png")

    return _each(spoiled)


def noisy(image: Image.Image, deviation: float, rng: np.random.Generator) -> Image.Image:
    """With noise of this standard deviation, of 255, on every number."""
    pixels = np.asarray(image, np.float32)
    noise = rng.standard_normal(pixels.shape, np.float32) * deviation
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def blurred(image: Image.Image, pixels: float) -> Image.Image:
    """Under a Gaussian of this radius."""
    return image.filter(ImageFilter.GaussianBlur(pixels))


def turned(image: Image.Image, degrees: float, rng: np.random.Generator) -> Image.Image:
    """By at most so many degrees, either way; the corners are black."""
    return image.rotate(degrees * rng.uniform(-1, 1))


def darkened(image: Image.Image, light: float) -> Image.Image:
    """With this part of its light."""
    return image.point(lambda value: value * light)


def with_typos(body: Body, share: float, rng: np.random.Generator) -> Body:
    """A text of which this share of the letters is lost or has changed places with the next."""
    letters = list(text_of(*body[:3]))
    for place in range(len(letters) - 1):
        if letters[place].isalpha() and rng.random() < share:
            if rng.random() < 0.5:
                letters[place] = ""
            else:
                letters[place], letters[place + 1] = letters[place + 1], letters[place]
    return body._replace(payload="".join(letters).encode(), content_type="text/plain")


def with_words_lost(body: Body, share: float, rng: np.random.Generator) -> Body:
    """A text without about this share of its words; never without all."""
    words = text_of(*body[:3]).split()
    chance = rng.random(len(words))
    kept = [word for word, one in zip(words, chance, strict=True) if one >= share or one == chance.max()]
    return body._replace(payload=" ".join(kept).encode(), content_type="text/plain")


def with_gaps(body: Body, share: float, rng: np.random.Generator) -> Body:
    """A reading of which this share of the channels is missing."""
    reading = json.loads(body.payload)
    values = fields_of(reading)
    for name in sorted(values):
        if rng.random() < share:
            values[name] = None
    return body._replace(payload=json.dumps(reading).encode())
