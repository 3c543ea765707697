"""What `record` writes, training reads: bodies of every modality, and labels as anchors spell them."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import pytest

from tests.unit.incoming import JPEG, binary, validator, wav
from worker.errors import ConfigError
from worker.recording.command import _check_out
from worker.recording.gather import Anchor, Place
from worker.recording.rows import Bodies, Chosen, rows_of, write_rows
from worker.records import Event
from worker.training.run import train
from worker.training.samples import folder_rows

MODALITIES = {"texts": "text", "frames": "image", "sounds": "audio", "sensors": "sensor"}


def event(value: bytes, content_type: bytes, topic: str, offset: int) -> Event:
    """As the worker reads it."""
    return validator().read(binary(value, content_type, topic=topic, offset=offset))


def recorded(folder: Path, text: bytes) -> dict[str, object]:
    """The row of an anchor with a frame, a sound and a reading, as written; its label is the field `label`."""
    events = [
        event(text, b"application/json", "texts-in", 0),
        event(JPEG, b"image/jpeg", "frames-in", 1),
        event(wav(), b"audio/wav", "sounds-in", 2),
        event(b'{"values": {"speed": [1, null]}, "by": "r2"}', b"application/json", "sensors-in", 3),
    ]
    (folder / "bodies").mkdir()
    bodies = Bodies(folder)
    places = [Place(one.record.topic, one.record.partition, one.record.offset) for one in events]
    for one in events:
        bodies.add(one, MODALITIES[one.stream], "label" if one.stream == "texts" else None)
    anchor = Anchor("k", "a", 1, places[0], ("r", 0, 0))
    chosen = Chosen(anchor, {one.stream: (place,) for one, place in zip(events[1:], places[1:], strict=True)}, {})
    ((_, row),) = rows_of([chosen], bodies, lambda _: None, MODALITIES, "texts", {}).rows
    write_rows(folder / "train.jsonl", [row])
    return row


def test_every_body_comes_back(tmp_path: Path) -> None:
    """Four modalities, written and read: the same bytes, and a text as what it says."""
    recorded(tmp_path, b'{"text": "siren \\ud83d\\ude92", "label": " fire ", "more": {"file": "x"}}')
    (row,) = folder_rows(tmp_path, "train")
    assert row.sample.label == "fire"
    assert {name: one.payload for name, (one,) in row.sample.bodies.items()} == {
        "texts": "siren \U0001f692".encode(), "frames": JPEG, "sounds": wav(),
        "sensors": b'{"values": {"speed": [1, null]}, "by": "r2"}',
    }  # fmt: skip


@pytest.mark.parametrize("label", [b'"\\ud800"', b'"  "', b"7", b"null", b'{"a": 1}'])
def test_what_is_no_label_leaves_the_row_without(tmp_path: Path, label: bytes) -> None:
    """Half a surrogate pair ended the recording when its rows were written; white space is no label."""
    assert recorded(tmp_path, b'{"text": "a", "label": ' + label + b"}")["label"] is None
    assert json.loads((tmp_path / "train.jsonl").read_text())["label"] is None


def test_a_folder_that_cannot_be_made_is_told_first(tmp_path: Path) -> None:
    """Before anything is read."""
    (tmp_path / "file").write_text("")
    for out, said in ((tmp_path / "file", "is a file; name a folder"), (tmp_path / "file/x", "cannot be made: Not a")):
        with pytest.raises(ConfigError, match=said):
            _check_out(out, {"train": 1.0})
        with pytest.raises(ConfigError, match=said):
            train(Namespace(out=out, overwrite=False, resume=False))
