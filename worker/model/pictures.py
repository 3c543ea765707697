"""JPEG or PNG -> pixels [3, H, W], uint8, as a viewer shows them: the one path of training, evaluation and serving."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from simplejpeg import decode_jpeg
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from worker.errors import blamed
from worker.image import PALETTE, ImageError, Png, read_jpeg, read_png

_JPEG = b"\xff\xd8"
_GREY, _COLOUR = 0, 2
_CMYK = 4  # Components.
_WHITE = 255
# Whatever `[limits]` allows, and where there are none, as in training: a gigabyte while it is decoded.
MOST_PIXELS = 2**28
# EXIF's orientation -> whether the sides change places, and along which of [3, H, W] it is mirrored after that.
_TURNS: dict[int, tuple[bool, tuple[int, ...]]] = {
    1: (False, ()), 2: (False, (2,)), 3: (False, (1, 2)), 4: (False, (1,)),
    5: (True, ()), 6: (True, (2,)), 7: (True, (1, 2)), 8: (True, (1,)),
}  # fmt: skip


def decode_image(body: bytes, size: int, stream: str) -> Tensor:
    """A JPEG or PNG as RGB pixels [3, size, size], uint8, its sides stretched to the square.

    Raises:
        Poison: stage DECODE, reason `undecodable`; cut off, damaged, or of a kind that is not read.
    """
    try:
        pixels, orientation = _decoded(body, size)
        resized: Tensor = resize(pixels, [size, size], antialias=True)
    except BaseException as error:  # the boundary of one body
        raise blamed(error, "DECODE", "undecodable", stream, "the image cannot be decoded") from error
    # The square is turned, not the picture: that is less to copy.
    return _turned(resized, orientation)


def decode_whole(body: bytes, stream: str, least: int = 0) -> Tensor:
    """As `decode_image`, in its own size [3, H, W], or smaller with no side below `least` (0: never smaller).

    Raises:
        Poison: as `decode_image`.
    """
    try:
        return _turned(*_decoded(body, least))
    except BaseException as error:  # the boundary of one body
        raise blamed(error, "DECODE", "undecodable", stream, "the image cannot be decoded") from error


def _decoded(body: bytes, size: int) -> tuple[Tensor, int]:
    """Pixels [3, H, W], not yet turned, and the orientation that turns them.

    A JPEG is decoded at the least of its scales that is not below `size` (a tenth to a fifth faster for camera
    frames); 0: its own.
    """
    if body.startswith(_JPEG):
        jpeg = read_jpeg(body)
        _check_pixels(jpeg.width, jpeg.height)
        pixels, orientation = _jpeg_pixels(body, jpeg.components, size), jpeg.orientation
    else:
        png = read_png(body)
        pixels, orientation = _png_pixels(png), png.orientation
    # [H, W, 3] -> [3, H, W], a view: the resize reads channels_last as it is.
    return torch.from_numpy(pixels).permute(2, 0, 1), orientation


def _check_pixels(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise ImageError(f"{width} x {height} pixels are over the limit of {MOST_PIXELS}; send a smaller one")


def _turned(pixels: Tensor, orientation: int) -> Tensor:
    across, mirrored = _TURNS[orientation]
    turned = pixels.transpose(1, 2) if across else pixels
    return turned.flip(mirrored) if mirrored else turned


def _jpeg_pixels(body: bytes, components: int, size: int) -> NDArray[np.uint8]:
    """Anything that the decoder warns of, such as pixels that are cut off, is an error."""
    colours = "CMYK" if components == _CMYK else "RGB"
    pixels: NDArray[np.uint8] = decode_jpeg(body, colours, min_height=size, min_width=size)
    if components != _CMYK:
        return pixels
    # Stored is the light that each ink lets through, as Adobe has it and as all viewers read it, marked or not.
    wide = pixels.astype(np.uint16)
    return ((wide[:, :, :3] * wide[:, :, 3:] + 127) // 255).astype(np.uint8)


def _png_pixels(png: Png) -> NDArray[np.uint8]:
    """What is transparent shows white, as on a page; of 16 bits the upper 8 are kept."""
    if png.clear is not None and (png.colour, png.bits) == (_COLOUR, 16):
        raise ValueError("a transparent colour (tRNS) of 16 bits is not read; send an alpha channel")
    # Not by Image.open, which warns of sizes that `[limits]` may allow.
    with PngImageFile(io.BytesIO(png.body)) as image:
        _check_pixels(*image.size)
        if png.colour == _GREY:
            return _grey(np.asarray(image), png)
        if png.colour == PALETTE and (highest := int(np.asarray(image).max())) >= png.colours:
            raise ImageError(f"a pixel has colour {highest} of a palette of {png.colours}, counted from 0")
        if image.has_transparency_data:
            page = Image.new("RGBA", image.size, (_WHITE,) * 4)
            return np.array(Image.alpha_composite(page, image.convert("RGBA")).convert("RGB"))
        pixels = np.array(image.convert("RGB"))
    if png.clear is not None and png.colour == _COLOUR:
        pixels[(pixels == png.clear).all(axis=2)] = _WHITE
    return pixels


def _grey(values: NDArray[Any], png: Png) -> NDArray[np.uint8]:
    """[H, W] -> [H, W, 3]; Pillow has spread fewer than 8 bits over all 256, and left 16."""
    clear = None
    if png.clear is not None:
        scale = 255 // (2**png.bits - 1) if png.bits < 8 else 1
        clear = values == (png.clear[0] * scale if png.bits > 1 else bool(png.clear[0]))
    grey = (values >> 8 if png.bits == 16 else values * 255 if png.bits == 1 else values).astype(np.uint8)
    if clear is not None:
        grey[clear] = _WHITE
    return np.repeat(grey[:, :, None], 3, axis=2)
