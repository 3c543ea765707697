"""Bodies -> pixels [3, S, S] uint8 and token ids [T]: one path for training and for serving."""

from __future__ import annotations

import io
import json
import warnings

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from worker.errors import Poison

_JPEG = b"\xff\xd8"


def decode_image(body: bytes, size: int, stream: str) -> Tensor:
    """A JPEG or PNG as RGB pixels [3, size, size], uint8, its sides stretched to the square.

    A JPEG is decoded at the least of its scales that is not below `size` (a tenth to a fifth faster for camera
    frames); a kind of JPEG that simplejpeg does not read goes to Pillow.

    Raises:
        Poison: stage DECODE, reason `undecodable`; cut off, damaged, or not what its header says.
    """
    try:
        pixels = _jpeg(body, size) if body.startswith(_JPEG) else _pillow(body)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Poison(
            "DECODE", "undecodable", f"stream {stream!r}: the image cannot be decoded: {error}", stream
        ) from error
    # [H, W, 3] -> [3, H, W], a view: the resize reads channels_last as it is.
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    resized: Tensor = resize(image, [size, size], antialias=True)
    return resized


def _jpeg(body: bytes, size: int) -> NDArray[np.uint8]:
    _, _, colorspace, _ = simplejpeg.decode_jpeg_header(body)
    if colorspace in ("CMYK", "YCCK"):
        return _pillow(body)
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(body, "RGB", min_height=size, min_width=size)
    return pixels


def _pillow(body: bytes) -> NDArray[np.uint8]:
    with warnings.catch_warnings():
        # The number of pixels has been held against `limits.max_frame_pixels` before.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(body), formats=("JPEG", "PNG")) as image:
            return np.array(image.convert("RGB"))


def text_of(body: bytes, content_type: str, stream: str) -> str:
    """The text of a `text/plain` or `application/json` body.

    Raises:
        Poison: stage DECODE, when it is none.
    """
    try:
        if content_type != "application/json":
            return body.decode()
        return str(json.loads(body)["text"])
    except (ValueError, KeyError, TypeError) as error:
        raise Poison("DECODE", "undecodable", f"stream {stream!r}: no text in the body: {error}", stream) from error
