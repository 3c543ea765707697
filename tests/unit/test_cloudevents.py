"""The three forms of an event on Kafka."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.unit.incoming import JPEG, TIME, TIME_US, binary, plain, refused, validator
from worker.errors import Poison
from worker.records import Record
from worker.stages.cloudevents import open_envelope

STRUCTURED = ("content-type", b"application/cloudevents+json; charset=UTF-8")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def structured(*, topic: str = "texts-in", headers: tuple[tuple[str, bytes], ...] = (), **changes: Any) -> Record:
    event = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/desk/1",
        "type": "text.v1",
        "time": TIME.decode(),
        "datacontenttype": "text/plain",
        "data": "a truck has stopped",
    }
    event.update(changes)
    body = json.dumps({name: value for name, value in event.items() if value is not None})
    return plain(body.encode(), topic=topic, headers=(STRUCTURED, *headers))


def test_binary_mode() -> None:
    """A binary CloudEvent's attributes come from its headers and its payload is the value itself."""
    record = binary()
    event = validator().read(record)
    assert (event.stream, event.key, event.id, event.source) == ("frames", "junction-12", "e-1", "/cameras/1")
    assert (event.time_us, event.content_type, event.traceparent) == (TIME_US, "image/jpeg", None)
    assert event.payload is record.value
    assert event.record is record


def test_structured_text() -> None:
    """A structured CloudEvent's string data is the payload in UTF-8."""
    event = validator().read(structured(data="Stau – überall"))
    assert event.payload == "Stau – überall".encode()
    assert (event.id, event.source, event.time_us, event.content_type) == ("e-1", "/desk/1", TIME_US, "text/plain")


def test_structured_image() -> None:
    """data_base64 is decoded."""
    coded = base64.b64encode(JPEG).decode()
    record = structured(topic="frames-in", data=None, data_base64=coded, datacontenttype="IMAGE/JPEG")
    event = validator().read(record)
    assert (event.payload, event.content_type) == (JPEG, "image/jpeg")


def test_structured_json() -> None:
    """Object data is the JSON payload, other fields kept."""
    data = {"text": "ö", "lane": 3}
    event = validator().read(structured(data=data, datacontenttype="application/json"))
    assert (json.loads(event.payload), event.content_type) == (data, "application/json")


@pytest.mark.parametrize(
    ("changes", "content_type"),
    [({"data": "hello"}, "text/plain"), ({"data": {"text": "hello"}}, "application/json")],
)
def test_structured_without_datacontenttype(changes: dict[str, Any], content_type: str) -> None:
    """Without datacontenttype a string is text and an object is JSON."""
    assert validator().read(structured(datacontenttype=None, **changes)).content_type == content_type


def test_structured_base64_without_datacontenttype() -> None:
    """Without datacontenttype the first bytes of data_base64 tell the kind."""
    coded = base64.b64encode(JPEG).decode()
    record = structured(topic="frames-in", data=None, data_base64=coded, datacontenttype=None)
    assert validator().read(record).content_type == "image/jpeg"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"specversion": "0.3"}, "spec_version"),
        ({"specversion": None}, "spec_version"),
        ({"id": ""}, "attributes"),
        ({"id": 5}, "attributes"),
        ({"id": "\ud800"}, "attributes"),
        ({"source": None}, "attributes"),
        ({"type": None}, "attributes"),
        ({"time": 1767225603}, "event_time"),
        ({"time": "yesterday"}, "event_time"),
        ({"data": None}, "empty_value"),
        ({"data": ""}, "empty_value"),
        ({"data": "\ud800"}, "text_not_utf8"),
        ({"data_base64": "aGk="}, "attributes"),
        ({"data": None, "data_base64": "no base64!"}, "attributes"),
        ({"data": None, "data_base64": "é"}, "attributes"),
        ({"data": None, "data_base64": 7}, "attributes"),
        ({"data": None, "data_base64": ""}, "empty_value"),
        ({"data": {"text": "hi"}}, "attributes"),
        ({"datacontenttype": ["text/plain"]}, "content_type"),
        ({"datacontenttype": "\ud800"}, "content_type"),
        ({"datacontenttype": "image/jpeg"}, "content_type"),
        ({"datacontenttype": "application/json", "data": "no object"}, "bad_json"),
        ({"datacontenttype": "application/json", "data": {"text": "\udfff"}}, "text_not_utf8"),
    ],
)
def test_structured_refusals(changes: dict[str, Any], reason: str) -> None:
    """A structured event that cannot be read is refused with its reason."""
    assert refused(structured(**changes))[0] == reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "bad_json"),
        (b"[]", "bad_json"),
        (b"null", "bad_json"),
        (b'{"specversion": NaN}', "bad_json"),
        (b"\xff\xfe", "text_not_utf8"),
        (b"[" * 60_000, "bad_json"),
        (b'{"a":' * 60_000, "bad_json"),
        (b"1" * 60_000, "bad_json"),
        (b"[" * 900 + b"]" * 900, "bad_json"),
        (b'{"specversion":"1.0","id":"i","source":"s","type":"t","data":{"text":"x","n":1e999}}', "bad_json"),
        (b'{"specversion":"1.0","id":' + b"[" * 900 + b"]" * 900 + b"}", "attributes"),
    ],
)
def test_structured_bodies_that_are_no_event(body: bytes, reason: str) -> None:
    """Broken, deep and huge JSON is refused, never a crash."""
    given_reason, message = refused(plain(body, headers=(STRUCTURED,)))
    assert given_reason in (reason, "bad_json")
    assert len(message) < 400


