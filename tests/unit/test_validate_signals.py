"""What the validator takes and refuses of sensors and microphones."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from tests.unit.incoming import binary, plain, refused, validator, wav
from worker.records import Record

STRUCTURED = (("content-type", b"application/cloudevents+json"),)


def reading(value: bytes) -> Record:
    """A sensor's reading as a CloudEvent in binary mode."""
    return binary(value, b"application/json", topic="sensors-in")


def sound(value: bytes) -> Record:
    """A sound as a CloudEvent in binary mode."""
    return binary(value, b"audio/wav")


def structured(topic: str, **attributes: Any) -> Record:
    """A CloudEvent in structured mode."""
    body = {"specversion": "1.0", "id": "i", "source": "s", "type": "t", **attributes}
    return plain(json.dumps(body).encode(), topic=topic, headers=STRUCTURED)


@pytest.mark.parametrize(
    "body",
    [
        b'{"speed": 31.5}',
        b'{"speed": null, "unit": "km/h"}',
        b'{"counts": [3, null, 4.5], "at": {"lane": 1}}',
        b'{"values": {"speed": -3e38}, "device": "r-12"}',
        b'{"open": true}',
        b' \n{"temperature": 21}',
    ],
)
def test_readings(body: bytes) -> None:
    """A number, null or a series of them under any name, beside whatever else; in each of the three forms."""
    assert validator().read(reading(body)).payload == body
    told = validator().read(plain(body, topic="sensors-in"))
    assert (told.content_type, told.payload) == ("application/json", body)
    event = validator().read(structured("sensors-in", data=json.loads(body)))
    assert (event.content_type, json.loads(event.payload)) == ("application/json", json.loads(body))
    coded = base64.b64encode(body).decode()
    assert validator().read(structured("sensors-in", data_base64=coded)).content_type == "application/json"


@pytest.mark.parametrize(
    ("body", "reason", "message"),
    [
        (b"[1, 2]", "bad_json", 'a reading is a JSON object such as {"speed": 31.5}; this is a list'),
        (b"31.5", "bad_json", 'a reading is a JSON object such as {"speed": 31.5}; this is a float'),
        (b'{"speed":', "bad_json", "the body is not JSON that can be read"),
        (b'{"speed": NaN}', "bad_json", "NaN is not JSON"),
        (b'{"speed": Infinity}', "bad_json", "Infinity is not JSON"),
        (b'{"speed": "\xff"}', "text_not_utf8", "the body is not UTF-8 at byte 11"),
        (b"{}", "no_numbers",
         "none of the reading's 0 fields is a number, a word, true, false, null or a list of them; send them by name"),
        (b'{"unit": [["km/h"]], "at": {"x": 1}}', "no_numbers", "none of the reading's 2 fields is a number"),
        (b'{"speed": [1, {}]}', "no_numbers", "none of the reading's 1 fields"),
        (b'{"speed": []}', "no_numbers", "none of the reading's 1 fields"),
        (b'{"values": {"note": {}}, "speed": 1}', "no_numbers", "none of the reading's 1 fields"),
        (b'{"speed": 1e999}', "not_finite", "field 'speed' holds a number beyond 3.403e+38, which 32 bits cannot hold"),
        (b'{"a": 1, "b": [0, -1e39]}', "not_finite", "field 'b' holds a number beyond 3.403e+38"),
        (b'{"speed": %s}' % (b"9" * 400), "not_finite", "send null for a missing one"),
        (b'{"a": 1, "s": [%s0]}' % (b"0," * 4096), "too_long",
         "field 's' has 4097 steps, over the limit of 4096; send a shorter series"),
        (b'{"s": "%s"}' % (b"x" * 65_536), "too_large",
         "reading of 65545 bytes is over the limit of 65536 bytes; send a smaller one or raise [limits] max_sensor_b"),
        (b"[" * 60_000, "bad_json", "nested deeper than the limit of 64 levels"),
    ],
)  # fmt: skip
def test_readings_that_are_refused(body: bytes, reason: str, message: str) -> None:
    """Each with its reason and a sentence that says what may stand there."""
    given, told = refused(reading(body))
    assert (given, message in told) == (reason, True), told


def test_a_series_at_the_limit_passes() -> None:
    """4,096 steps are taken."""
    assert validator().read(reading(b'{"s": [%s0]}' % (b"0," * 4095)))


def test_what_is_no_reading_is_told_apart() -> None:
    """On a sensor's topic other kinds are refused by their content type, and words as JSON that cannot be read."""
    assert refused(plain(wav(), topic="sensors-in")) == (
        "content_type",
        "content type 'audio/wav' is not the sensor that stream 'sensors' carries; send application/json",
    )
    assert refused(plain(b"hello", topic="sensors-in"))[0] == "bad_json"
    assert refused(structured("sensors-in", data="hello"))[0] == "content_type"
    assert refused(structured("sensors-in", data=[1, 2]))[0] == "bad_json"
    assert refused(plain(b'{"speed": 31.5}', topic="sounds-in"))[0] == "content_type"


