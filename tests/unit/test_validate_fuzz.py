"""Whatever comes, the validator gives an Event or a Poison."""

from __future__ import annotations

import base64
import contextlib
import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.incoming import JPEG, TIME, binary, plain, png, validator, wav
from worker.errors import Poison
from worker.model.signals import Column, read_audio, read_sensor
from worker.records import Event, Record, Stage
from worker.stages.validate import Reason

NAMES = ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_x", "content-type", "traceparent"]
TYPES = [b"image/jpeg", b"image/png", b"text/plain", b"application/json", b"application/cloudevents+json", b"audio/wav"]
TYPES += [b"1.0", TIME]
TOPICS = ["frames-in", "texts-in", "sensors-in", "sounds-in"]
HEADERS = st.lists(st.tuples(st.sampled_from(NAMES) | st.text(), st.sampled_from(TYPES) | st.binary()), max_size=10)
JSONS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=10,
)
ATTRIBUTES = ["specversion", "id", "source", "type", "time", "datacontenttype", "data", "data_base64", "traceparent"]
GOOD = [
    binary(),
    binary(png(), b"image/png"),
    binary(b'{"text":"hi"}', b"application/json"),
    plain(JPEG, topic="frames-in"),
    plain(b"hi"),
    binary(b'{"speed": 31.5, "counts": [3, null]}', b"application/json", topic="sensors-in"),
    plain(b'{"values": {"speed": 31.5}}', topic="sensors-in"),
    binary(wav(bytes(64)), b"audio/wav"),
    plain(wav(bytes(64), subformat=3, bits=32), topic="sounds-in"),
    plain(
        json.dumps(
            {
                "specversion": "1.0",
                "id": "i",
                "source": "s",
                "type": "t",
                "data_base64": base64.b64encode(b"hi").decode(),
            }
        ).encode(),
        headers=(("content-type", b"application/cloudevents+json"),),
    ),
]


def read(record: Record) -> Event | Poison:
    """Reads a record; anything but an Event or a Poison escapes and fails the test."""
    try:
        return validator().read(record)
    except Poison as poison:
        return poison


def read_or_refuse(record: Record) -> None:
    """Checks what a record becomes."""
    found = read(record)
    if isinstance(found, Poison):
        assert found.stage is Stage.VALIDATE
        assert found.reason in list(Reason)
        return
    assert found.payload
    assert validator().reread(record) == found
    for text in (found.id, found.source, found.key, found.traceparent or ""):
        text.encode()


@settings(max_examples=400, deadline=None)
@given(
    topic=st.sampled_from([*TOPICS, "other"]),
    timestamp_ms=st.integers(-(2**63), 2**63 - 1),
    key=st.none() | st.binary(),
    value=st.none() | st.binary() | st.text().map(str.encode) | JSONS.map(json.dumps).map(str.encode),
    headers=HEADERS,
)
def test_any_record(
    topic: str, timestamp_ms: int, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]
) -> None:
    """Any record at all gives an Event or a Poison."""
    read_or_refuse(Record(topic, 0, 0, timestamp_ms, key, value, tuple(headers)))


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(TOPICS),
    st.dictionaries(st.sampled_from(ATTRIBUTES), JSONS | st.sampled_from(["1.0", TIME.decode(), "text/plain", "aGk="])),
)
def test_any_structured_event(topic: str, attributes: dict[str, object]) -> None:
    """Any JSON object in structured mode gives an Event or a Poison."""
    headers = (("content-type", b"application/cloudevents+json"),)
    read_or_refuse(plain(json.dumps({"specversion": "1.0", **attributes}).encode(), topic=topic, headers=headers))


NUMBERS = st.none() | st.booleans() | st.integers() | st.floats() | st.lists(st.none() | st.floats(), max_size=5)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.text(st.characters()), NUMBERS | JSONS, max_size=4), st.booleans())
def test_any_reading(fields: dict[str, object], inner: bool) -> None:
    """Any JSON object on a sensor's topic gives an Event or a Poison; the model takes what an Event holds."""
    body = json.dumps({"values": fields} if inner else fields).encode()
    record = plain(body, topic="sensors-in")
    read_or_refuse(record)
    if isinstance(read(record), Event):
        told = json.loads(body)
        fields = told["values"] if isinstance(told.get("values"), dict) else told
        names = [name for name, value in fields.items() if value is None or isinstance(value, int | float | str)]
        columns = [Column(name, word) for name in names for word in (None, "x")]
        assert not read_sensor(body, columns, "sensors").isinf().any()


@settings(max_examples=400, deadline=None)
@given(
    data=st.binary(max_size=80), before=st.binary(max_size=40), declared=st.none() | st.integers(0, 2**32 - 1),
    tag=st.sampled_from([1, 3, 0xFFFE]) | st.integers(0, 65_535), subformat=st.none() | st.integers(0, 4),
    rate=st.sampled_from([0, 1_000, 44_100]) | st.integers(0, 200_000), channels=st.integers(0, 9),
    bits=st.sampled_from([8, 16, 24, 32, 64, 0, 12]),
)  # fmt: skip
def test_any_wav_file(**parts: Any) -> None:
    """Whatever a WAV header says, it gives an Event or a Poison; the model reads the sound of an Event, or a Poison."""
    body = wav(parts.pop("data"), **parts)
    record = binary(body, b"audio/wav")
    read_or_refuse(record)
    if isinstance(read(record), Event):
        with contextlib.suppress(Poison):
            assert read_audio(body, 16_000, 0.05, 8, "sounds").isfinite().all()


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_mutations_of_good_records(data: st.DataObject) -> None:
    """A good record with some bytes changed, in the value or a header, gives an Event or a Poison."""
    record = data.draw(st.sampled_from(GOOD))
    assert validator().read(record)
    value = bytearray(record.value or b"")
    for _ in range(data.draw(st.integers(0, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.just(len(value)) | st.integers(0, len(value)))
    headers = list(record.headers)
    if headers and data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(headers) - 1))
        headers[place] = (headers[place][0], data.draw(st.binary(max_size=40)))
    read_or_refuse(replace(record, value=bytes(value[:cut]), headers=tuple(headers)))
