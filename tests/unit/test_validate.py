"""What the validator takes and what it refuses."""

from __future__ import annotations

import pytest

from tests.unit.incoming import JPEG, NOW_US, TIME_US, binary, plain, png, refused, validator
from tests.unit.media import four, many_scans, saved
from worker.records import Record


@pytest.mark.parametrize("key", [b"\x00", b"a\x01\x1f\x7fb", "straße\n".encode(), b" "])
def test_any_utf8_key(key: bytes) -> None:
    """NUL, control characters and any other UTF-8 are legal keys."""
    assert validator().read(binary(key=key)).key == key.decode()


@pytest.mark.parametrize(("key", "reason"), [(None, "no_key"), (b"", "no_key"), (b"\xff", "key_not_utf8")])
def test_keys_that_are_refused(key: bytes | None, reason: str) -> None:
    """No key, an empty one, or one that is not UTF-8 is refused."""
    assert refused(binary(key=key))[0] == reason


@pytest.mark.parametrize(("value", "given"), [(None, "null"), (b"", "empty")])
def test_no_value(value: bytes | None, given: str) -> None:
    """A null or an empty value is refused, in either form."""
    assert refused(binary(value)) == ("empty_value", f"the record's value is {given}; an event needs a payload")
    assert refused(plain(value))[0] == "empty_value"


def test_attributes() -> None:
    """Missing, empty and undecodable attributes are refused."""
    for name in ("ce_id", "ce_source", "ce_type"):
        assert refused(binary(**{name: None}))[0] == "attributes"
        assert refused(binary(**{name: b""}))[0] == "attributes"
        assert refused(binary(**{name: b"\xff"}))[0] == "attributes"
    assert refused(binary(ce_anything=b"\xff"))[0] == "attributes"


@pytest.mark.parametrize("version", [None, b"", b"0.3", b"2.0", b"1.0 "])
def test_spec_version(version: bytes | None) -> None:
    """Only CloudEvents 1.0 is read; any ce_ header asks for it."""
    reason, message = refused(binary(ce_specversion=version))
    assert reason == "spec_version"
    assert message.endswith("this worker reads 1.0")


def test_content_type_is_the_streams() -> None:
    """A content type of another modality is refused, and the message says what to send."""
    record = binary(b"hello", b"text/plain")
    moved = Record("frames-in", 0, 0, 1, record.key, record.value, record.headers)
    assert refused(moved) == (
        "content_type",
        "content type 'text/plain' is not the image that stream 'frames' carries; send image/jpeg or image/png",
    )
    assert refused(plain(JPEG))[0] == "content_type"
    assert refused(plain(b"text", topic="frames-in"))[0] == "content_type"
    assert refused(binary(JPEG, b"image/gif"))[0] == "content_type"
    assert validator().read(binary(JPEG, b"image/JPEG; a=b")).content_type == "image/jpeg"


def test_unknown_topic() -> None:
    """A topic that no stream reads is refused, not a crash."""
    assert refused(plain(b"hi", topic="elsewhere"))[0] == "unknown_topic"


def test_sizes() -> None:
    """A payload at the limit passes; one byte more is refused with given, limit and remedy."""
    limit = len(JPEG)
    assert validator(max_frame_bytes=limit).read(binary()).payload == JPEG
    assert refused(binary(), max_frame_bytes=limit - 1) == (
        "too_large",
        f"frame of {limit} bytes is over the limit of {limit - 1} bytes; "
        "send a smaller one or raise [limits] max_frame_bytes",
    )
    assert len(validator().read(plain(b"x" * 65536)).payload) == 65536
    assert refused(plain(b"x" * (65 * 1024)))[1].endswith("raise [limits] max_text_bytes")
    assert refused(binary(JPEG + bytes(9 * 2**20)))[0] == "too_large"


def test_far_too_large_is_refused_unparsed() -> None:
    """A value that no legal event can have is refused before its JSON is read."""
    assert refused(plain(b'{"text":"' + b"x" * 600_000 + b'"}'))[0] == "too_large"
    assert (
        refused(plain(b"x" * 600_000, headers=(("content-type", b"application/cloudevents+json"),)))[0] == "too_large"
    )


def test_image_headers() -> None:
    """JPEG and PNG pass on a header alone."""
    assert validator().read(binary(JPEG[: len(JPEG) - 40])).content_type == "image/jpeg"
    assert validator().read(binary(png(), b"image/png")).content_type == "image/png"


@pytest.mark.parametrize(
    ("value", "content_type"),
    [
        (b"\xff\xd8\xff", b"image/jpeg"),
        (b"\xff\xd8\xff" + bytes(500), b"image/jpeg"),
        (b"no image", b"image/jpeg"),
        (JPEG[:100], b"image/jpeg"),
        (png(), b"image/jpeg"),
        (JPEG, b"image/png"),
        (png()[:32], b"image/png"),
        (png().replace(b"IHDR", b"IDAT"), b"image/png"),
        (png(0, 5), b"image/png"),
        (png(5, 0), b"image/png"),
        (png(checksum=1), b"image/png"),
    ],
)
def test_image_headers_that_cannot_be_read(value: bytes, content_type: bytes) -> None:
    """Truncated, foreign and contradictory headers are refused."""
    assert refused(binary(value, content_type))[0] == "image_header"


