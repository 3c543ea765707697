"""Bodies of sensors and microphones -> numbers: a reading to [S, C], a WAV file to a log-mel spectrogram [F, L]."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from worker.errors import Poison
from worker.readings import fields_of
from worker.strict_json import read_json
from worker.wav import Wav, read_wav

# The usual window of speech recognition: 25 ms every 10 ms.
_WINDOW_SECONDS, _HOP_SECONDS = 0.025, 0.010
# Numbers of 32 bits: beyond it a reading would be infinite.
_LARGEST_NUMBER = torch.finfo(torch.float32).max
# Below the quantisation noise of 16-bit sound; keeps the logarithm of silence finite.
_FLOOR = 1e-10


@dataclass(frozen=True, slots=True)
class Column:
    """A number of each step: that of a field, or, of a field that holds words, 1 where it is `word` and 0 where not."""

    field: str
    word: str | None = None


def read_sensor(body: bytes, columns: Sequence[Column], stream: str) -> Tensor:
    """A reading, `{"speed": 31.5, "counts": [3, 4, null], "door": "OPEN"}`, as steps [S, C], float32.

    What is missing is NaN. A number or a word is a series of one step. Of series that differ in length the last steps
    belong together. A word that no column has is 0 in all columns of its field. `true` and `false` are words where the
    field has any, else 1 and 0. An object `values` may hold the fields; others are not looked at.

    Raises:
        Poison: stage DECODE, when it is no such reading, or a field has a word where numbers are known alone.
    """
    numbers = {one.field for one in columns if one.word is None}
    words = {one.field for one in columns if one.word is not None}
    try:
        reading = fields_of(read_json(body))
        fields = dict.fromkeys(one.field for one in columns if reading.get(one.field) is not None)
        series = {name: _series(name, reading[name], numbers, words) for name in fields}
    except (ValueError, TypeError, AttributeError) as error:
        raise Poison("DECODE", "undecodable", f"stream {stream!r}: no sensor reading: {error}", stream) from error
    steps = max((len(one) for one in series.values()), default=1) or 1
    values = torch.full((steps, len(columns)), math.nan)
    for place, column in enumerate(columns):
        if one := series.get(column.field):
            told = [_told(value, column.word) for value in one]
            values[steps - len(one) :, place] = torch.tensor(told, dtype=torch.float32)
    return values


def _told(value: float | str | None, word: str | None) -> float:
    if isinstance(value, str):
        return math.nan if word is None else float(value == word)
    return math.nan if value is None or word is not None else value


def _series(name: str, value: Any, numbers: Collection[str], words: Collection[str]) -> list[float | str | None]:
    series: list[float | str | None] = []
    for one in value if isinstance(value, list) else [value]:
        if one is None:
            series.append(None)
        elif name in words and (isinstance(one, str | bool) or name not in numbers):
            series.append(word_of(name, one))
        else:
            series.append(_number(name, one))
    return series


def word_of(name: str, value: Any) -> str:
    """A field's value as a word; TypeError where it is none."""
    if not isinstance(value, str | int | float):
        raise TypeError(f"field {name!r:.40}: {value!r:.40} is neither a number nor a word")
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _number(name: str, value: Any) -> float:
    if not isinstance(value, int | float):
        known = "is not a number, and the model knows no words of it"
        told = known if isinstance(value, str) else "is neither a number nor a word"
        raise TypeError(f"field {name!r:.40}: {value!r:.40} {told}")
    if abs(value) > _LARGEST_NUMBER:
        raise ValueError(f"field {name!r:.40}: a number is not finite, or beyond {_LARGEST_NUMBER:.4g}")
    if math.isnan(value):
        raise ValueError(f"field {name!r:.40}: a number is NaN; a missing one is null")
    return float(value)


def read_audio(body: bytes, rate: int, seconds: float, mels: int, stream: str) -> Tensor:
    """The last `seconds` of a WAV file as a log-mel spectrogram [F, L], float32; channels are averaged.

    Raises:
        Poison: stage DECODE, when it cannot be read or holds no sound.
    """
    try:
        wav = read_wav(body)
        wave = _resampled(_mono(body, wav), wav.rate, rate)
    except ValueError as error:
        raise Poison(
            "DECODE", "undecodable", f"stream {stream!r}: the sound cannot be read: {error}", stream
        ) from error
    wanted = round(rate * seconds)
    kept = np.zeros(wanted, np.float32)
    end = wave[-wanted:]
    kept[wanted - len(end) :] = end
    return log_mel(torch.from_numpy(kept), rate, mels)


def wave_of(body: bytes) -> tuple[NDArray[np.float32], int]:
    """The wave of a WAV file, [samples] in -1..1, the mean of its channels, and its samples a second.

    Raises:
        ValueError: it cannot be read.
    """
    wav = read_wav(body)
    return _mono(body, wav), wav.rate


def _mono(body: bytes, wav: Wav) -> NDArray[np.float32]:
    """The mean of the channels, in -1..1, floats beyond it clipped; 8-bit samples have no sign and rest at 128."""
    raw = np.frombuffer(body, np.uint8, wav.size, wav.start)
    if wav.is_float:
        samples = raw.view(f"<f{wav.bits // 8}").astype(np.float64)
    elif wav.bits == 8:
        samples = raw / 128.0 - 1.0
    else:
        # Each sample as the upper bytes of 32 bits, so that one scale fits all.
        wide = np.zeros((wav.size * 8 // wav.bits, 4), np.uint8)
        wide[:, 4 - wav.bits // 8 :] = raw.reshape(len(wide), -1)
        samples = wide.view("<i4")[:, 0] / 2.0**31
    if not np.isfinite(samples).all():
        raise ValueError("a sample is not finite")
    wave: NDArray[np.float32] = samples.clip(-1, 1).reshape(-1, wav.channels).mean(axis=1).astype(np.float32)
    return wave


def _resampled(wave: NDArray[np.float32], own_rate: int, rate: int) -> NDArray[np.float32]:
    if own_rate == rate:
        return wave
    common = math.gcd(own_rate, rate)
    made: NDArray[np.float32] = resample_poly(wave, rate // common, own_rate // common).astype(np.float32)
    return made


def log_mel(wave: Tensor, rate: int, mels: int) -> Tensor:
    """The natural logarithm of the mel spectrum's power, [samples] -> [F, L]; hop 10 ms, Hann window 25 ms."""
    window, hop = round(rate * _WINDOW_SECONDS), round(rate * _HOP_SECONDS)
    size = 1 << (window - 1).bit_length()
    spectrum = torch.stft(
        wave, size, hop, window, torch.hann_window(window), center=True, pad_mode="constant", return_complex=True
    )
    power = spectrum.abs().square()  # [size / 2 + 1, L]
    return (_filters(size // 2 + 1, mels, rate).T @ power).clamp(min=_FLOOR).log()


@lru_cache(maxsize=8)
def _filters(frequencies: int, mels: int, rate: int) -> Tensor:
    """[frequencies, F]."""
    bank = mel_filter_bank(frequencies, mels, 0.0, rate / 2, rate, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(np.asarray(bank, np.float32))


def frames_of(rate: int, seconds: float) -> int:
    """L, the frames of a spectrogram of this length."""
    return round(rate * seconds) // round(rate * _HOP_SECONDS) + 1
