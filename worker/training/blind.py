"""Seed -> images of a camera that sees nothing: one colour, a ramp, noise, torn rows, or a scene without light.

Shown in the place of a scene's image, with the scene's label, they teach that such an image tells nothing: what the
model then says is what the other inputs say.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MOST_LIGHT = 0.03  # With more of its light a scene of the junction can still be told.

Pixels = NDArray[np.float64]  # [S, S, 3], of 255.


def blind_images(count: int, size: int, scenes: Sequence[Tensor], seed: int) -> list[Tensor]:
    """So many images [3, size, size], uint8; every fourth is one of `scenes`, of the same shape, without light."""
    rng, found = np.random.default_rng(seed), []
    for number in range(count):
        if number % 4 == 0 and scenes:
            scene = scenes[int(rng.integers(len(scenes)))].permute(1, 2, 0).numpy()
            drawn = scene * rng.uniform(0, _MOST_LIGHT) + rng.normal(0, rng.uniform(0, 3), scene.shape)
        else:
            drawn = _KINDS[int(rng.integers(len(_KINDS)))](rng, size)
        clipped = np.clip(drawn, 0, 255).astype(np.uint8)
        found.append(torch.from_numpy(np.ascontiguousarray(clipped)).permute(2, 0, 1))
    return found


def _colour(rng: np.random.Generator, size: int) -> Pixels:
    grey = rng.random() < 0.5
    colour = np.repeat(rng.uniform(0, 255), 3) if grey else rng.uniform(0, 255, 3)
    return np.broadcast_to(colour, (size, size, 3)) + rng.normal(0, rng.uniform(0, 5), (size, size, 1))


def _ramp(rng: np.random.Generator, size: int) -> Pixels:
    """From one colour to another, as before a lens that is covered."""
    first, second, turn = rng.uniform(0, 255, 3), rng.uniform(0, 255, 3), rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:size, 0:size] / size
    along = np.clip(0.5 + (x - 0.5) * np.cos(turn) + (y - 0.5) * np.sin(turn), 0, 1)[..., None]
    made: Pixels = first * (1 - along) + second * along + rng.normal(0, rng.uniform(0, 5), (size, size, 1))
    return made


def _snow(rng: np.random.Generator, size: int) -> Pixels:
    """Noise, fine or coarse."""
    grain, channels = int(rng.choice([1, 1, 2, 4])), int(rng.choice([1, 3]))
    few = -(-size // grain)
    noise = rng.normal(rng.uniform(40, 210), rng.uniform(20, 100), (few, few, channels))
    return np.broadcast_to(noise.repeat(grain, 0).repeat(grain, 1)[:size, :size], (size, size, 3)).copy()


def _torn(rng: np.random.Generator, size: int) -> Pixels:
    """Rows or columns that each repeat one colour, as of a stream that is cut off."""
    bands = rng.uniform(0, 255, (int(rng.integers(2, 60)), 3))
    rows = bands[np.arange(size) * len(bands) // size][:, None]
    across = np.broadcast_to(rows, (size, size, 3))
    return (across if rng.random() < 0.5 else across.transpose(1, 0, 2)).copy()


_KINDS = (_colour, _ramp, _snow, _torn)
