"""A body for each row of docs/media.md, and the plain one that it must be read like."""

from __future__ import annotations

import io
import struct
import wave
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from tests.unit.incoming import wav
from tests.unit.media import (
    ARITHMETIC,
    BLUE,
    RED,
    TALL_CHROMA,
    chunk,
    exif,
    four,
    grey_steps,
    interlaced,
    jpeg,
    many_scans,
    patched,
    png_of,
    saved,
    two,
    with_app1,
    without_adobe,
    ycck,
)  # fmt: skip


@dataclass
class Case:
    """A body and the plain one that it must be read like; none where it is refused."""

    body: bytes
    plain: bytes | None = None
    most: float = 3.0  # The mean difference of the numbers.


PICTURE = saved(four())
JPG, PROGRESSIVE = jpeg(four()), saved(four(), "JPEG", progressive=True, quality=95)
CMYK = saved(four().convert("CMYK"), "JPEG", quality=95)
NOISE = np.random.default_rng(1).integers(0, 255, (96, 128, 3), np.uint8)
GREY = four().convert("L")
CLEAR = b"".join(struct.pack(">H", value) for value in BLUE)
LARGE = zlib.compress(bytes(100_000_000), 1)
IS_BLUE = (np.asarray(two()) == BLUE).all(-1)
RED_WHITE = saved(Image.fromarray(np.where(IS_BLUE[..., None], 255, np.asarray(two())).astype(np.uint8)))
TWO_ROWS = [bytes(RED) * 16 + bytes(BLUE) * 16] * 24
WIDE_ROWS = [b"".join(struct.pack(">3H", *(257 * one for one in colour)) * 16 for colour in (RED, BLUE))] * 24


def transparent(mode: str) -> bytes:
    """Blue is transparent."""
    image = two().convert(mode)
    image.putalpha(Image.fromarray(np.where(IS_BLUE, 0, 255).astype(np.uint8)))
    return saved(image)


def palette_with_trns() -> bytes:
    """Of two colours the second is transparent."""
    before = chunk(b"PLTE", bytes(RED + BLUE)) + chunk(b"tRNS", b"\xff\0")
    return png_of([b"\0" * 16 + b"\1" * 16] * 24, 32, 8, 3, before=before)


def bombs() -> bytes:
    """Beside its pixels: text of 100 MB when inflated, an empty profile, a broken orientation, what nobody knows."""
    beside = chunk(b"zTXt", b"k\0\0" + LARGE) + chunk(b"iCCP", b"p\0\0") + chunk(b"eXIf", b"II*\0")
    end = chunk(b"iCCP", b"") + chunk(b"quUx", b"?") + chunk(b"IEND", b"")
    return PICTURE[:33] + beside + PICTURE[33:-12] + end


def animated() -> bytes:
    frames = [four(), two((64, 48))]
    return saved(frames[0], save_all=True, append_images=frames[1:])


def inflating() -> bytes:
    """Its pixels are followed by 100 MB of more rows."""
    rows = b"".join(b"\0" + row for row in TWO_ROWS)
    body = png_of(TWO_ROWS, 32, 8, 2)
    return body[:33] + chunk(b"IDAT", zlib.compress(rows + bytes(100_000_000), 1)) + chunk(b"IEND", b"")


