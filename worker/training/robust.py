"""How a body may be spoiled on its way: noise, blur, dark, rotated, typos, silence of a sensor."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from worker.model.preprocess import Body, text_of
from worker.training.data import Change

_NOISE = 25.0  # Standard deviation, of 255: a cheap camera at night.
_BLUR = 2.5  # Pixels: a wet lens.
_DARK = 0.3  # Of the light.
_DEGREES = 15.0  # A bracket that has slipped.
_TYPOS = 0.1  # Of the letters.
_LOST = 0.5  # Of a sensor's numbers.


def changes() -> dict[str, Change]:
    """Each way, by its name; a body of a modality that it does not touch stays as it is."""
    return {
        "noise": _of_image(lambda image, rng: _noisy(image, rng)),
        "blur": _of_image(lambda image, rng: image.filter(ImageFilter.GaussianBlur(_BLUR))),
        "dark": _of_image(lambda image, rng: image.point(lambda value: value * _DARK)),
        "rotated": _of_image(lambda image, rng: image.rotate(rng.uniform(-_DEGREES, _DEGREES))),
        "typos": _typos,
        "numbers lost": _lost,
    }


def applies(change: str, modalities: set[str]) -> bool:
    """Whether a change touches one of these modalities."""
    return {"typos": "text", "numbers lost": "sensor"}.get(change, "image") in modalities


def _of_image(spoil: Callable[[Image.Image, np.random.Generator], Image.Image]) -> Change:
    def change(body: Body, modality: str, rng: np.random.Generator) -> Body:
        if modality != "image":
            return body
        with Image.open(io.BytesIO(body.payload)) as image:
            spoiled = spoil(image.convert("RGB"), rng)
        out = io.BytesIO()
        spoiled.save(out, "PNG")
        return body._replace(payload=out.getvalue(), content_type="image/png")

    return change


def _noisy(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image, np.float32)
    return Image.fromarray(np.clip(pixels + rng.normal(0, _NOISE, pixels.shape), 0, 255).astype(np.uint8))


def _typos(body: Body, modality: str, rng: np.random.Generator) -> Body:
    if modality != "text":
        return body
    letters = list(text_of(*body))
    for place in range(len(letters) - 1):
        if letters[place].isalpha() and rng.random() < _TYPOS:
            if rng.random() < 0.5:
                letters[place] = ""
            else:
                letters[place], letters[place + 1] = letters[place + 1], letters[place]
    return body._replace(payload="".join(letters).encode(), content_type="text/plain")


def _lost(body: Body, modality: str, rng: np.random.Generator) -> Body:
    if modality != "sensor":
        return body
    reading = json.loads(body.payload)
    values = reading.get("values", reading)
    for name in sorted(values):
        if rng.random() < _LOST:
            values[name] = None
    return body._replace(payload=json.dumps(reading).encode())
