"""Bodies -> tensors for the encoders: one path for training and for serving."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from worker.errors import Poison, blamed
from worker.model.config import FusionConfig
from worker.model.pictures import decode_image
from worker.model.signals import read_audio, read_sensor
from worker.strict_json import read_json

Made = TypeVar("Made")
NO_TOKEN = -1  # Pads a row of token ids; no tokenizer has it.


class Parts(NamedTuple):
    """What the encoders see of one input, and the streams of whose texts `max_tokens` took some or a part."""

    tensors: tuple[Tensor, ...]
    cut: tuple[str, ...] = ()


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

    def tensors(self, modality: str, bodies: Sequence[Body]) -> tuple[Tensor, ...]:
        """As `read`, the tensors alone."""
        return self.read(modality, bodies).tensors

    def read(self, modality: str, bodies: Sequence[Body], begins: Callable[[str, int], None] = nobody) -> Parts:
        """Image: [3, S, S] uint8 each; text: [T], all bodies as one text, a line each; sensor: [S, C], all bodies as
        one series; audio: [F, L] each; nothing of no body. `begins(stream, number)` hears of each before it is decoded.

        Of texts and series that are too long the newest stay, in the order of `bodies`.

        Raises:
            Poison: stage DECODE; `stream` names the stream, and `number` which of its bodies cannot be decoded.
        """
        if not bodies:
            return Parts(())
        config = self._config
        if modality == "image":
            return Parts(_each(bodies, begins, lambda one: decode_image(one.payload, config.image_size, one.stream)))
        if modality == "text":
            return self._text(_each(bodies, begins, lambda one: text_of(*one)), [one.stream for one in bodies])
        if modality == "audio":
            sound = (config.audio_rate, config.audio_seconds, config.mels)
            return Parts(_each(bodies, begins, lambda one: read_audio(one.payload, *sound, one.stream)))
        steps = torch.cat(_each(bodies, begins, lambda one: read_sensor(one.payload, config.channels, one.stream)))
        padded = torch.full((config.max_steps, len(config.channels)), torch.nan)
        kept = steps[-config.max_steps :]
        padded[config.max_steps - len(kept) :] = kept
        return Parts((padded,))

    def _text(self, lines: Sequence[str], streams: Sequence[str]) -> Parts:
        """All lines if they fit; else as many of the newest as do, and of a newest that is too long its beginning."""
        encoded, first = self._encoded(lines, streams), 0
        if encoded.overflowing and len(lines) > 1:
            first = len(lines) - 1
            encoded = self._encoded(lines[first:], streams)
            while not encoded.overflowing and not (more := self._encoded(lines[first - 1 :], streams)).overflowing:
                encoded, first = more, first - 1
        cut = [*streams[:first], *(streams[-1:] if encoded.overflowing else ())]
        padded = torch.full((self._config.max_tokens,), NO_TOKEN)
        padded[: len(encoded.ids)] = torch.tensor(encoded.ids, dtype=torch.long)
        return Parts((padded,), tuple(dict.fromkeys(cut)))

    def _encoded(self, lines: Sequence[str], streams: Sequence[str]) -> Encoding:
        try:
            return self._tokenizer.encode("\n".join(lines))
        except BaseException as error:
            raise blamed(error, "DECODE", "undecodable", streams[-1]) from error

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
