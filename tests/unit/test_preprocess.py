"""Images and texts are decoded one way, and what cannot be decoded is told from what can."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from worker.errors import Poison
from worker.feeds.junction import scene
from worker.model.pictures import decode_image
from worker.model.preprocess import text_of


def _encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = (320, 240)) -> bytes:
    """A picture: red on the left, blue on the right."""
    image = Image.new("RGB", size, (220, 20, 20))
    image.paste((20, 20, 220), (size[0] // 2, 0, size[0], size[1]))
    out = io.BytesIO()
    image.convert(mode).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "P"), ("PNG", "RGBA")]
)
@pytest.mark.parametrize("size", [(320, 240), (1280, 720), (64, 48), (225, 1000)])
def test_colours_and_places_are_kept(kind: str, mode: str, size: tuple[int, int]) -> None:
    """Any kind of JPEG or PNG of any size gives RGB pixels of the square, left is left, red is red."""
    pixels = decode_image(_encoded(kind, mode, size), 224, "frames")
    assert pixels.shape == (3, 224, 224)
    assert str(pixels.dtype) == "torch.uint8"
    left, right = pixels[:, 112, 40].tolist(), pixels[:, 112, 180].tolist()
    assert left == pytest.approx([220, 20, 20], abs=25)
    assert right == pytest.approx([20, 20, 220], abs=25)


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "L"), ("PNG", "L"), ("PNG", "1"), ("PNG", "I;16")])
def test_grey_images_are_grey_in_all_channels(kind: str, mode: str) -> None:
    """One channel becomes three equal ones."""
    out = io.BytesIO()
    Image.new("L", (320, 240), 200).convert(mode).save(out, kind)
    pixels = decode_image(out.getvalue(), 224, "frames")
    assert pixels.shape == (3, 224, 224)
    assert bool((pixels[0] == pixels[1]).all())
    assert bool((pixels[1] == pixels[2]).all())


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_damaged_image_is_poison_of_its_stream(kind: str) -> None:
    """Cut off at any place, or overwritten, it says so and names the stream; it never passes as a picture."""
    noise = np.random.default_rng(1).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, kind)
    body = out.getvalue()
    cut = [body[: len(body) * part // 8] for part in range(1, 8)]
    for damaged in [*cut, body[:300] + bytes(len(body) - 300)]:
        with pytest.raises(Poison, match="stream 'frames': the image cannot be decoded") as caught:
            decode_image(damaged, 224, "frames")
        assert (caught.value.stage, caught.value.reason, caught.value.stream) == ("DECODE", "undecodable", "frames")


def test_decoding_smaller_gives_the_same_picture() -> None:
    """The scaled decode of a JPEG differs from the full one by little."""
    body = scene(np.random.default_rng(1)).image
    full = np.asarray(Image.open(io.BytesIO(body)).resize((224, 224), Image.Resampling.BILINEAR), np.float32)
    ours = decode_image(body, 224, "frames").permute(1, 2, 0).float().numpy()
    assert np.abs(full - ours).mean() < 3


def test_texts() -> None:
    """Plain text as it is, JSON by its field."""
    assert text_of("grüß".encode(), "text/plain", "texts") == "grüß"
    assert text_of(b'{"text": "hello", "n": 1}', "application/json", "texts") == "hello"
    with pytest.raises(Poison, match="stream 'texts': no text in the body"):
        text_of(b'{"n": 1}', "application/json", "texts")
