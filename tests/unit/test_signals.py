"""Readings and sounds as numbers: what is missing, what samples mean, and a spectrogram as others make it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.io import wavfile
from scipy.signal import stft
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from tests.unit.incoming import wav
from tests.unit.served import TOKENIZER
from worker.errors import Poison
from worker.model.config import FusionConfig
from worker.model.preprocess import Body, Preprocessor
from worker.model.signals import Column, frames_of, log_mel, read_audio, read_sensor

RATE, MELS = 16_000, 40
NAN = math.nan


def steps(body: bytes, *channels: str) -> list[list[float]]:
    """A reading's steps, NaN told as -1."""
    columns = [Column(name) for name in channels]
    found: list[list[float]] = read_sensor(body, columns, "radar").nan_to_num(-1).tolist()
    return found


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'{"a": 3, "b": 4.5}', [[3, 4.5]]),
        (b'{"b": 4.5, "other": "x"}', [[-1, 4.5]]),
        (b'{"a": null, "b": true}', [[-1, 1]]),
        (b'{"other": 1}', [[-1, -1]]),
        (b'{"a": [1, null, 3], "b": [4, 5, 6]}', [[1, 4], [-1, 5], [3, 6]]),
        (b'{"a": [1, 2, 3], "b": 9}', [[1, -1], [2, -1], [3, 9]]),
        (b'{"a": [], "b": [7, 8]}', [[-1, 7], [-1, 8]]),
        (b'{"values": {"a": 1}, "b": 2}', [[1, -1]]),
        (b'{"values": 5, "a": 1, "b": 2}', [[1, 2]]),
    ],
)
def test_readings(body: bytes, wanted: list[list[float]]) -> None:
    """A number is one step; what is missing or null is NaN; of series of unequal lengths the last steps meet."""
    assert steps(body, "a", "b") == wanted


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"a": "31"}', "'31' is not a number"),
        (b'{"a": [1, "x"]}', "'x' is not a number"),
        (b'{"a": [[1]]}', "is neither a number nor a word"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": 1e999}', "not finite, or beyond"),
        (b'{"a": 1e39}', "not finite, or beyond 3.40"),
        (b'{"a": -%s}' % (b"9" * 400), "not finite, or beyond"),
        (b"[1]", "no sensor reading"),
        (b"\xff", "no sensor reading"),
        (b"[" * 100_000, "no sensor reading"),
    ],
)
def test_readings_that_are_none(body: bytes, message: str) -> None:
    """A channel that holds something else makes the reading undecodable, and the message names the stream."""
    with pytest.raises(Poison, match=r"^stream 'radar': no sensor reading") as caught:
        read_sensor(body, [Column("a")], "radar")
    assert (caught.value.stage, caught.value.reason, caught.value.stream) == ("DECODE", "undecodable", "radar")
    assert message in str(caught.value)


def tone(hertz: float, rate: int, seconds: float = 1.0) -> NDArray[np.float64]:
    """A sine at half of the loudest."""
    made: NDArray[np.float64] = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)
    return made


def heard(body: bytes, seconds: float = 1.0) -> Tensor:
    """A WAV file's spectrogram."""
    return read_audio(body, RATE, seconds, MELS, "mic")


