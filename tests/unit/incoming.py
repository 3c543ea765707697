"""Records as producers send them, and a validator whose clock stands at 2026-01-01T00:01:00Z."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest
import simplejpeg

from worker.errors import Poison
from worker.records import Record
from worker.stages.validate import StreamSpec, Validator

NOW_US = 1_767_225_660_000_000
TIME = b"2026-01-01T00:00:03.250Z"
TIME_US = 1_767_225_603_250_000
JPEG = simplejpeg.encode_jpeg(np.zeros((48, 64, 3), np.uint8))


class FixedClock:
    """Stands still."""

    def now_us(self) -> int:
        return NOW_US


def png(width: int = 4, height: int = 3, *, checksum: int | None = None) -> bytes:
    """A PNG's signature and IHDR; no pixels follow."""
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + ihdr + struct.pack(">I", checksum or zlib.crc32(ihdr))


def wav(
    data: bytes = bytes(3200), *, rate: int = 16_000, channels: int = 1, bits: int = 16, tag: int = 1,
    declared: int | None = None, before: bytes = b"", subformat: int | None = None,
) -> bytes:  # fmt: skip
    """A WAV file; `before` comes ahead of its data chunk, `subformat` writes an extensible fmt chunk."""
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", tag if subformat is None else 0xFFFE, channels, rate, rate * frame, frame, bits)
    if subformat is not None:
        form += struct.pack("<HHIH", 22, bits, 0, subformat) + bytes.fromhex("000000001000800000aa00389b71")
    size = len(data) if declared is None else declared
    body = b"fmt " + struct.pack("<I", len(form)) + form + before + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def validator(**limits: int) -> Validator:
    """Topics `frames-in`, `texts-in`, `sensors-in` and `sounds-in`; limits of the contract unless named."""
    defaults = {
        "max_frame_bytes": 8 * 2**20,
        "max_frame_pixels": 40_000_000,
        "max_text_bytes": 64 * 2**10,
        "max_sensor_bytes": 64 * 2**10,
        "max_audio_bytes": 8 * 2**20,
        "max_audio_seconds": 60,
        "max_ahead_us": 3_600_000_000,
    }
    modalities = {"frames": "image", "texts": "text", "sensors": "sensor", "sounds": "audio"}
    streams = {f"{name}-in": StreamSpec(name, modality) for name, modality in modalities.items()}
    return Validator(streams, FixedClock(), **{**defaults, **limits})


def binary(value: bytes | None = JPEG, content_type: bytes = b"image/jpeg", **changes: Any) -> Record:
    """A CloudEvent in binary mode. `ce_*` changes replace a header, None removes it; the others replace fields."""
    headers: dict[str, bytes | None] = {
        "ce_specversion": b"1.0",
        "ce_id": b"e-1",
        "ce_source": b"/cameras/1",
        "ce_type": b"frame.v1",
        "ce_time": TIME,
        "content-type": content_type,
    }
    headers.update({name: changes.pop(name) for name in list(changes) if name.startswith("ce_")})
    kept = tuple((name, one) for name, one in headers.items() if one is not None)
    kind = content_type.partition(b"/")[0]
    topic = changes.pop("topic", {b"image": "frames-in", b"audio": "sounds-in"}.get(kind, "texts-in"))
    return plain(value, topic=topic, headers=kept + tuple(changes.pop("headers", ())), **changes)


def plain(value: bytes | None, *, topic: str = "texts-in", **changes: Any) -> Record:
    """A record without any CloudEvents header."""
    fields = {"partition": 2, "offset": 7, "timestamp_ms": TIME_US // 1000, "key": b"junction-12", **changes}
    return Record(topic=topic, value=value, **fields)


def refused(record: Record, **limits: int) -> tuple[str, str]:
    """(reason, message) with which the validator refuses a record."""
    with pytest.raises(Poison) as caught:
        validator(**limits).read(record)
    assert caught.value.stage == "VALIDATE"
    return caught.value.reason, str(caught.value)
