"""How a sound may be spoiled on its way: noise, distance, an overdriven or a dull microphone, delay, drop-outs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from worker.feeds.sounds import wav_file
from worker.model.preprocess import Body
from worker.model.signals import wave_of

Wave = NDArray[np.float32]
_BLOCK_SECONDS = 0.02  # Of a drop-out: a packet of a voice codec.


def spoiled_sound(change: Callable[[Wave, int], NDArray[np.floating]]) -> Callable[[Body], Body]:
    """A body with its wave, mono in -1..1, as `change(wave, rate)` makes it; written as PCM of 16 bits."""

    def spoiled(body: Body) -> Body:
        wave_, rate = wave_of(body.payload)
        return body._replace(payload=wav_file(change(wave_, rate), rate), content_type="audio/wav")

    return spoiled


def with_noise(wave_: Wave, decibels: float, rng: np.random.Generator) -> NDArray[np.floating]:
    """With white noise so many decibels below the sound's own power."""
    power = float(np.sqrt(np.square(wave_, dtype=np.float64).mean()))
    return np.asarray(wave_ + rng.standard_normal(len(wave_)) * power * 10 ** (-decibels / 20))


def quieter(wave_: Wave, decibels: float) -> NDArray[np.floating]:
    """By so many decibels."""
    return np.asarray(wave_ * 10 ** (-decibels / 20))


def clipped(wave_: Wave, share: float) -> NDArray[np.floating]:
    """Cut off at this share of its peak."""
    peak = float(np.abs(wave_).max(initial=0.0)) * share
    return np.asarray(wave_.clip(-peak, peak))


def low_passed(wave_: Wave, hertz: float, rate: int) -> NDArray[np.floating]:
    """Without what lies above a frequency."""
    spectrum = np.fft.rfft(wave_)
    spectrum[np.fft.rfftfreq(len(wave_), 1 / rate) > hertz] = 0
    return np.asarray(np.fft.irfft(spectrum, len(wave_)))


def later(wave_: Wave, share: float) -> NDArray[np.floating]:
    """Begun later by this share of its length: silence comes first, and the end is lost."""
    lost = round(share * len(wave_))
    return np.concatenate([np.zeros(lost, wave_.dtype), wave_[: len(wave_) - lost]])


def with_drop_outs(wave_: Wave, share: float, rate: int, rng: np.random.Generator) -> NDArray[np.floating]:
    """With about this share of its blocks of 20 ms silent."""
    block = max(1, round(_BLOCK_SECONDS * rate))
    lost = rng.random(-(-len(wave_) // block)) < share
    return np.asarray(np.where(np.repeat(lost, block)[: len(wave_)], 0.0, wave_))
