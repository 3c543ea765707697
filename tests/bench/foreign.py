"""Frames that show no junction: of a dead camera, or of something else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from worker.feeds.junction import HEIGHT, JPEG_QUALITY, WIDTH

Pixels = NDArray[np.float64]  # [HEIGHT, WIDTH, 3], of 255.


def dead(rng: np.random.Generator) -> bytes:
    """What a camera sends that sees nothing: one colour, noise, or lines."""
    return _jpeg(_any((_plain, _noise, _lines), rng))


def foreign(rng: np.random.Generator) -> bytes:
    """Something that is no junction."""
    return _jpeg(_any((_waves, _shapes, _landscape, _page, _blots, _tiles), rng))


def _any(kinds: tuple[Callable[[np.random.Generator], Pixels], ...], rng: np.random.Generator) -> Pixels:
    return kinds[int(rng.integers(len(kinds)))](rng)


def _jpeg(pixels: Pixels) -> bytes:
    clipped = np.ascontiguousarray(np.clip(pixels, 0, 255).astype(np.uint8))
    encoded: bytes = simplejpeg.encode_jpeg(clipped, quality=JPEG_QUALITY)
    return encoded


def _plain(rng: np.random.Generator) -> Pixels:
    colour = rng.uniform(0, 255) if rng.random() < 0.7 else rng.uniform(0, 255, 3)
    return np.ones((HEIGHT, WIDTH, 3)) * colour + rng.normal(0, rng.uniform(0, 4), (HEIGHT, WIDTH, 1))


def _noise(rng: np.random.Generator) -> Pixels:
    fine = rng.normal(rng.uniform(60, 190), rng.uniform(25, 90), (HEIGHT, WIDTH, int(rng.choice([1, 3]))))
    return np.broadcast_to(fine, (HEIGHT, WIDTH, 3))


def _lines(rng: np.random.Generator) -> Pixels:
    """A test picture of stripes, upright or level."""
    stripes = rng.uniform(0, 255, (int(rng.integers(4, 40)), 3))
    along = np.arange(WIDTH if rng.random() < 0.5 else HEIGHT)
    colours = stripes[along * len(stripes) // len(along)]
    return np.broadcast_to(colours[None] if len(along) == WIDTH else colours[:, None], (HEIGHT, WIDTH, 3))


def _waves(rng: np.random.Generator) -> Pixels:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH][..., None]
    frequency, phase = rng.normal(0, 0.06, (2, 4, 3)), rng.uniform(0, 7, (4, 3))
    return 128 + 60 * sum(np.sin(x * frequency[0, n] + y * frequency[1, n] + phase[n]) for n in range(4))


def _shapes(rng: np.random.Generator) -> Pixels:
    image = Image.new("RGB", (WIDTH, HEIGHT), _colour(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(2, 30))):
        (x, y), size = rng.uniform((-30, -30), (WIDTH, HEIGHT)), rng.uniform(8, 140, 2)
        box = (x, y, x + size[0], y + size[1])
        (draw.ellipse if rng.random() < 0.6 else draw.rectangle)(box, fill=_colour(rng))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 3))), float)


def _landscape(rng: np.random.Generator) -> Pixels:
    """Rough ground below a sky."""
    horizon = HEIGHT * rng.uniform(0.2, 0.8) + np.cumsum(rng.normal(0, 1.5, WIDTH))
    y = np.arange(HEIGHT)[:, None]
    below = (y > horizon)[..., None]
    sky, ground = rng.uniform(60, 255, 3), rng.uniform(20, 200, 3)
    rough = _cloud(rng)[..., None] * rng.uniform(15, 60)
    return np.where(below, ground + rough, sky - 0.3 * y[..., None] + 0.3 * rough)


def _page(rng: np.random.Generator) -> Pixels:
    """Lines of writing."""
    image = Image.new("RGB", (WIDTH, HEIGHT), _colour(rng))
    draw, ink, high = ImageDraw.Draw(image), _colour(rng), int(rng.integers(6, 18))
    for y in range(high, HEIGHT - high, 2 * high):
        x = rng.uniform(5, 30)
        while x < WIDTH - 20:
            wide = rng.uniform(8, 50)
            draw.rectangle((x, y, x + wide, y + high * 0.7), fill=ink)
            x += wide + high / 2
    return np.asarray(image, float)


def _blots(rng: np.random.Generator) -> Pixels:
    """Clouds of colours, as a picture out of focus."""
    return 128 + np.stack([_cloud(rng) for _ in range(3)], axis=2) * rng.uniform(30, 90)


def _tiles(rng: np.random.Generator) -> Pixels:
    high, wide = rng.integers(2, 16, 2)
    small = Image.fromarray(rng.uniform(0, 255, (high, wide, 3)).astype(np.uint8))
    how = Image.Resampling.NEAREST if rng.random() < 0.5 else Image.Resampling.BICUBIC
    return np.asarray(small.resize((WIDTH, HEIGHT), how), float)


def _cloud(rng: np.random.Generator) -> Pixels:
    """[HEIGHT, WIDTH], about -2..2: noise of several sizes."""
    total = np.zeros((HEIGHT, WIDTH))
    for size in (4, 8, 16, 48):
        rough = Image.fromarray(rng.normal(0, 1, (size, size)).astype(np.float32))
        total += np.asarray(rough.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)) * (4 / size) ** 0.5
    return total


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(one) for one in rng.integers(0, 256, 3))
    return red, green, blue
