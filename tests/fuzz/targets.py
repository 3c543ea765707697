"""Bytes -> a value (True) or the project's own error for bad input (False): a function for each parser, and good input.

Any exception that leaves a target is a find. The limits are those of the contract but for a picture's pixels:
what is decoded there takes a second, and a fuzzer wants thousands.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from schemas.names import JPEG as JPEG_TYPE
from schemas.names import PNG as PNG_TYPE
from tests.unit.incoming import JPEG, FixedClock, binary, plain, validator, wav
from tests.unit.media import exif, four, interlaced, jpeg, saved, with_app1, ycck
from tests.unit.media_cases import animated, palette_with_trns, transparent
from worker.errors import ConfigError, Fatal, Poison
from worker.image import PNG_SIGNATURE
from worker.model.pictures import decode_image
from worker.model.signals import Column, read_audio, read_sensor
from worker.pipeline.positions import position_of
from worker.records import Event, Record
from worker.settings import load
from worker.stages.guard import DeadLetterGuard, Tally, suffix
from worker.stages.ledger import Ledger, encode_finished
from worker.store.codec import encode_record, encode_reference, kept_record
from worker.strict_json import read_json

_LIMIT_PIXELS = 1_000_000
_VALIDATOR = validator(max_frame_pixels=_LIMIT_PIXELS)
_COLUMNS = [Column("speed"), Column("door", "OPEN")]
_STREAMS = ("texts", "sensors", "frames", "sounds")
_IS_STRUCTURED = (("content-type", b"application/cloudevents+json"),)
_SPLIT = b"\n--\n"


class Target(NamedTuple):
    """A parser under any bytes. `good`: what it reads."""

    parse: Callable[[bytes], bool]
    good: Sequence[bytes]


def _hold(what: bool, found: object) -> None:
    if not what:
        raise AssertionError(str(found))


def _read(record: Record) -> Event | None:
    try:
        event = _VALIDATOR.read(record)
    except Poison as poison:
        _hold(poison.reason != "unexpected", poison)
        return None
    assert _VALIDATOR.reread(record) == event
    return event


def headers(data: bytes) -> bool:
    """A record's key, its value, and names and values of its headers, a part each."""
    key, value, *parts = [*data.split(_SPLIT), b""][: max(2, data.count(_SPLIT) + 1)]
    pairs = zip(parts[::2], parts[1::2], strict=False)
    told = tuple((name.decode("utf-8", "replace"), raw) for name, raw in pairs)
    found = [_read(Record(f"{name}-in", 0, 0, 1_767_225_603_250, key, value, told)) for name in _STREAMS]
    for event in filter(None, found):
        json.dumps([event.id, event.source, event.key, event.traceparent or ""], ensure_ascii=False).encode()
    return any(found)


def json_body(data: bytes) -> bool:
    """A body of JSON, as a text, as a reading and as an event in structured mode."""
    found = False
    with contextlib.suppress(ValueError):  # UnicodeDecodeError is one
        read_json(data)
        found = True
    _read(binary(data, b"application/json"))
    _read(plain(data))
    _read(plain(data, headers=_IS_STRUCTURED))
    if _read(plain(data, topic="sensors-in")) is not None:
        with contextlib.suppress(Poison):
            _hold(not read_sensor(data, _COLUMNS, "sensors").isinf().any(), "infinite")
    return found


def _picture(data: bytes, content_type: str) -> bool:
    event = _read(binary(data, content_type.encode(), topic="frames-in"))
    if event is None:
        return False
    try:
        pixels = decode_image(event.payload, 32, "frames")
    except Poison as poison:
        _hold(poison.exception in ("ImageError", "ValueError", "OSError", "SyntaxError"), poison)
        return False
    _hold(pixels.shape == (3, 32, 32), pixels.shape)
    return True


def png(data: bytes) -> bool:
    """Header and pixels; once more with right checksums, behind which no change would be seen."""
    return _picture(data, PNG_TYPE) | _picture(_with_checksums(data), PNG_TYPE)