def test_payload_of_a_structured_event_is_json() -> None:
    """A number that overflows a float does not become `Infinity` in the payload."""
    body = b'{"specversion":"1.0","id":"i","source":"s","type":"t","data":{"text":"x","n":1e999}}'
    with pytest.raises(Poison, match="cannot be written as JSON"):
        open_envelope(plain(body, headers=(STRUCTURED,)))


def test_batched_mode_is_refused() -> None:
    """A batch of CloudEvents in one record is refused with the remedy."""
    record = plain(b"[]", headers=(("content-type", b"application/cloudevents-batch+json"),))
    reason, message = refused(record)
    assert reason == "content_type"
    assert "send one event a record, as application/cloudevents+json" in message


@pytest.mark.parametrize(
    ("topic", "value", "content_type"),
    [
        ("frames-in", JPEG, "image/jpeg"),
        ("texts-in", b"a truck", "text/plain"),
        ("texts-in", b' {"text": "a truck"}', "application/json"),
        ("texts-in", b'{"note": "a truck"}', "text/plain"),
        ("texts-in", b"{ broken", "text/plain"),
        ("texts-in", b'{"text": 5}', "text/plain"),
    ],
)
def test_plain_records(topic: str, value: bytes, content_type: str) -> None:
    """A plain record's id is its place, its time the record's, its kind told by its first bytes."""
    event = validator().read(plain(value, topic=topic))
    assert (event.id, event.source, event.time_us) == (f"{topic}/2/7", topic, TIME_US)
    assert (event.content_type, event.payload) == (content_type, value)


def test_absent_time_is_the_records() -> None:
    """A CloudEvent without `time` has its record's timestamp."""
    assert validator().read(binary(ce_time=None, timestamp_ms=1_767_225_600_001)).time_us == 1_767_225_600_001_000


def test_the_last_of_repeated_headers_counts() -> None:
    """A header that comes twice counts by its last value."""
    assert validator().read(binary(headers=(("ce_id", b"e-2"),))).id == "e-2"


@pytest.mark.parametrize("spell", [str.upper, str.title, lambda name: name.replace("c", "C")])
def test_headers_in_any_case(spell: Callable[[str], str]) -> None:
    """Names count in any case, as HTTP proxies and bridges write them; of those that differ in case alone the last."""
    plainly = validator().read(binary(headers=(("traceparent", b"00-aa-bb-01"),)))
    record = binary(headers=(("traceparent", b"00-aa-bb-01"),))
    spelt = replace(record, headers=tuple((spell(name), value) for name, value in record.headers))
    assert replace(validator().read(spelt), record=record) == plainly
    both = replace(record, headers=(*record.headers, (spell("ce_id"), b"e-2")))
    assert validator().read(both).id == "e-2"
    structure = structured()
    headers = ((spell("content-type"), b" Application/CloudEvents+JSON ; Charset=UTF-8"),)
    assert validator().read(replace(structure, headers=headers)).payload == b"a truck has stopped"


def test_traceparent_is_carried() -> None:
    """A traceparent comes from the header, else from the extension attribute; an unreadable one is ignored."""
    header = (("traceparent", b"00-aa-bb-01"),)
    assert validator().read(binary(headers=header)).traceparent == "00-aa-bb-01"
    assert validator().read(binary(ce_traceparent=b"00-cc-dd-01")).traceparent == "00-cc-dd-01"
    assert validator().read(binary(ce_traceparent=b"00-cc-dd-01", headers=header)).traceparent == "00-aa-bb-01"
    assert validator().read(plain(b"hi", headers=header)).traceparent == "00-aa-bb-01"
    assert validator().read(structured(traceparent="00-ee-ff-01")).traceparent == "00-ee-ff-01"
    assert validator().read(structured(headers=header)).traceparent == "00-aa-bb-01"
    assert validator().read(plain(b"hi", headers=(("traceparent", b"\xff"),))).traceparent is None
    assert validator().read(structured(traceparent="\ud800")).traceparent is None
