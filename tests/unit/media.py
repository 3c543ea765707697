"""Pictures of every kind, made by hand where no library writes them."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

# 32 x 24, red left and blue right, by libjpeg-turbo's `cjpeg -arithmetic`.
ARITHMETIC = base64.b85decode(
    "|JeWF01!$>Nk#wx0RR9200961|JwjV00RO70|EjA0|NsD0|NvF2n7WM1O*BQ2L=cX3JeSj3JVJj4iXRz4iOFu3lJ6%5fc;@6%`B*7Z?^47!ni}6#v@*"
    "LjeN>1O)^I2?YfS6b%av6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6cqo-01*fP7yuvx0U`hb5di}c0sqVZ3IGrg"
    "1pyEd1^?Or3<CiG0ucid06zf#0KeF|L=4mZPJQ%e?sfcQ6uSYN1@iyd"
)
# The same in 4:4:1, by `cjpeg -sample 1x4,1x1,1x1 -optimize`.
TALL_CHROMA = base64.b85decode(
    "|JeWF01!$>Nk#wx0RR9200961|JwjV00RO70|EjA0|NsD0|NvF2n7WM1O*BQ2L=cX3JeSj3JVJj4iXRz4iOFu3lJ6%5fc;@6%`B*7Z?^47!ni}"
    "6#v@*LjeN>1O)^I2?YfS6b%av6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6cqo!01*fP7yuvx0TciN5di}c"
    "0sq7R761VO0RR910000000000000072>-"
    "+Y6c7Ob00000000000000000030!~hln0RaI300000000000000000{^G!~hf#0RR910000000000000000RP$m3<CiG0ucid06zfF;4(!E00e"
    "LaW=xO(fB)G"
)
RED, BLUE, GREEN, GOLD = (220, 20, 20), (20, 20, 220), (20, 200, 20), (220, 180, 20)


def two(size: tuple[int, int] = (32, 24)) -> Image.Image:
    """Red left, blue right."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    return image


def four(size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Four colours: no turn or mirroring of it looks the same."""
    image = two(size)
    image.paste(GREEN, (0, size[1] // 2, size[0] // 2, size[1]))
    image.paste(GOLD, (size[0] // 2, size[1] // 2, *size))
    return image


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """As Pillow writes it."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def jpeg(image: Image.Image, sampling: str = "444") -> bytes:
    """As simplejpeg writes it."""
    made: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=95, colorsubsampling=sampling)
    return made


def chunk(name: bytes, data: bytes) -> bytes:
    """A PNG's chunk."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(
    rows: list[bytes], width: int, bits: int, colour: int, *, before: bytes = b"", interlace: int = 0, height: int = 0
) -> bytes:
    """A PNG of rows that are packed already; `before` comes ahead of its pixels."""
    head = struct.pack(">IIBBBBB", width, height or len(rows), bits, colour, 0, 0, interlace)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = chunk(b"IHDR", head) + before + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def grey_steps(bits: int, height: int = 16) -> tuple[bytes, bytes]:
    """A PNG of 16 greys of this many bits from black to white, and what it shows."""
    most = 2**bits - 1
    values = np.linspace(0, most, 16).round().astype(np.uint32)
    if bits == 16:
        row = values.astype(">u2").tobytes()
    else:
        line = "".join(f"{value:0{bits}b}" for value in values)
        row = int(line, 2).to_bytes(len(line) // 8, "big")
    shown = (values.astype(np.float64) * 255 / most).round().astype(np.uint8)
    return png_of([row] * height, 16, bits, 0), saved(Image.fromarray(np.repeat(shown[None], height, 0)))


def interlaced(image: Image.Image) -> bytes:
    """Adam7."""
    pixels = np.asarray(image)
    rows: list[bytes] = []
    for y, x, dy, dx in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        rows += [row.tobytes() for row in pixels[y::dy, x::dx]]
    return png_of(rows, image.width, 8, 2, interlace=1, height=image.height)


def exif(orientation: int, order: str = "<") -> bytes:
    """A TIFF header with one directory of one entry."""
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def with_app1(body: bytes, data: bytes) -> bytes:
    """A JPEG with an EXIF segment."""
    segment = b"Exif\0\0" + data
    return body[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + body[2:]


def frame_at(body: bytes) -> int:
    """Where a JPEG's frame header begins."""
    return min(place for place in (body.find(bytes([0xFF, n])) for n in (0xC0, 0xC1, 0xC2)) if place > 0)


def patched(body: bytes, place: int, value: int) -> bytes:
    """With one byte changed, counted from the frame header: 1 its marker, 4 its bits, 11 the luma's sampling."""
    place += frame_at(body)
    return body[:place] + bytes([value]) + body[place + 1 :]


def many_scans(body: bytes, times: int) -> bytes:
    """A progressive JPEG whose last scan comes so often more."""
    last = body.rindex(b"\xff\xda")
    return body[:-2] + body[last:-2] * times + b"\xff\xd9"


def without_adobe(body: bytes) -> bytes:
    """A JPEG without the segment that tells how its colours are stored."""
    place = body.index(b"\xff\xee")
    return body[:place] + body[place + 2 + int.from_bytes(body[place + 2 : place + 4], "big") :]


def ycck(image: Image.Image) -> bytes:
    """A CMYK JPEG whose first three components went through YCbCr, as Photoshop writes it."""
    inks = 255 - np.asarray(image.convert("RGB"), np.float64)
    y = inks @ (0.299, 0.587, 0.114)
    stored = np.stack([y, 128 + (inks[..., 2] - y) / 1.772, 128 + (inks[..., 0] - y) / 1.402, np.full_like(y, 255)], -1)
    planes = 255 - stored.round().clip(0, 255).astype(np.uint8)  # Pillow writes what is left of 255.
    body = saved(Image.fromarray(planes, "CMYK"), "JPEG", quality=95)
    place = body.index(b"Adobe") + 11
    return body[:place] + b"\x02" + body[place + 1 :]
