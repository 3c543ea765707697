"""How a body may be corrupted on its way: noise, blur, dark, rotated, typos, silence of a sensor."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from worker.model.pictures import decode_whole
from worker.model.preprocess import Body, text_of

Change = Callable[[Body, str, np.random.Generator], Body]

_NOISE = 25.0  # Standard deviation, of 255: a cheap camera at night.
_BLUR = 2.5  # Pixels: a wet lens.
_DARK = 0.3  # Of the light.
_DEGREES = 15.0  # A bracket that has slipped.
_TYPOS = 0.1  # Of the letters.
_LOST = 0.5  # Of a sensor's numbers.


def changes() -> dict[str, Change]:
    """Each way, by its name; a body of a modality that it does not touch stays as it is."""
    return {
        "noise": _of_image(lambda image, rng: noisy(image, _NOISE, rng)),
        "blur": _of_image(lambda image, rng: blurred(image, _BLUR)),
        "dark": _of_image(lambda image, rng: darkened(image, _DARK)),
        "rotated": _of_image(lambda image, rng: image.rotate(rng.uniform(-_DEGREES, _DEGREES))),
        "typos": lambda body, modality, rng: with_typos(body, _TYPOS, rng) if modality == "text" else body,
        "numbers lost": lambda body, modality, rng: with_gaps(body, _LOST, rng) if modality == "sensor" else body,
    }


def applies(change: str, modalities: set[str]) -> bool:
    """Whether a change touches one of these modalities."""
    return {"typos": "text", "numbers lost": "sensor"}.get(change, "image") in modalities


def _of_image(corrupt: Callable[[Image.Image, np.random.Generator], Image.Image]) -> Change:
    def change(body: Body, modality: str, rng: np.random.Generator) -> Body:
        if modality != "image":
            return body
        pixels = decode_whole(body.payload, body.stream).permute(1, 2, 0).contiguous()
        corrupted = corrupt(Image.fromarray(pixels.numpy()), rng)
        out = io.BytesIO()
        corrupted.save(out, "PNG", compress_level=1)
        return body._replace(payload=out.getvalue(), content_type="image/png")

    return change


def noisy(image: Image.Image, deviation: float, rng: np.random.Generator) -> Image.Image:
    """With noise of this standard deviation, of 255, on every number."""
    pixels = np.asarray(image, np.float32)
    noise = rng.standard_normal(pixels.shape, np.float32) * deviation
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def blurred(image: Image.Image, pixels: float) -> Image.Image:
    """Under a Gaussian of this radius."""
    return image.filter(ImageFilter.GaussianBlur(pixels))


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


def with_gaps(body: Body, share: float, rng: np.random.Generator) -> Body:
    """A reading of which this share of the channels is missing."""
    reading = json.loads(body.payload)
    values = reading.get("values", reading)
    for name in sorted(values):
        if rng.random() < share:
            values[name] = None
    return body._replace(payload=json.dumps(reading).encode())
