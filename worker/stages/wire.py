"""Bytes -> values: RFC 3339 times, media types and strict JSON, each or a Poison of stage VALIDATE.

What the standards leave open is decided here:

- A leap second (23:59:60 UTC) is the first second of the next day, as on a POSIX clock. Digits finer than a
  microsecond are cut off, never rounded, so that an event cannot move past another.
- JSON is strict, as `worker.strict_json` tells.
"""

from __future__ import annotations

import re
from datetime import date
from enum import StrEnum
from typing import Any, NoReturn

from schemas.names import ALIASES, JPEG, JSON, PNG, TEXT, WAV
from worker.errors import Poison
from worker.image import PNG_SIGNATURE
from worker.records import Stage
from worker.strict_json import MOST_DEEP, read_json
from worker.wav import looks_like_wav

_JPEG_START = b"\xff\xd8\xff"
_KNOWN_TYPES = {name.encode(): name for name in (JPEG, PNG, TEXT, JSON, WAV)}
_ASCII_COMPATIBLE = ("", "utf-8", "utf8", "us-ascii", "ascii")
# Begins at a semicolon, so that a megabyte without one is passed once.
_PARAMETER = re.compile(r"""(?:^|;)\s*([^\s;="]++)\s*+=\s*+("(?:[^"\\]|\\.)*+"|[^;]*+)""")
# Kinds of which a charset says something; on a picture it is noise that some clients add.
_HAVE_CHARSET = (TEXT, JSON, "application/cloudevents+json")
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt]([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(?:\.(\d+))?"
    r"(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))",
    re.ASCII,
)
_SHOWN_CHARACTERS = 64  # Enough of a bad value to recognise it; a header may be megabytes long.


class Reason(StrEnum):
    """Why a record was refused when it was read; the `reason` label of `dead_letters_total`."""

    UNKNOWN_TOPIC = "unknown_topic"
    NO_KEY = "no_key"
    KEY_NOT_UTF8 = "key_not_utf8"
    EMPTY_VALUE = "empty_value"
    ATTRIBUTES = "attributes"
    SPEC_VERSION = "spec_version"
    CONTENT_TYPE = "content_type"
    EVENT_TIME = "event_time"
    TOO_LARGE = "too_large"
    IMAGE_HEADER = "image_header"
    TOO_MANY_PIXELS = "too_many_pixels"
    TEXT_NOT_UTF8 = "text_not_utf8"
    BAD_JSON = "bad_json"
    NO_NUMBERS = "no_numbers"
    NOT_FINITE = "not_finite"
    AUDIO_HEADER = "audio_header"
    TOO_LONG = "too_long"
    CANNOT_MASK = "cannot_mask"
    UNEXPECTED = "unexpected"


def refuse(reason: Reason, message: str) -> NoReturn:
    """Raises the Poison of stage VALIDATE."""
    raise Poison(Stage.VALIDATE, reason, message)


def shown(value: object) -> str:
    """A value for a message, cut short; of a number, list or object only the type, which may be too deep to print."""
    if not isinstance(value, str | bytes):
        return f"of type {type(value).__name__}"
    text = repr(value[: _SHOWN_CHARACTERS + 1])
    return text if len(text) <= _SHOWN_CHARACTERS + 2 else text[:_SHOWN_CHARACTERS] + "..."


def parse_time(value: object) -> int:
    """Microseconds since 1970 of an RFC 3339 time with `Z` or an offset.

    Raises:
        Poison: reason event_time.
    """
    found = _RFC3339.fullmatch(value) if isinstance(value, str) else None
    if found is not None:
        year, month, day, hour, minute, second, fraction, sign, offset_hours, offset_minutes = found.groups()
        try:
            days = date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY
        except ValueError:
            refuse(Reason.EVENT_TIME, f"event time {shown(value)} names a day that no calendar has")
        seconds = days * 86_400 + int(hour) * 3600 + int(minute) * 60 + int(second)
        if sign is not None:
            offset = int(offset_hours) * 3600 + int(offset_minutes) * 60
            seconds += offset if sign == "-" else -offset
        if second != "60" or seconds % 86_400 == 0:
            return seconds * 1_000_000 + (int(fraction.ljust(6, "0")[:6]) if fraction else 0)
    refuse(Reason.EVENT_TIME, f"event time {shown(value)} is not RFC 3339, such as 2026-01-01T00:00:03.250Z")


def media_type(raw: bytes) -> str:
    """A content type without its parameters, in lower case, by its first name where it has several.

    Raises:
        Poison: reason content_type; not ASCII, or a text in a charset other than UTF-8.
    """
    known = _KNOWN_TYPES.get(raw)
    if known is not None:
        return known
    if not raw.isascii():
        refuse(Reason.CONTENT_TYPE, f"content type {shown(raw)} is not ASCII")
    name, _, parameters = raw.decode("ascii").lower().partition(";")
    name = ALIASES.get(name.strip(), name.strip())
    if name in _HAVE_CHARSET:
        for word, value in _PARAMETER.findall(parameters):
            if word == "charset" and value.strip(' \t"') not in _ASCII_COMPATIBLE:
                refuse(Reason.CONTENT_TYPE, f"content type {shown(raw)} is not read; texts are UTF-8")
    return name


def told_by_bytes(payload: bytes, modality: str | None = None) -> str:
    """The content type of a payload that declares none, from its first bytes.

    Text and JSON have no mark of their own. What is none of the others is JSON where the stream's `modality` is sensor;
    elsewhere it is text, JSON only where it is an object with a string `text`.
    """
    if payload.startswith(_JPEG_START):
        return JPEG
    if payload.startswith(PNG_SIGNATURE):
        return PNG
    if looks_like_wav(payload):
        return WAV
    if modality == "sensor":
        return JSON
    if payload[:16].lstrip(b" \t\r\n").startswith(b"{"):
        try:
            body = parse_json(payload)
        except Poison:
            return TEXT
        if isinstance(body, dict) and isinstance(body.get("text"), str):
            return JSON
    return TEXT


def parse_json(raw: bytes, deepest: int = MOST_DEEP) -> Any:
    """Strict JSON of UTF-8 bytes.

    Raises:
        Poison: reasons text_not_utf8, bad_json.
    """
    try:
        return read_json(raw, deepest)
    except UnicodeDecodeError as error:
        refuse(Reason.TEXT_NOT_UTF8, f"the body is not UTF-8 at byte {error.start}")
    except ValueError as error:
        refuse(Reason.BAD_JSON, f"the body is not JSON that can be read: {type(error).__name__}: {error}")


def to_utf8(text: str) -> bytes:
    """UTF-8 bytes of a string out of JSON.

    Raises:
        Poison: reason text_not_utf8; JSON escapes can spell half a surrogate pair, which no UTF-8 has.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        refuse(Reason.TEXT_NOT_UTF8, f"the text holds half a surrogate pair at character {error.start}")
