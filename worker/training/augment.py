"""A sample -> the same, corrupted as in `robust.py`, by a strength drawn at random: what training shows the model.

`evaluate --robust` measures one strength of each kind; here strengths are drawn from none to beyond it, so that what is
learned is to bear the kind and not that strength.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from worker.model.preprocess import Body
from worker.training.robust import blurred, darkened, noisy, with_gaps, with_typos

_MOST_NOISE = 40.0  # Standard deviation, of 255.
_MOST_BLUR = 3.0  # Pixels, of the model's image size.
_LEAST_LIGHT = 0.15
_MOST_DEGREES = 25.0
_MOST_TYPOS = 0.2  # Of the letters.
_MOST_LOST = 0.8  # Of a sensor's numbers.


@dataclass(frozen=True, slots=True)
class Augment:
    """Spoils a body with this chance; the same for the same state of `rng`. `blind`: of images that show nothing."""

    share: float
    blind: float = 0.0

    def body(self, body: Body, modality: str, rng: np.random.Generator) -> Body:
        """A text with typos, a reading with gaps; others are corrupted when they are decoded, which saves encoding."""
        if modality not in ("text", "sensor") or rng.random() >= self.share:
            return body
        if modality == "text":
            return with_typos(body, rng.uniform(0, _MOST_TYPOS), rng)
        return with_gaps(body, rng.uniform(0, _MOST_LOST), rng)

    def pixels(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        """An image [3, S, S], uint8, in one way: noise, blur, dark or rotated."""
        if rng.random() >= self.share:
            return pixels
        image, kind = Image.fromarray(pixels.permute(1, 2, 0).numpy()), rng.integers(4)
        if kind == 0:
            image = noisy(image, rng.uniform(0, _MOST_NOISE), rng)
        elif kind == 1:
            image = blurred(image, rng.uniform(0, _MOST_BLUR))
        elif kind == 2:
            image = darkened(image, rng.uniform(_LEAST_LIGHT, 1.0))
        else:
            image = image.rotate(rng.uniform(-_MOST_DEGREES, _MOST_DEGREES))
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)
