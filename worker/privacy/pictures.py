"""Pictures -> the same with boxes and faces hidden, encoded anew: nothing of the file that came is kept.

What is hidden is hidden before it is encoded, so that no block of the code holds a trace. A file's other parts (EXIF
with its small picture and its place, comments, what stands behind the end) go with the encoding.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from simplejpeg import encode_jpeg

from schemas.names import PNG

Pixels = NDArray[np.uint8]  # [H, W, 3], RGB, as a viewer shows it
Decode = Callable[[bytes], Pixels]
# Pixels -> corners of what is found: left, top, right, bottom
Faces = Callable[[Pixels], Iterable[tuple[float, float, float, float]]]

# As cameras encode; measured in docs/privacy.md.
QUALITY = 90
_GREY = 127
# A blurred box keeps the colours of so many parts of each side; a face cannot be told from sixteen.
_BLUR_PARTS = 4
# A colour is then that of four pixels or more; of fewer it would leave them much as they were.
_LEAST_BLURRED_PIXELS = 2 * _BLUR_PARTS
ANY = "*"


class Box(NamedTuple):
    """In parts of the picture's sides, from its upper left corner."""

    x: float
    y: float
    width: float
    height: float


class PictureMask:
    """Hides parts of pictures. Holds no state; safe to call from several threads."""

    def __init__(self, decode: Decode, boxes: Mapping[str, Sequence[Box]], faces: Faces | None, *, blur: bool) -> None:
        """`boxes`: by the events' key, `*` for any other. Without `faces` a camera that has no entry is refused."""
        self._decode, self._faces, self._blur = decode, faces, blur
        self._boxes = {key: tuple(some) for key, some in boxes.items()}

    def __call__(self, key: str, content_type: str, body: bytes) -> bytes:
        """The picture, masked; where there is nothing to hide, and no face is looked for, as it came.

        Raises:
            LookupError: nobody has said what is to be hidden of this camera.
            Poison: it cannot be decoded.
        """
        boxes = self._boxes.get(key, self._boxes.get(ANY))
        if self._faces is None:
            if boxes is None:
                raise LookupError("no box for this camera")
            if not boxes:
                return body
        pixels = np.ascontiguousarray(self._decode(body))
        height, width = pixels.shape[:2]
        found = [] if self._faces is None else list(self._faces(pixels))
        for box in boxes or ():
            self._hide(pixels, _touched(box.y, box.height, height), _touched(box.x, box.width, width))
        for left, top, right, bottom in found:
            rows = slice(max(0, math.floor(top)), max(0, math.ceil(bottom)))
            self._hide(pixels, rows, slice(max(0, math.floor(left)), max(0, math.ceil(right))))
        return _encoded(pixels, content_type)

    def _hide(self, pixels: Pixels, rows: slice, columns: slice) -> None:
        part = pixels[rows, columns]
        if part.size:
            part[:] = _blurred(part) if self._blur and min(part.shape[:2]) >= _LEAST_BLURRED_PIXELS else _GREY


def _touched(begin: float, length: float, pixels: int) -> slice:
    """Every pixel that this part of a side touches: one at least, however short it is."""
    first = min(math.floor(begin * pixels), pixels - 1)
    return slice(first, max(first + 1, math.ceil((begin + length) * pixels)))


def _blurred(part: Pixels) -> Any:
    height, width = part.shape[:2]
    small = Image.fromarray(part).resize((min(_BLUR_PARTS, width), min(_BLUR_PARTS, height)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))


def _encoded(pixels: Pixels, content_type: str) -> bytes:
    if content_type == PNG:
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG", compress_level=1)
        return out.getvalue()
    made: bytes = encode_jpeg(pixels, quality=QUALITY, colorspace="RGB", colorsubsampling="420")
    return made
