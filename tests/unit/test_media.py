"""docs/media.md is true: each of its rows against a plain twin, as training reads it and as the worker does."""

from __future__ import annotations

import json
import re
import warnings
from codecs import BOM_UTF8
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import write_tiny_model
from tests.unit.incoming import binary, validator
from tests.unit.media_cases import CASES
from worker.errors import ConfigError, Poison
from worker.model.load import config_of, tokenizer_of
from worker.model.preprocess import Body, Preprocessor
from worker.training.samples import folder_rows

DOCS = Path(__file__).parents[2] / "docs" / "media.md"
ROWS = dict(re.findall(r"^\| ((?:JPEG|PNG|WAV|JSON|text)[^|]*) \| ([^|]*) \|$", DOCS.read_text(), re.MULTILINE))


@pytest.fixture(scope="module")
def preprocessor(tmp_path_factory: pytest.TempPathFactory) -> Preprocessor:
    folder = write_tiny_model(tmp_path_factory.mktemp("model"), ("text", "image", "sensor", "audio"))
    return Preprocessor(config_of(folder), tokenizer_of(folder))


def content_of(row: str, body: bytes) -> tuple[str, str]:
    """Modality and content type."""
    for start, told in ((b"\xff\xd8", ("image", "image/jpeg")), (b"\x89PNG", ("image", "image/png"))):
        if body.startswith(start):
            return told
    if row.startswith("WAV"):
        return "audio", "audio/wav"
    if row.startswith("text") or not body.lstrip(BOM_UTF8).startswith(b"{"):
        return "text", "text/plain"
    return ("text" if row.startswith("JSON text") else "sensor"), "application/json"


def served(row: str, body: bytes, preprocessor: Preprocessor) -> Any:
    """As the worker reads it."""
    modality, kind = content_of(row, body)
    topic = {"image": "frames-in", "audio": "sounds-in", "text": "texts-in", "sensor": "sensors-in"}[modality]
    event = validator(max_frame_bytes=2**24).read(binary(body, kind.encode(), topic=topic))
    return preprocessor.tensors(modality, [Body(event.payload, event.content_type, event.stream)])


def trained(row: str, body: bytes, preprocessor: Preprocessor, folder: Path) -> Any:
    """As training reads it from a folder."""
    modality, kind = content_of(row, body)
    (folder / "body").write_bytes(body)
    entry = {"file": "body", "content_type": kind}
    line = {"label": "x", "inputs": {"s": [entry]}, "modalities": {"s": modality}}
    if kind == "text/plain":
        line = {"label": "x", "text": body.decode()}
    elif modality == "text":
        return preprocessor.tensors("text", [Body(body, kind, "s")])
    elif modality == "sensor":
        return preprocessor.tensors("sensor", [Body(body, kind, "s")])
    (folder / "train.jsonl").write_text(json.dumps(line))
    (row_read,) = folder_rows(folder, "train")
    (bodies,) = row_read.sample.bodies.values()
    return preprocessor.tensors(modality, bodies)


def test_every_row_has_a_case() -> None:
    """And every case a row."""
    assert set(ROWS) == set(CASES)


@pytest.mark.parametrize("row", CASES)
def test_the_table_is_true(row: str, preprocessor: Preprocessor, tmp_path: Path) -> None:
    """What is read is read like its plain twin; what is refused says what the table says."""
    case = CASES[row]()
    ways = [lambda: served(row, case.body, preprocessor), lambda: trained(row, case.body, preprocessor, tmp_path)]
    if case.plain is None:
        (said,) = re.findall(r"refused: `([^`]*)`", ROWS[row])
        for read in ways:
            with pytest.raises((Poison, ConfigError), match=re.escape(said)):
                read()
        return
    assert "refused" not in ROWS[row]
    (wanted,) = served(row, case.plain, preprocessor)
    for read in ways:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            (found,) = read()
        assert found.shape == wanted.shape
        assert float((found.float() - wanted.float()).nan_to_num().abs().mean()) <= case.most
