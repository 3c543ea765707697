"""A body of a training folder -> nothing, or the Poison that serving would make of it: one reading for both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from schemas.names import CE_PREFIX, CONTENT_TYPE, JSON, MEDIA_TYPES, SPEC_VERSION, TEXT
from worker.errors import Poison
from worker.model.config import FusionConfig
from worker.model.pictures import decode_image
from worker.model.preprocess import Body, text_of
from worker.model.signals import Column, read_audio, read_sensor
from worker.ops.clock import SystemClock
from worker.readings import fields_of
from worker.records import Record, Stage
from worker.stages.validate import StreamSpec, Validator
from worker.stages.wire import told_by_bytes
from worker.strict_json import read_json
from worker.training.words import is_blank

# `[limits]` are the worker's, and the one who trains may cut a long text or sound; what decoding would cost is not.
_NO_LIMIT = 2**62
_MOST_PIXELS = 40_000_000
_BEGINNING_BYTES = 8
_SHAPE = FusionConfig()


def content_type_of(payload: bytes, modality: str, file: str | None) -> str:
    """The content type of a body whose row does not tell it.

    Raises:
        Poison: it is empty, or begins as none of its modality.
    """
    if not payload:
        raise Poison(Stage.VALIDATE, "empty_value", "is empty")
    if modality == "text":
        return JSON if file is not None and PurePath(file).suffix.lower() == ".json" else TEXT
    told, allowed = told_by_bytes(payload, modality), MEDIA_TYPES[modality]
    if told not in allowed:
        either = f"is neither {' nor '.join(allowed)}" if len(allowed) > 1 else f"is not {allowed[0]}"
        begins = payload[:_BEGINNING_BYTES]
        raise Poison(Stage.VALIDATE, "content_type", f"{either}; it begins with {begins!r}")
    return told


def check_body(body: Body, modality: str) -> None:
    """Reads a body as serving does, first as the record of an event, then to what the model takes.

    Raises:
        Poison: stage VALIDATE or DECODE.
    """
    _VALIDATOR.read(_record(body, modality))
    if modality == "image":
        decode_image(body.payload, _SHAPE.image_size, body.stream)
    elif modality == "text":
        text_of(body.payload, body.content_type, body.stream)
    elif modality == "audio":
        read_audio(body.payload, _SHAPE.audio_rate, _SHAPE.audio_seconds, _SHAPE.mels, body.stream)
    else:
        series_of(body)


def series_of(body: Body) -> dict[str, list[float | str | bool | None]]:
    """The fields of a reading that hold numbers, words, true, false or null, or lists of them, as series.

    Raises:
        Poison: a list holds something else, or a name is empty.
    """
    fields = {
        name: one
        for name, one in fields_of(read_json(body.payload)).items()
        if isinstance(one, int | float | str | list)
    }
    if blank := [name for name in fields if is_blank(name)]:
        raise Poison(
            Stage.VALIDATE,
            "no_numbers",
            f"a field's name is {blank[0]!r:.80}, of which nothing can be seen; give it another",
        )
    # As a model reads it that knows words of every field, which takes whatever can be read.
    read_sensor(body.payload, [Column(name, word) for name in fields for word in (None, "")], body.stream)
    return {name: one if isinstance(one, list) else [one] for name, one in fields.items()}


def check_columns(body: Body, columns: Sequence[Column]) -> None:
    """Raises Poison for a reading of which a model with these columns sees nothing: its names may be misspelt."""
    read_sensor(body.payload, columns, body.stream)
    known = dict.fromkeys(one.field for one in columns)
    if not (fields := fields_of(read_json(body.payload))).keys() & set(known):
        told = f"has none of the channels {', '.join(known)}; it has {', '.join(fields)}"
        raise Poison(Stage.VALIDATE, "no_numbers", told)


def _record(body: Body, modality: str) -> Record:
    attributes = {"specversion": SPEC_VERSION, "id": "row", "source": "/row", "type": "row"}
    headers = [(f"{CE_PREFIX}{name}", value.encode()) for name, value in attributes.items()]
    told = (CONTENT_TYPE, body.content_type.encode())
    return Record(modality, 0, 0, 1, b"row", body.payload, (*headers, told))


_VALIDATOR = Validator(
    {modality: StreamSpec(modality, modality) for modality in MEDIA_TYPES},
    SystemClock(),
    max_frame_bytes=_NO_LIMIT,
    max_frame_pixels=_MOST_PIXELS,
    max_text_bytes=_NO_LIMIT,
    max_sensor_bytes=_NO_LIMIT,
    max_audio_bytes=_NO_LIMIT,
    max_audio_seconds=float(_NO_LIMIT),
    max_ahead_us=_NO_LIMIT,
)