def pcm(wave: NDArray[np.float64], bits: int) -> bytes:
    """Samples as little-endian integers; of 8 bits without a sign."""
    if bits == 8:
        return np.round(wave * 127 + 128).astype(np.uint8).tobytes()
    whole = np.round(wave * (2 ** (bits - 1) - 1)).astype("<i4")
    return np.ascontiguousarray(whole[:, None].view(np.uint8)[:, : bits // 8]).tobytes()


def test_the_spectrogram_is_what_others_make_of_the_sound() -> None:
    """SciPy's Fourier transform and transformers' filters, from the definition, give the same numbers."""
    wave = tone(440, RATE) + np.random.default_rng(3).normal(0, 0.05, RATE)
    ours = log_mel(torch.from_numpy(wave.astype(np.float32)), RATE, MELS)
    window = np.pad(np.sin(np.pi * np.arange(400) / 400) ** 2, 56)
    padded = np.pad(wave, 256)
    _, _, spectrum = stft(
        padded, RATE, window, 512, 512 - 160, return_onesided=True, boundary=None, padded=False, scaling="spectrum"
    )
    power = np.abs(spectrum * window.sum()) ** 2
    bank = mel_filter_bank(257, MELS, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
    theirs = np.log(np.maximum(bank.T @ power, 1e-10))
    assert ours.shape == theirs.shape == (MELS, frames_of(RATE, 1.0))
    assert np.abs(ours.numpy() - theirs).max() < 1e-3


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_integers_of_every_width_are_the_same_sound(bits: int) -> None:
    """Up to the noise of their own steps."""
    wave = tone(440, RATE)
    wanted = heard(wav(wave.astype("<f8").tobytes(), bits=64, tag=3))
    loud = wanted > wanted.max() - 5
    assert (heard(wav(pcm(wave, bits), bits=bits)) - wanted)[loud].abs().max() < (0.2 if bits == 8 else 0.005)


def test_floats_extensible_headers_and_stereo() -> None:
    """A float is the sample itself; two channels are averaged; what goes beyond the loudest is clipped."""
    left, right = tone(440, RATE), tone(2000, RATE)
    both = np.stack([left, right], axis=1).astype("<f4")
    mono = ((left.astype(np.float32) + right.astype(np.float32)) / 2).astype("<f4")
    wanted = heard(wav(mono.tobytes(), bits=32, tag=3))
    assert torch.allclose(heard(wav(both.tobytes(), bits=32, tag=3, channels=2)), wanted, atol=1e-3)
    assert torch.allclose(heard(wav(both.tobytes(), bits=32, channels=2, subformat=3)), wanted, atol=1e-3)
    square = np.sign(left).astype("<f4")
    assert torch.equal(
        heard(wav((square * 1e30).astype("<f4").tobytes(), bits=32, tag=3)),
        heard(wav(square.tobytes(), bits=32, tag=3)),
    )


def test_files_of_another_writer(tmp_path: Path) -> None:
    """What SciPy writes of 8, 16 and 32 bits and floats is read as SciPy reads it."""
    wave = np.stack([tone(440, 8_000), tone(700, 8_000)], axis=1)
    for kind, scale in ((np.int16, 32_767), (np.int32, 2_147_483_647), (np.float32, 1), (np.float64, 1)):
        path = tmp_path / f"{np.dtype(kind).name}.wav"
        wavfile.write(path, 8_000, (wave * scale).astype(kind))
        mean = wavfile.read(path)[1].astype(np.float64).mean(axis=1) / scale
        wanted = heard(wav(mean.astype("<f8").tobytes(), rate=8_000, bits=64, tag=3))
        loud = wanted > wanted.max() - 5
        assert (heard(path.read_bytes()) - wanted)[loud].abs().max() < 0.005


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 192_000])
def test_resampling_keeps_a_tone_where_it_is(rate: int) -> None:
    """The loudest band of a tone is the same at any rate of its file, and so is its loudness."""
    wanted = heard(wav(pcm(tone(1000, RATE), 16)))[:, 20:80].mean(dim=1)
    found = heard(wav(pcm(tone(1000, rate), 16), rate=rate))[:, 20:80].mean(dim=1)
    assert found.argmax() == wanted.argmax()
    assert abs(float(found.max() - wanted.max())) < 0.05


def test_the_end_of_a_long_sound_and_silence_before_a_short_one() -> None:
    """The last second counts; a shorter sound stands at the end."""
    long = np.concatenate([tone(3000, RATE, 2.0), tone(440, RATE, 1.0)])
    assert torch.equal(heard(wav(pcm(long, 16))), heard(wav(pcm(tone(440, RATE), 16))))
    short = heard(wav(pcm(tone(440, RATE, 0.25), 16)))
    assert short.shape == (MELS, 101)
    assert (short[:, :70] == math.log(1e-10)).all() or short[:, :70].max() < -20
    assert short[:, 80:].max() > 0


@pytest.mark.parametrize(
    "body",
    [
        wav()[:-100], wav()[:30], wav(b""), b"", b"RIFF",
        wav(np.full(100, NAN, "<f4").tobytes(), bits=32, tag=3), wav(np.full(9, np.inf).tobytes(), bits=64, tag=3),
    ],
)  # fmt: skip
def test_sounds_that_cannot_be_read(body: bytes) -> None:
    """Cut off, empty, or with samples that are no numbers: undecodable, and the message names the stream."""
    with pytest.raises(Poison, match=r"^stream 'mic': the sound cannot be read: ") as caught:
        heard(body)
    assert (caught.value.stage, caught.value.reason, caught.value.stream) == ("DECODE", "undecodable", "mic")


def test_several_readings_are_one_series_and_the_bad_one_is_named() -> None:
    """Readings of a window follow each other; the last steps are kept; the event that fails is told by its number."""
    prepare = Preprocessor(FusionConfig(inputs=["sensor"], channels=["a"], max_steps=4), TOKENIZER.backend_tokenizer)
    bodies = [Body(b'{"a": %d}' % n, "application/json", "radar") for n in range(6)]
    (series,) = prepare.tensors("sensor", bodies[:3])
    assert series.nan_to_num(-1).tolist() == [[-1], [0], [1], [2]]
    (series,) = prepare.tensors("sensor", bodies)
    assert series.tolist() == [[2], [3], [4], [5]]
    bad = Body(b'{"a": "x"}', "application/json", "radar")
    with pytest.raises(Poison) as caught:
        prepare.tensors("sensor", [Body(b'{"a": 1}', "application/json", "lidar"), *bodies[:2], bad])
    assert caught.value.number == 2
