"""Bodies -> tensors for the encoders: one path for training and for serving."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch
from tokenizers import Encoding, Tokenizer
from tokenizers.models import WordPiece
from torch import Tensor

from worker.errors import Poison, blamed
from worker.model.config import FusionConfig
from worker.model.pictures import decode_image
from worker.model.signals import Column, read_audio, read_sensor
from worker.strict_json import read_json

Made = TypeVar("Made")
NO_TOKEN = -1  # Pads a row of token ids; no tokenizer has it.


class Parts(NamedTuple):
    """What the encoders see of one input, when each was, and the streams whose texts `max_tokens` cut."""

    tensors: tuple[Tensor, ...]
    seconds: tuple[float, ...] = ()
    cut: tuple[str, ...] = ()


class Body(NamedTuple):
    """The payload of one event; `stream` is named in messages; `seconds`: after the anchor, NaN: not known."""

    payload: bytes
    content_type: str
    stream: str
    seconds: float = math.nan


def columns_of(config: FusionConfig, name: str) -> tuple[list[int], list[Column]]:
    """The channels of the input of this name: their places among all, and what each is."""
    own = [n for n in range(len(config.channels)) if config.channel_inputs is None or config.channel_inputs[n] == name]
    words = config.channel_words or [None] * len(config.channels)
    return own, [Column(config.channels[n], words[n]) for n in own]


def nobody(stream: str, number: int) -> None:
    """Does not want to hear which body is decoded."""


class Preprocessor:
    """Bodies of one input -> tensors, as the model's configuration asks. Thread-safe.

    Attributes:
        told: all that it goes by.
    """

    def __init__(self, config: FusionConfig, tokenizer: Tokenizer) -> None:
        """`tokenizer` cuts texts to `max_tokens` and pads none."""
        self._config, self._tokenizer, self._frame = config, tokenizer, frame_of(tokenizer)
        pieces = tokenizer.model
        self._goes_on = pieces.continuing_subword_prefix if isinstance(pieces, WordPiece) else ""
        self._columns = [columns_of(config, name) for name in config.names]
        sound = (config.audio_rate, config.audio_seconds, config.mels)
        series = (config.max_steps, config.step_width, config.times, self._columns)
        sizes = (config.inputs, config.names, config.image_size, config.max_tokens, sound, series)
        self.told = f"{sizes} {tokenizer.to_str()}"

    def tensors(self, modality: str, bodies: Sequence[Body]) -> tuple[Tensor, ...]:
        """As `read` of the first input of this modality, the tensors alone."""
        return self.read(self._config.inputs.index(modality), bodies).tensors

    def read(self, number: int, bodies: Sequence[Body], begins: Callable[[str, int], None] = nobody) -> Parts:
        """Bodies of the model's input of this number.

        Image: [3, S, S] uint8 each; text: [T], all bodies as one text, a line each; sensor: [S, C], all bodies as one
        series (with `times` [S, C + 1], the last when the step was); audio: [F, L] each; nothing of no body.
        `begins(stream, number)` hears of each before it is decoded.

        Of texts and series that are too long the newest stay, in the order of `bodies`.

        Raises:
            Poison: stage DECODE; `stream` names the stream, and `number` which of its bodies cannot be decoded.
        """
        if not bodies:
            return Parts(())
        config, modality = self._config, self._config.inputs[number]
        seconds = tuple(one.seconds for one in bodies)
        if modality == "image":
            size = config.image_size
            return Parts(_each(bodies, begins, lambda one: decode_image(one.payload, size, one.stream)), seconds)
        if modality == "text":
            lines = _each(bodies, begins, lambda one: text_of(*one[:3]))
            return self._text(lines, [one.stream for one in bodies], seconds)
        if modality == "audio":
            sound = (config.audio_rate, config.audio_seconds, config.mels)
            return Parts(_each(bodies, begins, lambda one: read_audio(one.payload, *sound, one.stream)), seconds)
        return Parts((self._series(number, bodies, begins),), seconds[-1:])

    def _series(self, number: int, bodies: Sequence[Body], begins: Callable[[str, int], None]) -> Tensor:
        """[S, C], or with `times` [S, C + 1]: each step has the time of its reading."""
        config, (places, columns) = self._config, self._columns[number]
        readings = _each(bodies, begins, lambda one: read_sensor(one.payload, columns, one.stream))
        padded = torch.full((config.max_steps, config.step_width), torch.nan)
        kept = torch.cat(readings)[-config.max_steps :]
        padded[config.max_steps - len(kept) :, places] = kept
        if config.times:
            times = [body.seconds for body, steps in zip(bodies, readings, strict=True) for _ in steps]
            padded[config.max_steps - len(kept) :, -1] = torch.tensor(times[-len(kept) :])
        return padded

    def _text(self, lines: Sequence[str], streams: Sequence[str], seconds: Sequence[float]) -> Parts:
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
        return Parts((padded,), tuple(seconds[-1:]), tuple(dict.fromkeys(cut)))

    def _encoded(self, lines: Sequence[str], streams: Sequence[str]) -> Encoding:
        try:
            return self._tokenizer.encode("\n".join(lines))
        except BaseException as error:
            raise blamed(error, "DECODE", "undecodable", streams[-1]) from error

    def words(self, ids: Tensor) -> list[tuple[str, list[int]]]:
        """Each word behind token ids, and which of these are its pieces, for explanations; what only frames a text is
        no word. A tokenizer that is no WordPiece does not say what goes on a word: each of its tokens is one.
        """
        found: list[tuple[str, list[int]]] = []
        for place, number in enumerate(ids.tolist()):
            if number == NO_TOKEN or number in self._frame:
                continue
            piece, prefix = str(self._tokenizer.id_to_token(number)), self._goes_on
            if prefix and piece.startswith(prefix) and found and found[-1][1][-1] == place - 1:
                word, places = found[-1]
                found[-1] = word + piece.removeprefix(prefix), [*places, place]
            else:
                found.append((piece, [place]))
        return found


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
