"""Times, media types and JSON, as they stand on the wire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.incoming import TIME_US
from worker.errors import Poison
from worker.stages.wire import media_type, parse_json, parse_time, shown

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time_us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("2026-01-01T00:00:03.25Z", TIME_US),
        ("2026-01-01t00:00:03.250000z", TIME_US),
        ("2026-01-01T01:30:03.25+01:30", TIME_US),
        ("2025-12-31T19:00:03.25-05:00", TIME_US),
        ("2026-01-01T00:00:03.250000999Z", TIME_US),
        ("2026-01-01T00:00:03.2500001234567890Z", TIME_US),
        ("2026-01-01T00:00:03.25" + "0" * 5_000 + "9+00:00", TIME_US),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000_000),
        ("2017-01-01T00:59:60.5+01:00", 1_483_228_800_500_000),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000_000),
    ],
)
def test_times_that_are_read(text: str, time_us: int) -> None:
    """RFC 3339 with any number of digits, either case, any offset, and leap seconds."""
    assert parse_time(text) == time_us


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1767225603",
        "2026-01-01",
        "2026-01-01T00:00:03",
        "2026-01-01 00:00:03Z",
        "2026-01-01T00:00Z",
        "2026-01-01T00:00:03,25Z",
        "2026-01-01T00:00:03.Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T12:00:60Z",
        "2026-02-29T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-01-01T00:00:00+0100",
        "2026-01-01T00:00:00+24:00",
        "２０２６-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z\n",
        None,
        3,
    ],
)
def test_times_that_are_not(text: object) -> None:
    """Anything else is refused, with an example of what is read."""
    with pytest.raises(Poison, match=r"event time .* (RFC 3339|no calendar)"):
        parse_time(text)


@settings(deadline=None)
@given(
    st.datetimes(timezones=st.just(UTC), min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)),
    st.integers(-23 * 60, 23 * 60),
)
def test_times_agree_with_datetime(moment: datetime, offset_minutes: int) -> None:
    """Any moment, written by datetime in any offset, is read back to the microsecond."""
    text = moment.astimezone(timezone(timedelta(minutes=offset_minutes))).isoformat()
    assert parse_time(text) == (moment - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"text/plain; charset=utf-8", "text/plain"),
        (b'Text/Plain;format=flowed; charset="UTF-8"', "text/plain"),
        (b"TEXT/PLAIN ; CHARSET=Utf-8 ", "text/plain"),
        (b" application/json;charset=utf8;", "application/json"),
        (b'text/plain; title="a; charset=latin-1"; charset = "utf-8"', "text/plain"),
        (b"text/plain; charset=", "text/plain"),
        (b"image/jpeg; charset=binary", "image/jpeg"),
        (b"Image/PNG; charset=ISO-8859-1; boundary=x", "image/png"),
        (b"audio/x-wav ;codecs=1", "audio/wav"),
        (b"image/png", "image/png"),
        (b"", ""),
    ],
)
def test_media_types(raw: bytes, name: str) -> None:
    """Parameters and case do not matter."""
    assert media_type(raw) == name


@pytest.mark.parametrize(
    "raw",
    [
        b"text/plain; charset=latin-1",
        b"text/pl\xe4in",
        b'application/json;charset="ISO-8859-1"',
        b"Text/Plain ; Charset = UTF-16",
    ],
)
def test_media_types_that_are_not_read(raw: bytes) -> None:
    """A charset other than UTF-8 is refused."""
    with pytest.raises(Poison):
        media_type(raw)


def test_json_is_strict() -> None:
    """NaN is not JSON."""
    with pytest.raises(Poison, match="NaN is not JSON"):
        parse_json(b'{"a": NaN}')


def test_values_in_messages_are_short() -> None:
    """A megabyte in a header does not make a megabyte of message."""
    assert len(shown(b"\x00" * 10**6)) < 80
    assert shown("abc") == "'abc'"
    assert shown([1]) == "of type list"
