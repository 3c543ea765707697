"""Poison of every kind: what a record can be that must cost itself alone."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import numpy as np
from PIL import Image

from tests.chaos.told import Must, Told, frame, rfc3339, text
from tests.unit.incoming import JPEG, png

# Of the settings that the storm gives its workers.
MOST_FRAME_BYTES, MOST_TEXT_BYTES = 64 * 1024, 4 * 1024
HOUR_US = 3_600_000_000
SECOND_US = 1_000_000
Maker = Callable[[int, str, str], list[Told]]


def _changed(make: Callable[[int, str, str], Told], **changes: object) -> Maker:
    return lambda at_us, key, name: [make(at_us, key, name).but(Must.REFUSE, event=None, **changes)]


def _headed(make: Callable[[int, str, str], Told], header: str, said: bytes, **changes: object) -> Maker:
    return lambda at_us, key, name: [
        make(at_us, key, name).but(Must.REFUSE, event=None, **changes).with_header(header, said)
    ]


def _timed(make: Callable[[int, str, str], Told], clock: Callable[[int], int]) -> Maker:
    return lambda at_us, key, name: [
        make(at_us, key, name).but(Must.REFUSE, event=None).with_header("ce_time", rfc3339(clock(at_us)))
    ]


def _of_both(make: Callable[[int, str, str], Told], wrong_type: bytes, most_bytes: int) -> dict[str, Maker]:
    """What any stream may be sent."""
    return {
        "null key": _changed(make, key=None),
        "null value": _changed(make, value=None),
        "neither key nor value": _changed(make, key=None, value=None),
        "no headers either": _changed(make, key=None, value=None, headers=()),
        "key not UTF-8": _changed(make, key=b"\xff\xfe\x00"),
        "empty": _changed(make, value=b""),
        "too large": _changed(make, value=bytes(most_bytes + 1)),
        "wrong content type": _headed(make, "content-type", wrong_type),
        "bad ce_time": _headed(make, "ce_time", b"yesterday"),
        "bad specversion": _headed(make, "ce_specversion", b"9.9"),
        "future time": _timed(make, lambda at_us: at_us + 24 * HOUR_US),
        "1970": _timed(make, lambda _: 0),
        "before 1970": _timed(make, lambda _: -SECOND_US),
        "deep JSON": _headed(
            make, "content-type", b"application/cloudevents+json", value=b'{"data":' + b"[" * 1500 + b"]" * 1500 + b"}"
        ),
    }


def _json(body: bytes) -> Maker:
    return _headed(text, "content-type", b"application/json", value=body)


TEXTS: dict[str, Maker] = {
    **_of_both(text, b"image/png", MOST_TEXT_BYTES),
    "not UTF-8": _changed(text, value=b"caf\xe9"),
    "JSON 983 deep": _json(b'{"text":"x","a":' + b"[" * 983 + b"]" * 983 + b"}"),
    "JSON 70 deep": _json(b'{"text":"x","a":' + b"[" * 70 + b"]" * 70 + b"}"),
    "JSON cut": _json(b'{"text":"x'),
    "JSON surrogate": _json(json.dumps({"text": "\ud800"}).encode()),
    "the model's": _changed(text, value=b"POISON"),
    "not a number": _changed(text, value=b"NAN"),
    "the decoder's": _changed(text, value=b"UNEXPECTED"),
}


def _picture(kind: str) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(noise).save(out, kind)
    return out.getvalue()


FRAMES: dict[str, Maker] = {
    **_of_both(frame, b"text/plain", MOST_FRAME_BYTES),
    "not a picture": _changed(frame, value=b"GIF89a" + bytes(100)),
    "JPEG without a header": _changed(frame, value=JPEG[:20]),
    "PNG header cut": _headed(frame, "content-type", b"image/png", value=png()[:20]),
    "too many pixels": _headed(frame, "content-type", b"image/png", value=png(8000, 8000)),
    "a line of pixels": _headed(frame, "content-type", b"image/png", value=png(1, 39_999_999)),
}


def _used(content_type: bytes, body: bytes) -> Maker:
    """A frame that only decoding proves: a text of a key of its own takes it, and has no other."""

    def make(at_us: int, key: str, name: str) -> list[Told]:
        own = f"{key}-{name}"
        bad = frame(at_us + 10_000, own, f"{name}-bad").but(Must.REFUSE, value=body, event=None)
        others = [frame(at_us + shift, own, f"{name}-{shift}") for shift in (-2 * SECOND_US, 600_000)]
        return [bad.with_header("content-type", content_type), *others, text(at_us, own, f"{name}-text")]

    return make


USED: dict[str, Maker] = {
    "JPEG cut": _used(b"image/jpeg", _picture("JPEG")[:1500]),
    "JPEG cut, with an end": _used(b"image/jpeg", _picture("JPEG")[:800] + b"\xff\xd9"),
    "PNG cut": _used(b"image/png", _picture("PNG")[:-2000]),
    "PNG without pixels": _used(b"image/png", png()),
}


def kinds() -> dict[str, Maker]:
    """All, by name."""
    of_streams = (("text", TEXTS), ("frame", FRAMES), ("used", USED))
    return {f"{stream}: {name}": maker for stream, made in of_streams for name, maker in made.items()}
