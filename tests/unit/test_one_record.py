"""Whatever happens while one item is read, read again or decoded costs that item alone, under the exception's name."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.fakes.context_store import FakeServer
from tests.fakes.source import FakeSource
from tests.tiny import write_tiny_model
from tests.unit.incoming import JPEG, binary, plain, validator, wav
from tests.unit.test_batch import Silent
from tests.unit.test_cloudevents import structured
from tests.unit.worker_in_memory import FRAMES, TEXTS, InMemory, reading, text
from worker import strict_json
from worker.errors import Fatal, Poison, Retryable, blamed
from worker.model import pictures, signals
from worker.model.load import config_of, tokenizer_of
from worker.model.preprocess import Body, Preprocessor, text_of
from worker.model.signals import Column, read_sensor
from worker.records import Aligned, Candidate, Event, Missing, Record, Reference, Rejected, Verdict
from worker.stages import validate
from worker.stages.batch import Batcher, Fused
from worker.stages.decode import reject
from worker.store.codec import encode_record, encode_reference, kept_record


class PanicError(BaseException):
    """As Rust's panics reach Python: no Exception."""


def png(mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, (40, 30), 90 if mode == "L" else (90, 90, 90)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def preprocessor(tmp_path_factory: pytest.TempPathFactory) -> Preprocessor:
    """Of a model that takes everything."""
    modalities = ("text", "image", "sensor", "audio")
    folder = write_tiny_model(Path(tmp_path_factory.mktemp("m")), modalities, ("speed",))
    return Preprocessor(config_of(folder), tokenizer_of(folder))


class Preparing:
    """Decodes as the real model does; its verdict names the anchor."""

    info: Mapping[str, str] = {}
    lanes = 1

    def __init__(self, preprocessor: Preprocessor) -> None:
        self._preprocessor = preprocessor

    def prepare(self, aligned: Aligned, begins: Any) -> Any:
        """Each stream's bodies as tensors."""
        streams = {"texts": (aligned.anchor,), **aligned.inputs}
        modality = {"texts": "text", "frames": "image", "sensors": "sensor", "sounds": "audio"}
        for name, events in sorted(streams.items()):
            bodies = [Body(event.payload, event.content_type, name) for event in events]
            self._preprocessor.tensors(modality[name], bodies)
        return aligned.anchor.id

    def infer(self, batch: Sequence[Any]) -> list[Verdict]:
        """The ids."""
        return [Verdict(name, 1.0, {name: 1.0}) for name in batch]


def anchors() -> list[list[Record]]:
    """Three anchors, each with a window of frames, a reading and a sound."""
    made = []
    for number in range(3):
        name = str(number).encode()
        texts = binary(b'{"text": "cars"}', b"application/json", ce_id=name, offset=number)
        if number == 2:
            texts = structured(data={"text": "cars"}, datacontenttype="application/json", id="2")
        frames = [binary(JPEG, offset=number), binary(png(), b"image/png", offset=10 + number)]
        sensor = binary(b'{"speed": 3}', b"application/json", topic="sensors-in", offset=number)
        sound = binary(wav(bytes(6400), rate=8_000), b"audio/wav", offset=number)
        made.append([texts, *frames, sensor, sound])
    return made


def run(preprocessor: Preprocessor) -> tuple[list[Fused], list[Rejected]]:
    """Reads, re-reads and decodes all of them: what leaves the batcher, and every dead letter."""
    reader, dead, out, failed = validator(), list[Rejected](), list[Fused](), list[BaseException]()
    batcher = Batcher(
        Preparing(preprocessor), lambda aligned, event: True, out.extend, failed.append, Silent(),
        max_batch=4, max_delay_seconds=0, threads=1,
    )  # fmt: skip
    for records in anchors():
        events: list[Event] = []
        for record in records:
            try:
                events.append(reader.read(record))
            except Poison as poison:
                dead.append(reject(record, poison))
        if events and events[0].stream == "texts":
            inputs: dict[str, tuple[Event, ...]] = {}
            for event in events[1:]:
                again = reader.found(event.stream, event.key, Candidate(event.time_us, event.id), event.record)
                inputs[event.stream] = (*inputs.get(event.stream, ()), again)
            batcher.submit(Aligned(events[0], inputs, {}, True))
    batcher.close()
    assert failed == []
    return out, dead + [rejected for fused in out for rejected in fused.rejected]


DECODERS: dict[str, tuple[Any, str]] = {
    "json": (strict_json, "_DECODER"),
    "base64 or bytes": (validate, "open_envelope"),
    "simplejpeg": (pictures, "decode_jpeg"),
    "Pillow": (pictures, "PngImageFile"),
    "a JPEG's header": (validate, "read_jpeg"),
    "a PNG's chunks": (pictures, "read_png"),
    "Pillow's pixels": (Image.Image, "convert"),
    "wav": (validate, "read_wav"),
    "wav again": (signals, "read_wav"),
    "resampling": (signals, "resample_poly"),
    "numpy": (np, "frombuffer"),
    "torch": (torch, "from_numpy"),
    "resize": (pictures, "resize"),
    "tokenizer": (None, "_tokenizer"),
}
ERRORS = [IndexError, MemoryError, KeyError, AssertionError, struct.error, PanicError, StopIteration, OSError]


@contextmanager
def planted(place: Any, name: str, at: int, error: type[BaseException]) -> Iterator[Callable[[], int]]:
    """The call with this number raises; tells how many calls there were."""
    real, calls = getattr(place, name), 0

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls == at + 1:
            raise error("planted")

    class Methods:
        def __getattr__(self, method: str) -> Any:
            count()
            return getattr(real, method)

    def call(*args: Any, **named: Any) -> Any:
        count()
        return real(*args, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, call if callable(real) else Methods())
        yield lambda: calls


@pytest.mark.parametrize("decoder", DECODERS)
def test_an_exception_planted_at_any_call_of_a_decoder_costs_one_record(
    decoder: str, preprocessor: Preprocessor
) -> None:
    """Exactly one dead letter, under the exception's name; an anchor's own costs its result, no other does."""
    place, name = DECODERS[decoder]
    place = place or preprocessor
    with planted(place, name, -1, ValueError) as calls:
        out, dead = run(preprocessor)
        assert (len(out), len(dead)) == (3, 0)
        total = calls()
    assert total >= 3
    for at in range(total):
        error = ERRORS[at % len(ERRORS)]
        with planted(place, name, at, error):
            out, dead = run(preprocessor)
        assert [one.exception for one in dead] == [error.__name__], at
        assert "planted" in dead[0].message
        verdicts = [fused for fused in out if fused.verdict is not None]
        assert len(verdicts) == 3 - (dead[0].record.topic == "texts-in"), at


def test_what_is_no_items_fault_is_raised_on() -> None:
    """A request to stop, a server that is away and a reason to end are not turned into dead letters."""
    for error in (KeyboardInterrupt(), SystemExit(1), GeneratorExit(), Retryable("away"), Fatal("end")):
        with pytest.raises(type(error)):
            blamed(error, "DECODE", "undecodable")
    assert str(blamed(MemoryError(), "DECODE", "undecodable", "frames")) == (
        "stream 'frames': MemoryError: no more is said"
    )


def nested(levels: int) -> bytes:
    """A reading of this depth, its own object counted."""
    return b'{"speed": 1, "x": ' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize("levels", [64, 65, 983, 100_000])
def test_json_may_be_nested_64_deep(levels: int) -> None:
    """The limit is our own, the same in a body, in a structured event, and where training reads."""
    words = nested(levels).replace(b'"speed": 1', b'"text": "cars"')
    records = [
        binary(nested(levels), b"application/json", topic="sensors-in"),
        plain(nested(levels), topic="sensors-in"),
        binary(words, b"application/json"),
        plain(
            b'{"specversion":"1.0","id":"i","source":"s","type":"t","data":' + nested(levels) + b"}",
            topic="sensors-in", headers=(("content-type", b"application/cloudevents+json"),),
        ),
    ]  # fmt: skip
    for record in records:
        if levels <= 64:
            assert validator().read(record).key == "junction-12"
        else:
            with pytest.raises(Poison, match=r"nested deeper than the limit of 6[45] levels") as caught:
                validator(max_sensor_bytes=2**20, max_text_bytes=2**20).read(record)
            assert caught.value.reason == "bad_json"
    for read in (
        lambda: read_sensor(nested(levels), [Column("speed")], "s"),
        lambda: text_of(words, "application/json", "s"),
    ):
        if levels <= 64:
            read()
        else:
            with pytest.raises(Poison, match="nested deeper than the limit of 64 levels"):
                read()


@pytest.mark.parametrize(
    "spoil", [lambda data: b"\x09" + data[1:], lambda data: data[:-1], lambda data: b"", lambda data: data[:9]]
)
@pytest.mark.parametrize(("encode", "kind"), [(encode_record, Record), (encode_reference, Reference)])
def test_what_redis_kept_and_nobody_can_read_is_told(
    spoil: Callable[[bytes], bytes], encode: Callable[[Record], bytes], kind: type
) -> None:
    """Another version's, or one that is cut, is a Poison of its own and never half a record or another place."""
    data = encode(binary())
    assert isinstance(kept_record(data), kind)
    poison = kept_record(spoil(data))
    assert isinstance(poison, Poison)
    assert (poison.stage, poison.reason) == ("DECODE", "unreadable")
    assert poison.exception in ("ValueError", "error")


@pytest.fixture
def worker() -> Iterator[InMemory]:
    made = InMemory(FakeSource({TEXTS: 1, FRAMES: 1}), FakeServer())
    yield made
    made.close()


def test_an_event_that_cannot_be_read_again_costs_its_anchor_only_that(worker: InMemory) -> None:
    """It is a dead letter with its exception's name; its anchor and those around it have their results."""
    for number in range(3):
        worker.source.send(reading(number * 2_000_000))
    assert worker.turn_until(lambda: sum(len(e.records) for e in worker.server.entities.values()) == 3)
    (entity,) = worker.server.entities.values()
    place = sorted(entity.records)[1]
    entity.records[place] = blamed(ValueError("a record of version 9 in Redis"), "DECODE", "unreadable")
    for number in range(3):
        worker.source.send(text(number * 2_000_000))
    assert worker.turn_until(lambda: len(worker.sink.results) == 3)
    assert [one["missing"] for one in worker.sink.results] == [{}, {"sensors": str(Missing.UNDECODABLE)}, {}]
    (letter,) = worker.sink.dead
    headers = dict(letter.headers)
    assert headers["__connect.errors.exception.class.name"] == b"ValueError"
    assert headers["__connect.errors.topic"] == FRAMES.encode()
    assert letter.key == b"k"


def test_a_topic_that_was_renamed_under_the_same_group(worker: InMemory) -> None:
    """What Redis kept of the stream under its topic's earlier name is that stream's; bad or good, nothing ends."""
    worker.source.send(reading(0))
    worker.source.send(reading(2_000_000))
    assert worker.turn_until(lambda: sum(len(e.records) for e in worker.server.entities.values()) == 2)
    (entity,) = worker.server.entities.values()
    for place, value in zip(sorted(entity.records), (b'{"speed": 1}', b""), strict=True):
        kept = entity.records[place]
        assert isinstance(kept, Record)
        entity.records[place] = replace(kept, topic="readings-of-old", value=value)
    worker.source.send(text(0))
    worker.source.send(text(2_000_000))
    assert worker.turn_until(lambda: len(worker.sink.results) == 2)
    assert worker.sink.results[0]["inputs"]["sensors"]["topic"] == "readings-of-old"
    assert worker.sink.results[1]["missing"] == {"sensors": "undecodable"}
    assert dict(worker.sink.dead[0].headers)["__connect.errors.topic"] == b"readings-of-old"
