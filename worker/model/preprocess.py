"""Bodies -> tensors for the encoders: one path for training and for serving."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch
from tokenizers import Tokenizer
from torch import Tensor

from worker.errors import Poison, blamed
from worker.model.config import FusionConfig
from worker.model.pictures import decode_image
from worker.model.signals import read_audio, read_sensor
from worker.strict_json import read_json

Made = TypeVar("Made")
NO_TOKEN = -1  # Pads a row of token ids; no tokenizer has it.


class Body(NamedTuple):
    """The payload of one event; `stream` is named in messages."""

    payload: bytes
    content_type: str
    stream: str


def nobody(stream: str, number: int) -> None:
    """Does not want to hear which body is decoded."""


class Preprocessor:
    """Bodies of one input -> tensors, as the model's configuration asks. Thread-safe."""

    def __init__(self, config: FusionConfig, tokenizer: Tokenizer) -> None:
        """`tokenizer` cuts texts to `max_tokens` and pads none."""
        self._config, self._tokenizer, self._frame = config, tokenizer, frame_of(tokenizer)

    def tensors(
        self, modality: str, bodies: Sequence[Body], begins: Callable[[str, int], None] = nobody
    ) -> tuple[Tensor, ...]:
        """Image: [3, S, S] uint8 each; text: [T], all bodies as one text, a line each; sensor: [S, C], all bodies as
        one series; audio: [F, L] each; nothing of no body. `begins(stream, number)` hears of each before it is decoded.

        Raises:
            Poison: stage DECODE; `stream` names the stream, and `number` which of its bodies cannot be decoded.
        """
        if not bodies:
            return ()
        config = self._config
        if modality == "image":
            return _each(bodies, begins, lambda one: decode_image(one.payload, config.image_size, one.stream))
        if modality == "text":
            lines = _each(bodies, begins, lambda one: text_of(one.payload, one.content_type, one.stream))
            return (self._ids("\n".join(lines), bodies[0].stream),)
        if modality == "audio":
            sound = (config.audio_rate, config.audio_seconds, config.mels)
            return _each(bodies, begins, lambda one: read_audio(one.payload, *sound, one.stream))
        steps = torch.cat(_each(bodies, begins, lambda one: read_sensor(one.payload, config.channels, one.stream)))
        padded = torch.full((config.max_steps, len(config.channels)), torch.nan)
        kept = steps[-config.max_steps :]
        padded[config.max_steps - len(kept) :] = kept
        return (padded,)

    def _ids(self, text: str, stream: str) -> Tensor:
        try:
            ids = self._tokenizer.encode(text).ids
        except BaseException as error:
            raise blamed(error, "DECODE", "undecodable", stream) from error
        padded = torch.full((self._config.max_tokens,), NO_TOKEN)
        padded[: len(ids)] = torch.tensor(ids)
        return padded

    def tokens(self, ids: Tensor) -> list[str | None]:
        """The pieces behind token ids, for explanations; None where a token only frames the text."""
        return [
            None if number in self._frame else str(self._tokenizer.id_to_token(number))
            for number in ids.tolist()
            if number != NO_TOKEN
        ]


def frame_of(tokenizer: Tokenizer) -> frozenset[int]:
    """The ids of the tokens that stand before and behind every text."""
    return frozenset(
        found for name in ("[CLS]", "[SEP]", "<s>", "</s>") if (found := tokenizer.token_to_id(name)) is not None
    )


def _each(
    bodies: Sequence[Body], begins: Callable[[str, int], None], decode: Callable[[Body], Made]
) -> tuple[Made, ...]:
    made = []
    for place, one in enumerate(bodies):
        number = sum(other.stream == one.stream for other in bodies[:place])
        begins(one.stream, number)
        try:
            made.append(decode(one))
        except BaseException as error:  # noqa: BLE001  the boundary of one body
            poison = error if isinstance(error, Poison) else blamed(error, "DECODE", "undecodable", one.stream)
            poison.number = number
            raise poison  # noqa: B904  it has its cause
    return tuple(made)


def text_of(body: bytes, content_type: str, stream: str) -> str:
    """The text of a `text/plain` or `application/json` body.

    Raises:
        Poison: stage DECODE, when it is none.
    """
    try:
        if content_type != "application/json":
            return body.decode()
        text = read_json(body)["text"]
        if not isinstance(text, str):
            raise TypeError(f"the field text is of type {type(text).__name__}")
        text.encode()  # JSON can spell half a surrogate pair, which no tokenizer takes.
        return text
    except (ValueError, KeyError, TypeError) as error:
        raise Poison("DECODE", "undecodable", f"stream {stream!r}: no text in the body: {error}", stream) from error