def test_rare_subsampling() -> None:
    """A JPEG in 4:1:0, which the decoder does not read, is refused with what it is and the remedy."""
    position = JPEG.index(b"\xff\xc0") + 11
    rare = JPEG[:position] + b"\x42" + JPEG[position + 1 :]
    assert refused(binary(rare)) == (
        "image_header",
        "JPEG header cannot be read: its components are sampled 4x2, 1x1, 1x1, which is not read; "
        "send 4:4:4, 4:2:2, 4:2:0, 4:4:0 or 4:1:1",
    )


def test_scans_are_counted_and_nothing_else() -> None:
    """The bytes of a scan's marker in metadata, or behind the picture, are no scans."""
    many = b"\xff\xda" * 100
    progressive = saved(four(), "JPEG", progressive=True)
    inside = progressive[:2] + b"\xff\xe2" + (len(many) + 2).to_bytes(2, "big") + many + progressive[2:]
    for good in (progressive, inside, inside + many, many_scans(progressive, 54)):
        assert validator().read(binary(good)).payload == good
    for place in (0, len(many) + 4):
        bad = many_scans(inside if place else progressive, 60)
        assert refused(binary(bad)) == (
            "image_header",
            "JPEG header cannot be read: it has more than 64 scans, each a pass over all its pixels; send fewer",
        )


def test_pixel_bombs() -> None:
    """A header that declares too many pixels is refused before anything is decoded."""
    position = JPEG.index(b"\xff\xc0") + 5
    bomb = JPEG[:position] + (30_000).to_bytes(2, "big") * 2 + JPEG[position + 4 :]
    for value, content_type in ((bomb, b"image/jpeg"), (png(30_000, 30_000), b"image/png")):
        reason, message = refused(binary(value, content_type))
        assert reason == "too_many_pixels"
        assert message == (
            "image of 30000 x 30000 = 900000000 pixels is over the limit of 40000000 pixels; "
            "send a smaller one or raise [limits] max_frame_pixels"
        )
    assert validator(max_frame_pixels=64 * 48).read(binary()).payload == JPEG
    assert refused(binary(), max_frame_pixels=64 * 48 - 1)[0] == "too_many_pixels"


def test_texts() -> None:
    """Text is UTF-8; JSON text is an object with a string `text`."""
    assert refused(binary(b"\xff\xfe", b"text/plain")) == (
        "text_not_utf8",
        "the text is not UTF-8 at byte 0; send UTF-8",
    )
    assert refused(plain(b"abc\xc3"))[0] == "text_not_utf8"
    assert validator().read(binary(b'{"text":"hi","lane":1}', b"application/json")).payload == b'{"text":"hi","lane":1}'


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", "bad_json"),
        (b'"text"', "bad_json"),
        (b"{}", "bad_json"),
        (b'{"text":7}', "bad_json"),
        (b'{"text":', "bad_json"),
        (b'{"text":""}', "empty_value"),
        (b'{"text":"\\ud800"}', "text_not_utf8"),
        (b'{"text":"\xff"}', "text_not_utf8"),
        (b"[" * 60_000, "bad_json"),
        (b'{"text":"x","n":' + b"9" * 5_000 + b"}", "bad_json"),
    ],
)
def test_json_texts_that_are_refused(body: bytes, reason: str) -> None:
    """Anything else in application/json is refused with its reason."""
    assert refused(binary(body, b"application/json"))[0] == reason


@pytest.mark.parametrize("time", [b"1970-01-01T00:00:00Z", b"1969-07-20T20:17:40Z", b"2100-01-01T00:00:00Z", b"soon"])
def test_times_out_of_range(time: bytes) -> None:
    """Zero, negative, far ahead and unreadable times are refused."""
    assert refused(binary(ce_time=time))[0] == "event_time"


@pytest.mark.parametrize("timestamp_ms", [-1, 0, -(2**63), 2**63 - 1])
def test_record_timestamps_out_of_range(timestamp_ms: int) -> None:
    """The record's timestamp is judged as any event time is."""
    assert refused(plain(b"hi", timestamp_ms=timestamp_ms))[0] == "event_time"


def test_max_ahead_is_exact() -> None:
    """An event at now + max_ahead passes; one millisecond later it is refused."""
    limit_ms = NOW_US // 1000 + 3_600_000
    assert validator().read(plain(b"hi", timestamp_ms=limit_ms)).time_us == limit_ms * 1000
    reason, message = refused(plain(b"hi", timestamp_ms=limit_ms + 1000))
    assert (reason, message) == (
        "event_time",
        "event time is 3601 s ahead of the clock, over the limit of 3600 s; "
        "set the producer's clock or raise [limits] max_ahead",
    )


def test_no_time_past_the_year_9999() -> None:
    """However generous max_ahead is, no time passes that RFC 3339 cannot write."""
    record = plain(b"hi", timestamp_ms=253_402_300_800_000)
    assert refused(record, max_ahead_us=10**18)[0] == "event_time"
    assert validator(max_ahead_us=10**18).read(plain(b"hi", timestamp_ms=253_402_300_799_999)).time_us > TIME_US


@pytest.mark.parametrize("record", [binary(), plain(b"hi"), plain(b'{"text":"hi"}'), binary(b"hi", b"text/plain")])
def test_reread_gives_the_same_event(record: Record) -> None:
    """A record read back is the event it was, whatever the clock and the limits say now."""
    event = validator().read(record)
    strict = validator(max_frame_bytes=1, max_frame_pixels=1, max_text_bytes=1, max_ahead_us=-(10**18))
    assert strict.reread(record) == event