def _with_checksums(data: bytes) -> bytes:
    body, place = bytearray(data), len(PNG_SIGNATURE)
    while place + 12 <= len(body):
        end = place + 8 + int.from_bytes(body[place : place + 4], "big")
        if end + 4 > len(body):
            break
        body[end : end + 4] = zlib.crc32(body[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(body)


def jpeg_file(data: bytes) -> bool:
    """Header and pixels."""
    return _picture(data, JPEG_TYPE)


def wav_file(data: bytes) -> bool:
    """Header and sound."""
    event = _read(binary(data, b"audio/wav"))
    if event is None:
        return False
    with contextlib.suppress(Poison):
        _hold(bool(read_audio(event.payload, 16_000, 0.05, 8, "sounds").isfinite().all()), "not finite")
    return True


def metadata(data: bytes) -> bool:
    """What a commit carries: finished offsets, a context's position, the dead letters' tally."""
    text, guard = data.decode("latin-1"), DeadLetterGuard(0, 0, FixedClock())
    try:
        guard.resume("texts", text)
        position_of(text)
        ledger = Ledger(1, 7, text)
        ledger.read(7)
        position = ledger.preview()
        _hold(position is not None and position[0] >= 7, position)
        suffix(guard.after({"texts": [(True, "")]})["texts"])
    except Fatal:
        return False
    return True


def toml(data: bytes) -> bool:
    """A configuration file, and each of its first lines as `--set` and as a variable."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        found = _configured(Path(file.name), [], {})
    lines = [line for line in data.decode("utf-8", "replace").splitlines() if "=" in line][:3]
    for line in lines:
        name, _, value = line.partition("=")
        _configured(None, [line], {})
        _configured(None, [], {f"FUSION__{name.strip().replace('.', '__').upper()}": value.strip()})
    return found


def _configured(path: Path | None, overrides: Sequence[str], environ: Mapping[str, str]) -> bool:
    try:
        load(path, overrides, environ)
    except ConfigError as error:
        _hold(bool(str(error)) and error.exit_code == 2, error)
        return False
    return True


def kept(data: bytes) -> bool:
    """A record, or where one lies, as Redis keeps it."""
    return not isinstance(kept_record(data), Poison)


def _joined(record: Record) -> bytes:
    parts: list[bytes] = [record.key or b"", record.value or b""]
    for name, raw in record.headers:
        parts += [name.encode(), raw or b""]
    return _SPLIT.join(parts)


def _structured(**fields: Any) -> bytes:
    return json.dumps({"specversion": "1.0", "id": "i", "source": "s", "type": "t", **fields}).encode()


_EXAMPLE = Path(__file__).parents[2] / "deploy/config.example.toml"
_TALLY = suffix(Tally(3, 0b1011, 1_767_225_603_250)).encode()
_RUNS = encode_finished(7, [(9, 12), (20, 400), (2**40, 2**40 + 3)]).encode()
_TRACE = (("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),)
TARGETS: Mapping[str, Target] = {
    "headers": Target(headers, [
        _joined(binary(headers=_TRACE)), _joined(binary(b"hi", b'text/plain; charset="utf-8"')), _joined(plain(b"hi")),
        _joined(binary(b'{"text":"hi"}', b"application/json", ce_time=b"2026-01-01T00:59:60.1+01:00")),
        _joined(plain(_structured(data="hi"), headers=_IS_STRUCTURED)),
    ]),
    "json": Target(json_body, [
        b'{"text": "hi \\ud83d\\ude00", "camera": 3}', b'{"speed": 31.5, "counts": [3, null], "door": "OPEN"}',
        b'{"values": {"speed": -1e-3}}', _structured(data={"text": "hi"}, time="2026-01-01T00:00:03.250Z"),
        _structured(data_base64="aGk=", datacontenttype="text/plain"), b"[[]]", b'"\\u0000"',
    ]),
    "png": Target(png, [
        saved(four()), interlaced(four()), palette_with_trns(), transparent("L"), animated(),
        saved(four().convert("1")), saved(four().convert("I;16")),
    ]),
    "jpeg": Target(jpeg_file, [
        JPEG, jpeg(four()), with_app1(jpeg(four(), "420"), exif(5)), saved(four(), "JPEG", progressive=True),
        ycck(four()),
    ]),
    "wav": Target(wav_file, [
        wav(bytes(640)), wav(bytes(64), subformat=3, bits=32), wav(bytes(64), declared=2**32 - 1),
        wav(bytes(48), bits=24, channels=2), wav(bytes(64), before=b"LIST\4\0\0\0abcd"),
    ]),
    "metadata": Target(metadata, [
        _RUNS, _RUNS + _TALLY, b"c2:e0.0-1:1767225603250:12:40", b"c2:e0.0-1:1767225603250:12:40" + _TALLY,
        b"c1:e0:17", _TALLY,
    ]),
    "toml": Target(toml, [
        _EXAMPLE.read_bytes()[:3000], b"[model]\nmax_batch = 7\n",
        b'[streams.t]\ntopic = "t"\nmodality = "text"\nrole = "anchor"\n',
        b'model.max_batch = 7\nlimits.max_ahead = "20s"\nlimits.max_frame_bytes = "8MiB"\n',
        b'redis.url = "rediss://u:p@[::1]:6379?db=1"\nkafka.bootstrap_servers = "a:1,b:2"\n',
        b"[limits]\ndead_letter_ratio = 0.1\nmax_text_bytes = 10\n",
    ]),
    "kept": Target(kept, [
        encode_record(binary(headers=_TRACE)), encode_record(plain(None, key=None)), encode_reference(plain(b"hi")),
    ]),
}  # fmt: skip
