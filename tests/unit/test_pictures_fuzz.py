"""Whatever is done to a picture, it is a picture or a Poison that names its stream, without a warning."""

from __future__ import annotations

import warnings

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


def test_what_no_limit_of_the_configuration_has_stopped() -> None:
    """Gigabytes are refused in training too, before they are decoded; what is only large brings no warning."""
    large = png_of([bytes(1_250)] * 10_000, 10_000, 1, 0)
    assert decoded(large) is None
    tall = jpeg(four())
    place = frame_at(tall) + 5
    for bomb in (png(60_000, 60_000), tall[:place] + (60_000).to_bytes(2, "big") * 2 + tall[place + 4 :]):
        whole = bomb + chunk(b"IDAT", b"") + chunk(b"IEND", b"") if bomb[:4] == b"\x89PNG" else bomb
        assert "60000 x 60000 pixels are over the limit of 268435456" in str(decoded(whole))
