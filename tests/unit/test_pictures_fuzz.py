"""Whatever is done to a picture, it is a picture or a Poison that names its stream, without a warning."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.incoming import png
from tests.unit.media import (
    ARITHMETIC,
    TALL_CHROMA,
    chunk,
    exif,
    four,
    frame_at,
    interlaced,
    jpeg,
    png_of,
    saved,
    with_app1,
    ycck,
)  # fmt: skip
from tests.unit.media_cases import animated, palette_with_trns, transparent
from worker import image
from worker.errors import Poison
from worker.image import ImageError, png_size, read_jpeg
from worker.model.pictures import decode_image

GOOD = [
    jpeg(four()), with_app1(jpeg(four(), "420"), exif(5)), saved(four(), "JPEG", progressive=True), ARITHMETIC,
    TALL_CHROMA, ycck(four()), saved(four()), interlaced(four()), palette_with_trns(), transparent("L"), animated(),
    saved(four().convert("1")), saved(four().convert("I;16")),
]  # fmt: skip
CHUNKS = st.tuples(st.sampled_from([b"tRNS", b"iCCP", b"eXIf", b"zTXt", b"PLTE", b"acTL"]), st.binary(max_size=9))


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_any_picture(data: st.DataObject) -> None:
    """Bytes changed, cut out or added, and chunks of the right checksum and any content."""
    body = bytearray(data.draw(st.sampled_from(GOOD)))
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    if body[:4] == b"\x89PNG" and data.draw(st.booleans()):
        body[33:33] = chunk(*data.draw(CHUNKS))
    told = decoded(bytes(body))
    if told is not None:
        assert str(told).startswith("stream 'frames': the image cannot be decoded: ")
        assert told.exception in ("ImageError", "ValueError", "OSError", "SyntaxError")


def decoded(body: bytes) -> Poison | None:
    """None for a picture; a warning fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            assert decode_image(body, 32, "frames").shape == (3, 32, 32)
        except Poison as poison:
            return poison
    return None


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(GOOD), st.data())
def test_any_header(good: bytes, data: st.DataObject) -> None:
    """A header is read or refused by a sentence, whatever stands in it."""
    body = bytearray(good)
    for _ in range(data.draw(st.integers(0, 8))):
        body[data.draw(st.integers(0, min(len(body), 700) - 1))] = data.draw(st.integers(0, 255))
    for read in (read_jpeg, png_size):
        said = "read"
        try:
            read(bytes(body[: data.draw(st.integers(0, len(body)))]))
        except ImageError as error:
            said = str(error)
        assert 0 < len(said) < 300


JPEGS = [*(body for body in GOOD if body[:2] == b"\xff\xd8"), saved(four(), "JPEG", progressive=True, quality=30)]


def said_of(body: bytes) -> object:
    """What is found in a header, or why not."""
    try:
        return read_jpeg(body)
    except ImageError as error:
        return str(error)


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_a_header_that_is_known_is_read_as_one_that_is_not(data: st.DataObject) -> None:
    """Bodies that begin like one another, with bytes changed, cut off or exchanged behind some place."""
    image._known.clear()
    bodies = []
    for _ in range(data.draw(st.integers(1, 6))):
        one, other = data.draw(st.sampled_from(JPEGS)), data.draw(st.sampled_from(JPEGS))
        place = data.draw(st.integers(0, len(one)))
        changed = bytearray(one[:place] + data.draw(st.sampled_from([one, other, b"", b"\xff\xda\0\2"]))[place:])
        if changed and data.draw(st.booleans()):
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
        bodies += [one, bytes(changed), one]
    told = [said_of(body) for body in bodies]
    for body, known in zip(bodies, told, strict=True):
        image._known.clear()
        assert said_of(body) == known


def test_headers_are_known_once_and_not_without_end() -> None:
    """A header that is known is not read again; those with a clock in their metadata do not fill the memory."""
    image._known.clear()
    first, again = read_jpeg(jpeg(four())), read_jpeg(jpeg(four()) + b"behind its end")
    assert first is again
    for number in range(2 * image._MOST_KNOWN):
        read_jpeg(with_app1(jpeg(four()), b"Exif\0\0" + number.to_bytes(2, "big")))
    assert 0 < len(image._known) <= image._MOST_KNOWN


def test_the_scans_of_a_known_header_are_counted() -> None:
    """They lie behind it."""
    body = saved(four(), "JPEG", progressive=True)
    assert read_jpeg(body)
    scan = body.rindex(b"\xff\xda")
    with pytest.raises(ImageError, match="scans"):
        read_jpeg(body[:-2] + (image.MOST_SCANS + 1) * body[scan:-2] + body[-2:])


def test_what_no_limit_of_the_configuration_has_stopped() -> None:
    """Gigabytes are refused in training too, before they are decoded; what is only large brings no warning."""
    large = png_of([bytes(1_250)] * 10_000, 10_000, 1, 0)
    assert decoded(large) is None
    tall = jpeg(four())
    place = frame_at(tall) + 5
    for bomb in (png(60_000, 60_000), tall[:place] + (60_000).to_bytes(2, "big") * 2 + tall[place + 4 :]):
        whole = bomb + chunk(b"IDAT", b"") + chunk(b"IEND", b"") if bomb[:4] == b"\x89PNG" else bomb
        assert "60000 x 60000 pixels are over the limit of 268435456" in str(decoded(whole))