@pytest.mark.parametrize(
    "body",
    [
        wav(bits=8, tag=1),
        wav(bits=16, channels=2),
        wav(bits=24, data=bytes(3 * 100)),
        wav(bits=32, rate=192_000, channels=8),
        wav(bits=32, tag=3, rate=1_000),
        wav(bits=64, tag=3),
        wav(subformat=1),
        wav(subformat=3, bits=32),
        wav(before=b"LIST\x03\x00\x00\x00abc\x00"),
        wav(declared=0xFFFF_FFFF),
        wav() + b"LIST\xff\xff\xff\xff",
        wav(bytes(3201)),
    ],
)
def test_sounds(body: bytes) -> None:
    """PCM, floats, extensible headers, other chunks and lengths that a pipe never knew; in each of the three forms."""
    assert validator().read(sound(body)).payload == body
    assert validator().read(plain(body, topic="sounds-in")).content_type == "audio/wav"
    event = validator().read(structured("sounds-in", data_base64=base64.b64encode(body).decode()))
    assert (event.content_type, event.payload) == ("audio/wav", body)


@pytest.mark.parametrize("name", [b"audio/x-wav", b"audio/wave", b"audio/vnd.wave;codecs=1", b"Audio/WAV"])
def test_other_names_of_wav(name: bytes) -> None:
    """An event has the first of a type's names."""
    assert validator().read(binary(wav(), name, topic="sounds-in")).content_type == "audio/wav"


FMT_LATE = b"RIFF\x00\x00\x00\x00WAVEdata\x00\x00\x00\x00"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"no sound", "the first 8 bytes hold no RIFF and WAVE"),
        (b"RIFX" + wav()[4:], "it is RIFX, not RIFF; send a RIFF file"),
        (wav()[:8] + b"AVI " + wav()[12:], "hold no RIFF and WAVE"),
        (wav()[:12], "it holds no fmt chunk"),
        (wav()[:30], "its fmt chunk declares 16 bytes, 10 are there"),
        (wav()[:36], "it holds no data chunk"),
        (FMT_LATE, "its data chunk comes before any fmt chunk"),
        (wav(b""), "its data chunk holds no sound"),
        (wav(b"x"), "its data chunk holds no sound"),
        (wav()[:-1], "its data chunk declares 3200 bytes, 3199 are there; it is cut off"),
        (wav(tag=2, bits=16), "format 0x0002 (ADPCM) of 16 bits; send PCM of 8, 16, 24 or 32 bits"),
        (wav(tag=3, bits=16), "format 0x0003 of 16 bits"),
        (wav(bits=12), "format 0x0001 of 12 bits"),
        (wav(subformat=0x55), "format 0x0055 (MP3) of 16 bits"),
        (wav(tag=0xFFFE), "format 0xfffe of 16 bits"),
        (wav(channels=0), "0 channels; send 1 to 8"),
        (wav(channels=9), "9 channels; send 1 to 8"),
        (wav(rate=999), "999 frames a second; send 1000 to 192000"),
        (wav(rate=192_001), "192001 frames a second"),
        (wav().replace(struct.pack("<HH", 2, 16), struct.pack("<HH", 4, 16), 1),
         "frames of 4 bytes; 1 channels of 16 bits take 2"),
        (wav(before=b"JUNK\x00\x00\x00\x00" * 1000), "no data chunk among its first 1000"),
        (wav(before=b"LIST\xff\xff\xff\x7f"), "no data chunk"),
    ],
)  # fmt: skip
def test_sounds_that_are_refused(body: bytes, message: str) -> None:
    """Each with a sentence that says what was found and what may stand there."""
    reason, told = refused(sound(body))
    assert reason == "audio_header"
    assert told.startswith("WAV header cannot be read: ")
    assert message in told


def test_long_and_large_sounds() -> None:
    """A small body can hold hours of a slow sound; its length is refused before a sample is read."""
    hour = wav(bytes(3_600_000), rate=1_000, bits=8)
    assert refused(sound(hour)) == (
        "too_long",
        "sound of 3600 s is over the limit of 60 s; send a shorter one or raise [limits] max_audio_seconds",
    )
    assert validator(max_audio_seconds=3600).read(sound(hour))
    assert refused(sound(wav(bytes(8 * 2**20))))[0] == "too_large"
    assert refused(sound(wav()), max_audio_bytes=100)[1].endswith(
        "over the limit of 100 bytes; send a smaller one or raise [limits] max_audio_bytes"
    )


@pytest.mark.parametrize(
    "record", [reading(b'{"a": 1}'), plain(b'{"a": 1}', topic="sensors-in"), sound(wav()), binary(wav(), b"audio/wave")]
)
def test_reread_gives_the_same_event(record: Record) -> None:
    """A record read back is the event it was, whatever the limits say now."""
    event = validator().read(record)
    strict = validator(max_sensor_bytes=1, max_audio_bytes=1, max_audio_seconds=0)
    assert strict.reread(record) == event
