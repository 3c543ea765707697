"""Sounds of a home, made of noise and sines: each function draws another second of its kind every time."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

RATE, SECONDS = 16_000, 1.0
_LARGEST = 32_767
_T = np.arange(round(RATE * SECONDS)) / RATE
Wave = NDArray[np.float64]


def sound(rng: np.random.Generator, kind: str) -> bytes:
    """A WAV file of this kind, near or far, over the noise of a cheap microphone."""
    made = KINDS[kind](rng)
    loudest = np.abs(made).max()
    if loudest > 0:
        made = made / loudest * rng.uniform(0.08, 0.8)
    made = made + rng.normal(0, rng.uniform(0.002, 0.01), len(_T)) + 0.003 * np.sin(2 * np.pi * 50 * _T)
    return wav_file(made, RATE)


def wav_file(samples: NDArray[np.floating], rate: int) -> bytes:
    """One channel of 16 bits; beyond -1..1 it is clipped."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * _LARGEST).astype("<i2").tobytes())
    return out.getvalue()


def _tone(frequency: float, phase: float = 0.0) -> Wave:
    return np.asarray(np.sin(2 * np.pi * frequency * _T + phase))


def _coloured(rng: np.random.Generator, low: float, high: float) -> Wave:
    """Noise between two frequencies, with soft edges."""
    spectrum = np.fft.rfft(rng.normal(0, 1, len(_T)))
    at = np.fft.rfftfreq(len(_T), 1 / RATE)
    return np.asarray(np.fft.irfft(spectrum / (1 + (low / np.maximum(at, 1)) ** 4) / (1 + (at / high) ** 4), len(_T)))


def _struck(sounding: Wave, seconds: float, start: float) -> Wave:
    """As much of it as dies away within so many seconds (to a 1/e) from a start on."""
    struck, first = np.zeros(len(_T)), round(start * RATE)
    alive = _T[: round(6 * seconds * RATE)][: len(_T) - first]
    struck[first : first + len(alive)] = np.exp(-alive / seconds) * sounding[: len(alive)]
    return struck


def _ringing(rng: np.random.Generator, frequency: float, seconds: float, start: float) -> Wave:
    alive = _T[: round(6 * seconds * RATE)]
    return _struck(np.sin(2 * np.pi * frequency * alive + rng.uniform(0, 6)), seconds, start)


def _silence(rng: np.random.Generator) -> Wave:
    return np.zeros(len(_T))


def _water(rng: np.random.Generator) -> Wave:
    return _coloured(rng, rng.uniform(300, 700), rng.uniform(2500, 5000)) * (1 + 0.2 * _tone(rng.uniform(1, 6)))


def _kettle(rng: np.random.Generator) -> Wave:
    pitch, rising = rng.uniform(1800, 2600), rng.uniform(0, 300)
    return np.sin(2 * np.pi * (pitch + rising * _T / 2) * _T) + 0.3 * _coloured(rng, 3000, 7000)


def _bell(rng: np.random.Generator) -> Wave:
    high, start = rng.uniform(600, 760), rng.uniform(0, 0.3)
    struck = [(high, start), (high * 0.8, start + rng.uniform(0.25, 0.4))]
    rung = [_ringing(rng, pitch * part, 0.25, at) / part for pitch, at in struck for part in (1.0, 2.76)]
    return np.asarray(np.sum(rung, axis=0))


def _voices(rng: np.random.Generator) -> Wave:
    pitch, formant = rng.uniform(95, 220) * (1 + 0.01 * _tone(5)), rng.uniform(500, 900)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    spoken = [np.sin(n * phase) / (1 + ((n * pitch - formant) / 400) ** 2) for n in range(1, 9)]
    return np.asarray(np.sum(spoken, axis=0) * np.maximum(_tone(rng.uniform(3, 5), rng.uniform(0, 6)), 0) ** 0.5)


def _tv(rng: np.random.Generator) -> Wave:
    root = rng.uniform(200, 330)
    chord = np.sum([_tone(root * step) + _tone(2 * root * step) / 2 for step in (1, 1.26, 1.5)], axis=0)
    return np.asarray(0.4 * chord + 0.3 * _voices(rng))


def _alarm(rng: np.random.Generator) -> Wave:
    on = _tone(rng.uniform(2, 5), rng.uniform(0, 6)) > 0
    pitch = rng.uniform(2800, 3400)
    return np.asarray(on * (_tone(pitch) + 0.3 * _tone(2 * pitch)))


def _glass(rng: np.random.Generator) -> Wave:
    start = rng.uniform(0.05, 0.6)
    starts = np.minimum(start + rng.exponential(0.08, 14), 0.9)
    pieces = [_ringing(rng, rng.uniform(2500, 7500), rng.uniform(0.02, 0.12), float(at)) for at in starts]
    return np.asarray(np.sum(pieces, axis=0) + _struck(_coloured(rng, 2000, 7000), 0.03, start))


def _thud(rng: np.random.Generator) -> Wave:
    start = rng.uniform(0.05, 0.6)
    low = [_ringing(rng, rng.uniform(55, 140), rng.uniform(0.06, 0.15), start) for _ in range(3)]
    return np.asarray(np.sum(low, axis=0) + _struck(_coloured(rng, 100, 900), 0.02, start))


KINDS: dict[str, Callable[[np.random.Generator], Wave]] = {
    "silence": _silence,
    "water": _water,
    "kettle": _kettle,
    "bell": _bell,
    "voices": _voices,
    "tv": _tv,
    "alarm": _alarm,
    "glass": _glass,
    "thud": _thud,
}
