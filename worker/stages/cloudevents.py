"""Record -> Envelope: CloudEvents 1.0 over Kafka, binary or structured, and plain records (CONTRACT section 1).

What the standards leave open is decided here:

- Any `ce_*` header makes a record a CloudEvent in binary mode; `application/cloudevents+json` goes before both.
- Header names count in any case, as bridges from HTTP write them. A header that comes twice, in one case or in two,
  counts by its last value, as Kafka's own `lastHeader` reads it.
- An absent `time` (optional in CloudEvents) is the record's timestamp; an absent content type is told by the first
  bytes, as for plain records.
- Header values are UTF-8 as they stand; the Kafka binding knows no percent-encoding.
- A `traceparent` that cannot be read is ignored, as W3C Trace Context asks; it never costs an event.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from schemas.names import CE_PREFIX, CE_SPECVERSION, CONTENT_TYPE, JSON, SPEC_VERSION, TEXT, TRACEPARENT
from worker.records import Record
from worker.stages.wire import (
    Reason,
    media_type,
    parse_json,
    parse_time,
    refuse,
    shown,
    to_utf8,
    told_by_bytes,
)
from worker.strict_json import MOST_DEEP
from worker.text_files import is_utf8

_STRUCTURED_START = b"application/cloudevents"
# What names and carries an event; all else is told of it.
_NAMING = {
    "specversion", "id", "type", "time", "datacontenttype", "dataschema", "data", "data_base64", TRACEPARENT,
    "tracestate",
}  # fmt: skip


class Envelope(NamedTuple):
    """What a record says about its event. `content_type` is lower case without parameters."""

    id: str
    source: str
    time_us: int
    content_type: str
    payload: bytes
    traceparent: str | None


def open_envelope(record: Record, modality: str | None = None) -> Envelope:
    """Reads a record in any of its three forms; the stream's `modality` helps to tell what declares no content type.

    Raises:
        Poison: stage VALIDATE; attributes, times or JSON that cannot be read, or nothing in the value.
    """
    value = record.value
    if not value:
        given = "null" if value is None else "empty"
        refuse(Reason.EMPTY_VALUE, f"the record's value is {given}; an event needs a payload")
    headers = _headers(record)
    content_type = headers.get(CONTENT_TYPE)
    if content_type is not None and _is_structured(content_type):
        return _structured(record, value, headers, content_type, modality)
    if CE_SPECVERSION in headers or any(name.startswith(CE_PREFIX) for name in headers):
        return _binary(record, value, headers, content_type, modality)
    told = told_by_bytes(value, modality)
    return Envelope(record.place, record.topic, record.timestamp_ms * 1000, told, value, _trace(headers))


def told_beside(record: Record) -> dict[str, Any]:
    """What an event tells of itself beside its body, its names and its time: `source`, `subject` and extensions.

    The record is one that `open_envelope` has read; a plain one tells nothing.
    """
    headers = _headers(record)
    if _is_structured(headers.get(CONTENT_TYPE, b"")):
        attributes = parse_json(record.value or b"", MOST_DEEP + 1)
    else:
        attributes = _attributes(headers)
    return {name: one for name, one in attributes.items() if name not in _NAMING}


def _headers(record: Record) -> dict[str, bytes]:
    return {name.lower(): raw or b"" for name, raw in record.headers}


def _is_structured(content_type: bytes) -> bool:
    return content_type.lstrip()[: len(_STRUCTURED_START)].lower() == _STRUCTURED_START


def _binary(
    record: Record, value: bytes, headers: Mapping[str, bytes], content_type: bytes | None, modality: str | None
) -> Envelope:
    attributes = _attributes(headers)
    _check_version(attributes)
    _required(attributes, "type")
    return Envelope(
        _required(attributes, "id"),
        _required(attributes, "source"),
        _time(record, attributes),
        told_by_bytes(value, modality) if content_type is None else media_type(content_type),
        value,
        _trace(headers) or attributes.get(TRACEPARENT),
    )


def _attributes(headers: Mapping[str, bytes]) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for name, raw in headers.items():
        if name[:3] == CE_PREFIX:
            try:
                attributes[name[3:]] = raw.decode()
            except UnicodeDecodeError:
                refuse(Reason.ATTRIBUTES, f"header {shown(name)} is not UTF-8: {shown(raw)}")
    return attributes


def _structured(
    record: Record, value: bytes, headers: Mapping[str, bytes], content_type: bytes, modality: str | None
) -> Envelope:
    kind = content_type.lstrip()[len(_STRUCTURED_START) :].split(b";")[0].strip().lower()
    if kind != b"+json":
        refuse(
            Reason.CONTENT_TYPE,
            f"content-type {shown(content_type)} is not read; send one event a record, as application/cloudevents+json",
        )
    media_type(content_type)
    attributes = parse_json(value, MOST_DEEP + 1)  # The event lies around its data.
    if not isinstance(attributes, dict):
        refuse(Reason.BAD_JSON, f"a structured CloudEvent is a JSON object; this is a {type(attributes).__name__}")
    _check_version(attributes)
    _required(attributes, "type")
    inner, payload = _data(attributes, modality)
    extension = attributes.get(TRACEPARENT)
    trace = extension if isinstance(extension, str) and is_utf8(extension) else None
    return Envelope(
        _required(attributes, "id"),
        _required(attributes, "source"),
        _time(record, attributes),
        inner,
        payload,
        _trace(headers) or trace,
    )


def _data(attributes: Mapping[str, Any], modality: str | None) -> tuple[str, bytes]:
    """The content type and the body of a structured event."""
    declared = attributes.get("datacontenttype")
    if declared is not None and not isinstance(declared, str):
        refuse(Reason.CONTENT_TYPE, f"datacontenttype is {shown(declared)}; it is a string such as text/plain")
    inner = None if declared is None else media_type(declared.encode("utf-8", "replace"))
    data, coded = attributes.get("data"), attributes.get("data_base64")
    if data is not None and coded is not None:
        refuse(Reason.ATTRIBUTES, "data and data_base64 are both given; an event has one of them")
    if coded is not None:
        payload = _base64(coded)
    elif data is None or data == "":
        payload = b""
    elif isinstance(data, str) and inner != JSON:
        inner, payload = inner or TEXT, to_utf8(data)
    elif inner in (None, JSON):
        inner, payload = JSON, _to_json(data)
    else:
        refuse(Reason.ATTRIBUTES, f"data is a JSON {type(data).__name__} and datacontenttype {inner}; use data_base64")
    if not payload:
        refuse(Reason.EMPTY_VALUE, "neither data nor data_base64 holds anything; an event needs a payload")
    return inner or told_by_bytes(payload, modality), payload


def _base64(coded: object) -> bytes:
    if not isinstance(coded, str):
        refuse(Reason.ATTRIBUTES, f"data_base64 is {shown(coded)}; it is a string")
    try:
        return base64.b64decode(coded, validate=True)
    except (binascii.Error, ValueError) as error:
        refuse(Reason.ATTRIBUTES, f"data_base64 is not base64: {error}")


def _to_json(data: object) -> bytes:
    try:
        return to_utf8(json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    except ValueError as error:
        refuse(Reason.BAD_JSON, f"data cannot be written as JSON: {type(error).__name__}: {error}")


def _check_version(attributes: Mapping[str, Any]) -> None:
    version = attributes.get("specversion")
    if version != SPEC_VERSION:
        given = "missing" if version is None else shown(version)
        refuse(Reason.SPEC_VERSION, f"CloudEvents specversion is {given}; this worker reads {SPEC_VERSION}")


def _required(attributes: Mapping[str, Any], name: str) -> str:
    value = attributes.get(name)
    if not isinstance(value, str) or not value:
        given = "missing" if value is None else shown(value)
        refuse(Reason.ATTRIBUTES, f"CloudEvents attribute {name!r} is {given}; it must be a string that is not empty")
    if not value.isascii() and not is_utf8(value):
        refuse(Reason.ATTRIBUTES, f"CloudEvents attribute {name!r} holds half a surrogate pair: {shown(value)}")
    return value


def _time(record: Record, attributes: Mapping[str, Any]) -> int:
    value = attributes.get("time")
    return record.timestamp_ms * 1000 if value is None else parse_time(value)


def _trace(headers: Mapping[str, bytes]) -> str | None:
    raw = headers.get(TRACEPARENT)
    return raw.decode("ascii") if raw and raw.isascii() else None