def cut(body: bytes) -> bytes:
    """Half of it, and an end marker."""
    return body[: len(body) // 2] + b"\xff\xd9"


TALL = png_of([b"\0"] * 65_536, 1, 8, 0)
PICTURES: dict[str, Callable[[], Case]] = {
    "JPEG, baseline": lambda: Case(JPG + b"garbage" * 99, PICTURE),
    "JPEG, progressive": lambda: Case(PROGRESSIVE, PICTURE),
    "JPEG, arithmetic coding": lambda: Case(ARITHMETIC, saved(two())),
    "JPEG, grey": lambda: Case(saved(GREY, "JPEG", quality=95), saved(GREY.convert("RGB"))),
    "JPEG, RGB (Adobe)": lambda: Case(saved(four(), "JPEG", keep_rgb=True, quality=95), PICTURE),
    "JPEG, CMYK": lambda: Case(without_adobe(CMYK), PICTURE),
    "JPEG, YCCK": lambda: Case(ycck(four()), PICTURE),
    "JPEG, 4:2:2": lambda: Case(jpeg(four(), "422"), PICTURE),
    "JPEG, 4:4:0": lambda: Case(jpeg(four(), "440"), PICTURE),
    "JPEG, 4:1:1": lambda: Case(jpeg(four(), "411"), PICTURE),
    "JPEG, 4:4:1": lambda: Case(TALL_CHROMA, saved(two())),
    "JPEG, 4:1:0": lambda: Case(patched(JPG, 11, 0x42)),
    "JPEG, 12 bits": lambda: Case(patched(JPG, 4, 12)),
    "JPEG, lossless": lambda: Case(patched(JPG, 1, 0xC3)),
    "JPEG, more than 64 scans": lambda: Case(many_scans(PROGRESSIVE, 64)),
    "JPEG, EXIF orientation": lambda: Case(
        with_app1(JPG, exif(6, ">")), saved(four().transpose(Image.Transpose.ROTATE_270))
    ),
    "JPEG, several pictures (MPO)": lambda: Case(
        saved(four(), "MPO", save_all=True, append_images=[two()], quality=95), PICTURE
    ),
    "JPEG, cut off": lambda: Case(cut(jpeg(Image.fromarray(NOISE)))),
    "JPEG, CMYK, cut off": lambda: Case(cut(saved(Image.fromarray(NOISE).convert("CMYK"), "JPEG"))),
    "PNG, RGB": lambda: Case(PICTURE + b"garbage", saved(four(), "PNG")),
    "PNG, RGB of 16 bits": lambda: Case(png_of(WIDE_ROWS, 32, 16, 2), saved(two())),
    "PNG, palette": lambda: Case(saved(four().convert("P", palette=Image.Palette.ADAPTIVE)), PICTURE),
    "PNG, palette with tRNS": lambda: Case(palette_with_trns(), RED_WHITE),
    "PNG, palette, none there": lambda: Case(png_of([b"\0" * 32] * 24, 32, 8, 3)),
    "PNG, palette, a pixel outside it": lambda: Case(
        png_of([b"\0" * 31 + b"\2"] * 24, 32, 8, 3, before=chunk(b"PLTE", bytes(RED + BLUE)))
    ),
    "PNG, RGBA": lambda: Case(transparent("RGB"), RED_WHITE),
    "PNG, grey and alpha": lambda: Case(transparent("L"), saved(Image.open(io.BytesIO(RED_WHITE)).convert("L"))),
    "PNG, grey with tRNS": lambda: Case(
        png_of([b"\x0f"] * 4, 2, 4, 0, before=chunk(b"tRNS", b"\0\0")), saved(Image.new("L", (2, 4), 255))
    ),
    "PNG, RGB with tRNS": lambda: Case(png_of(TWO_ROWS, 32, 8, 2, before=chunk(b"tRNS", CLEAR)), RED_WHITE),
    "PNG, RGB of 16 bits with tRNS": lambda: Case(png_of(WIDE_ROWS, 32, 16, 2, before=chunk(b"tRNS", CLEAR))),
    "PNG, interlaced": lambda: Case(interlaced(four()), PICTURE),
    "PNG, animated (APNG)": lambda: Case(animated(), PICTURE),
    "PNG, eXIf orientation": lambda: Case(
        PICTURE[:-12] + chunk(b"eXIf", exif(8)) + PICTURE[-12:], saved(four().transpose(Image.Transpose.ROTATE_90))
    ),
    "PNG, gAMA and iCCP": lambda: Case(
        PICTURE[:33] + chunk(b"gAMA", struct.pack(">I", 10_000)) + chunk(b"iCCP", b"") + PICTURE[33:], PICTURE
    ),
    "PNG, text, profile or unknown chunks beside its pixels": lambda: Case(bombs(), PICTURE),
    "PNG, pixels that inflate to more than it declares": lambda: Case(inflating(), saved(two())),
    "PNG, Apple's CgBI": lambda: Case(PICTURE[:8] + chunk(b"CgBI", bytes(4)) + PICTURE[8:]),
    "PNG, cut off": lambda: Case(PICTURE[:-20]),
    "PNG, damaged": lambda: Case(PICTURE[:60] + bytes([PICTURE[60] ^ 1]) + PICTURE[61:]),
    "PNG, a side over 65,535 pixels": lambda: Case(TALL),
    **{
        f"PNG, grey of {bits} bit{'s' * (bits > 1)}": lambda bits=bits: Case(*grey_steps(bits))
        for bits in (1, 2, 4, 16)
    },
}  # fmt: skip
TONE = (np.sin(np.arange(8_000) / 5) * 0.5 * 2**31).astype("<i4")
PLAIN = wav((TONE >> 16).astype("<i2").tobytes(), rate=16_000)


def tone(bits: int, **options: Any) -> bytes:
    """The plain sound in other samples."""
    if bits == 8:
        data = ((TONE >> 24) + 128).astype(np.uint8).tobytes()
    else:
        data = TONE[:, None].view(np.uint8).reshape(-1, 4)[:, 4 - bits // 8 :].tobytes()
    return wav(data, bits=bits, **options)


def floats(kind: str) -> bytes:
    return wav((TONE / 2.0**31).astype(kind).tobytes(), bits=8 * int(kind[-1]), tag=3)


def unknown(length: int) -> bytes:
    return wav((TONE >> 16).astype("<i2").tobytes(), declared=length)


def by_python() -> bytes:
    """What `wave` writes when it cannot go back to its header."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(b"")
    return out.getvalue() + (TONE >> 16).astype("<i2").tobytes()


SOUNDS: dict[str, Callable[[], Case]] = {
    "WAV, 8 bits": lambda: Case(tone(8), PLAIN),
    "WAV, 16 bits": lambda: Case(tone(16), PLAIN),
    "WAV, 24 bits": lambda: Case(tone(24), PLAIN),
    "WAV, 32 bits": lambda: Case(tone(32), PLAIN),
    "WAV, floats of 32 bits": lambda: Case(floats("<f4"), PLAIN),
    "WAV, floats of 64 bits": lambda: Case(floats("<f8"), PLAIN),
    "WAV, extensible header": lambda: Case(tone(24, subformat=1), PLAIN),
    "WAV, chunks of odd length before the samples": lambda: Case(tone(16, before=b"LIST\3\0\0\0abc\0"), PLAIN),
    "WAV, length not known (0xFFFFFFFF)": lambda: Case(unknown(0xFFFFFFFF), PLAIN),
    "WAV, length not known (0x7FFFFFFF)": lambda: Case(unknown(0x7FFFFFFF), PLAIN),
    "WAV, length not known (0)": lambda: Case(by_python(), PLAIN),
    "WAV, 2 channels": lambda: Case(wav((TONE >> 16).astype("<i2").repeat(2).tobytes(), channels=2), PLAIN),
    "WAV, mu-law": lambda: Case(wav(bytes(800), bits=8, tag=7)),
    "WAV, RF64": lambda: Case(b"RF64" + PLAIN[4:]),
    "WAV, BW64": lambda: Case(b"BW64" + PLAIN[4:]),
    "WAV, RIFX": lambda: Case(b"RIFX" + PLAIN[4:]),
    "WAV, cut off": lambda: Case(PLAIN[:-10]),
}
DEEP = b"[" * 65 + b"]" * 65
OTHERS: dict[str, Callable[[], Case]] = {
    "text/plain": lambda: Case(b"a car", b"a car", most=0),
    "JSON text": lambda: Case(b'{"text": "a car", "n": 1}', b"a car", most=0),
    "JSON text, half a surrogate pair": lambda: Case(b'{"text": "\\ud800"}'),
    "JSON text, behind a byte order mark": lambda: Case(b'\xef\xbb\xbf{"text": "a car"}'),
    "JSON, nested deeper than 64": lambda: Case(b'{"speed": 1, "x": ' + DEEP + b"}"),
    "JSON reading": lambda: Case(b'{"speed": 3.5, "count": null}', b'{"speed": [3.5]}', most=0),
    "JSON reading, under `values`": lambda: Case(b'{"values": {"speed": 3.5}}', b'{"speed": [3.5]}', most=0),
    "JSON reading, NaN": lambda: Case(b'{"speed": NaN}'),
}
CASES = {**PICTURES, **SOUNDS, **OTHERS}
