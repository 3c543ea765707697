"""Header of a WAV file -> where its samples lie and what they are; every chunk that is passed is held against the body.

What writers do differently is decided here:

- A length of 2 GiB or more was not known when the header was written (ffmpeg, arecord and sox into a pipe), and a
  length of 0 where the RIFF header knows of no more either (Python, sox): the samples go on to the end of the body.
- The bytes per second and a fraction of a frame at the end are not looked at.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_PCM, _FLOAT, _EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
_BITS = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
_NAMES = {0x02: "ADPCM", 0x06: "A-law", 0x07: "mu-law", 0x11: "IMA ADPCM", 0x31: "GSM", 0x55: "MP3", 0xFF: "AAC"}
# Relatives of RIFF, with "WAVE" at the same place: for over 4 GiB, and with the bytes of numbers the other way round.
_RIFF, _RELATIVES = b"RIFF", (b"RF64", b"BW64", b"RIFX")
_FMT_BYTES, _EXTENSIBLE_BYTES = 16, 40
# A format tag as a GUID ends with these (RFC 2361, section 4).
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
_MOST_CHANNELS = 8
_RATES = range(1_000, 192_001)  # Telemetry to studio; a header outside is damaged.
# Real files have two to ten; a body of nothing but empty chunks would hold the reader for a second.
_MOST_CHUNKS = 1_000
_UNKNOWN_BYTES = 0x7FFF_F000  # The least that a writer puts for "not known" (sox).


class WavError(ValueError):
    """It cannot be read; says what was found and what may stand there."""


class Wav(NamedTuple):
    """What a header says. `start` and `size` of the samples in bytes; `rate` in frames a second."""

    rate: int
    channels: int
    bits: int
    is_float: bool
    start: int
    size: int

    @property
    def seconds(self) -> float:
        """How long it sounds."""
        return self.size / (self.rate * self.channels * self.bits // 8)


def looks_like_wav(body: bytes) -> bool:
    """Whether the first bytes are those of a WAV file or of a relative, which is told by its name."""
    return body[8:12] == b"WAVE" and body[:4] in (_RIFF, *_RELATIVES)


def read_wav(body: bytes) -> Wav:
    """The header of a WAV file: PCM of 8, 16, 24 or 32 bits, or floats of 32 or 64, in 1 to 8 channels.

    Raises:
        WavError: it is none, of another kind, or cut off.
    """
    if body[:4] in _RELATIVES:
        raise WavError(f"it is {body[:4].decode()}, not RIFF; send a RIFF file")
    if not looks_like_wav(body):
        raise WavError(f"the first {min(len(body), 12)} bytes hold no RIFF and WAVE")
    place, form = 12, None
    for _ in range(_MOST_CHUNKS):
        if place + 8 > len(body):
            break
        name, size = body[place : place + 4], int.from_bytes(body[place + 4 : place + 8], "little")
        place += 8
        if name == b"fmt ":
            form = _form(body[place : place + size], size)
        elif name == b"data":
            if form is None:
                raise WavError("its data chunk comes before any fmt chunk")
            riff_end = 8 + int.from_bytes(body[4:8], "little")
            unknown = size >= _UNKNOWN_BYTES or (not size and not place < riff_end < _UNKNOWN_BYTES)
            return Wav(*form, place, _samples_bytes(None if unknown else size, len(body) - place, form))
        place += size + size % 2
    raise WavError(f"it holds no {'fmt' if form is None else 'data'} chunk among its first {_MOST_CHUNKS}")


def _form(chunk: bytes, size: int) -> tuple[int, int, int, bool]:
    """Rate, channels, bits and whether they are floats."""
    if len(chunk) < _FMT_BYTES or len(chunk) < size:
        raise WavError(f"its fmt chunk declares {size} bytes, {len(chunk)} are there; it has {_FMT_BYTES} or more")
    tag, channels, rate, _, frame, bits = struct.unpack("<HHIIHH", chunk[:_FMT_BYTES])
    if tag == _EXTENSIBLE and len(chunk) >= _EXTENSIBLE_BYTES and chunk[26:40] == _GUID_TAIL:
        tag = int.from_bytes(chunk[24:26], "little")
    if bits not in _BITS.get(tag, ()):
        name = f" ({_NAMES[tag]})" if tag in _NAMES else ""
        raise WavError(
            f"format {tag:#06x}{name} of {bits} bits; send PCM of 8, 16, 24 or 32 bits, or floats of 32 or 64"
        )
    if not 1 <= channels <= _MOST_CHANNELS:
        raise WavError(f"{channels} channels; send 1 to {_MOST_CHANNELS}")
    if rate not in _RATES:
        raise WavError(f"{rate} frames a second; send {_RATES[0]} to {_RATES[-1]}")
    if frame != channels * bits // 8:
        raise WavError(f"frames of {frame} bytes; {channels} channels of {bits} bits take {channels * bits // 8}")
    return rate, channels, bits, tag == _FLOAT


def _samples_bytes(declared: int | None, there: int, form: tuple[int, int, int, bool]) -> int:
    _, channels, bits, _ = form
    if declared is None:
        declared = there
    if there < declared:
        raise WavError(f"its data chunk declares {declared} bytes, {there} are there; it is cut off")
    frame = channels * bits // 8
    whole = min(declared, there) // frame * frame
    if not whole:
        raise WavError("its data chunk holds no sound")
    return whole
