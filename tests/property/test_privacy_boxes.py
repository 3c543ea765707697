"""A box that the configuration takes hides something of every picture, however small the one or the other is."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from schemas.names import PNG
from worker.config import Settings
from worker.errors import ConfigError
from worker.from_settings import masker_of
from worker.records import Record
from worker.settings import load

SIZES = [(1, 1), (2, 3), (7, 640), (33, 8), (48, 64)]
EDGES = [0.0, -0.0, 5e-324, 1e-12, 0.1, 0.25, 0.5, 0.7, 1 / 3, 0.9, 1 - 2**-53, 1.0]
PARTS = st.one_of(st.sampled_from(EDGES), st.floats(0, 1), st.sampled_from([0, 1]))
# What was meant, and what a slip of the hand makes of it.
ODD = st.one_of(PARTS, st.booleans(), st.floats(), st.integers(), st.text(max_size=3))


def noise(height: int, width: int) -> tuple[np.ndarray[Any, Any], bytes]:
    """Pixels of which none is grey, and the file of them."""
    pixels = np.random.default_rng(height * width).integers(0, 120, (height, width, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return pixels, out.getvalue()


PICTURES = [noise(*size) for size in SIZES]


def hides_something(box: list[Any], style: str) -> None:
    section = {"enabled": True, "boxes": [["k", *box]], "style": style}
    mask = masker_of(Settings.model_validate({"privacy": section}))
    assert mask is not None
    for pixels, body in PICTURES:
        record = Record("frames", 0, 0, 0, b"k", body, ())
        _, masked = mask.masked("frames", "k", PNG, body, record)
        after = np.asarray(Image.open(io.BytesIO(masked)))
        assert after.shape == pixels.shape
        assert (after != pixels).any(), pixels.shape


@settings(deadline=None)
@given(x=PARTS, y=PARTS, width=PARTS, height=PARTS, style=st.sampled_from(["fill", "blur"]))
@example(x=0.5, y=0.5, width=5e-324, height=5e-324, style="blur")
@example(x=1 - 2**-53, y=1 - 2**-53, width=1e-9, height=1e-9, style="fill")
def test_a_box_in_the_picture_hides_some_of_it(x: float, y: float, width: float, height: float, style: str) -> None:
    """Within the picture it is taken, and pixels of every size of picture differ."""
    box = [x if x < 1 else 0.0, y if y < 1 else 0.0, width, height]
    box[2:] = [max(side * (1 - at), 5e-324) for at, side in zip(box[:2], box[2:], strict=True)]
    hides_something(box, style)


@settings(max_examples=50, deadline=None)
@given(st.lists(ODD, min_size=4, max_size=4))
@example([10**400, 0, 1, 1])
@example([1, 0, 1, 1])
@example([True, 0, 1, 1])
@example([False, 0, 1, 1])
def test_whatever_is_taken_hides_some_of_it(box: list[Any]) -> None:
    """Truth values, words, and numbers beyond the picture are refused."""
    try:
        hides_something(box, "fill")
        taken = True
    except ValueError:
        taken = False
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in box)
    inside = numbers and all(0 <= one <= 1 for one in box) and 0 not in box[2:] and 1 not in box[:2]
    assert taken <= inside
    assert taken or not inside or box[0] + box[2] > 1 or box[1] + box[3] > 1


@pytest.mark.parametrize("box", ["[]", '["cam", 1, 0, 1, 1]', '["cam", true, 0, 1, 1]', '["cam"], ["cam", 0, 0, 1, 1]'])
def test_what_would_hide_nothing_is_one_line(box: str) -> None:
    """Exit 2, with the section, where it was given and what a box may be."""
    with pytest.raises(ConfigError, match=r"privacy(\.boxes = .* | )\(--set\): ") as caught:
        load(None, ("privacy.enabled=true", f"privacy.boxes=[{box}]"), {})
    assert "unpack" not in str(caught.value)
