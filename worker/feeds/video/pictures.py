"""Frames -> JPEG: which of them, how large, and whether anything moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import simplejpeg

from schemas.names import JPEG

# Side of the grey thumbnail on which motion is looked for; it hides the sensor's noise.
_THUMBNAIL = 32
# A picture at least so often, though nothing moves: what watches the stream knows that the camera lives.
_STILL_SECONDS = 10.0
# Where the tables of a JPEG stand; a frame of some MJPEG files has none and is no whole picture.
_BEGIN, _HUFFMAN, _HEADER_BYTES = b"\xff\xd8", b"\xff\xc4", 2048


def is_whole(picture: bytes) -> bool:
    """Whether a JPEG is there to its last line: FFmpeg fills up what is missing, and a worker refuses it. What is no
    JPEG is left to FFmpeg."""
    if picture[:2] != _BEGIN:
        return True
    try:
        colours = simplejpeg.decode_jpeg_header(picture)[2]
        simplejpeg.decode_jpeg(picture, "CMYK" if colours in ("CMYK", "YCCK") else "GRAY", min_factor=8)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of the frames.

    Attributes:
        rate: frames per second of event time at most; None: all.
        width: pixels, the height keeps the shape; None: as it comes. Smaller frames are not made larger.
        quality: of JPEG, 1 to 100.
        motion: mean absolute difference of two thumbnails, 0 to 255, from which on a frame is sent; None: every one.
    """

    rate: float | None = None
    width: int | None = None
    quality: int = 85
    motion: float | None = None


class Chooser:
    """Chooses among one source's frames. Not thread-safe."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._slot: int | None = None
        self._thumbnail: np.ndarray[Any, Any] | None = None
        self._sent_us = 0

    def due(self, time_us: int) -> bool:
        """Whether it is the first frame of its slot of 1/rate seconds."""
        if self._wanted.rate is None:
            return True
        slot = int(time_us * self._wanted.rate // 1_000_000)
        due, self._slot = slot != self._slot, slot
        return due

    @property
    def looks(self) -> bool:
        """Whether `moved` needs the picture."""
        return self._wanted.motion is not None

    def moved(self, frame: Any, time_us: int) -> bool:
        """Whether it differs from the last frame that was sent, or that is 10 s ago. `frame`: an av.VideoFrame."""
        if self._wanted.motion is None:
            return True
        seen = frame.reformat(width=_THUMBNAIL, height=_THUMBNAIL, format="gray").to_ndarray().astype(np.int16)
        still = self._thumbnail is not None and np.abs(seen - self._thumbnail).mean() < self._wanted.motion
        if still and time_us - self._sent_us < _STILL_SECONDS * 1e6:
            return False
        self._thumbnail, self._sent_us = seen, time_us
        return True

    def as_it_comes(self, codec: str, packet: bytes, width: int) -> bool:
        """Whether a packet is the wanted JPEG already."""
        wanted = self._wanted.width
        whole = packet[:2] == _BEGIN and _HUFFMAN in packet[:_HEADER_BYTES]
        return codec == "mjpeg" and whole and (wanted is None or width <= wanted)

    def jpeg(self, frame: Any) -> tuple[str, bytes]:
        """Content type and body of a frame."""
        width, height = frame.width, frame.height
        if self._wanted.width is not None and width > self._wanted.width:
            width, height = self._wanted.width, max(1, round(height * self._wanted.width / width))
        picture = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
        picture = np.ascontiguousarray(picture)
        return JPEG, simplejpeg.encode_jpeg(picture, self._wanted.quality, "RGB", "420")
