"""What `record` writes, training reads: bodies of every modality, and labels as anchors spell them."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.incoming import JPEG, binary, validator, wav
from worker.errors import ConfigError
from worker.privacy.masker import Masker
from worker.privacy.texts import Kind, TextMask
from worker.recording.command import _check_out
from worker.recording.gather import Anchor, Place
from worker.recording.rows import Bodies, Chosen, rows_of, write_rows
from worker.records import Event
from worker.training.groups import choices, names_of
from worker.training.run import train
from worker.training.samples import folder_rows

Row = dict[str, Any]
NO_HEADERS: dict[str, bytes | None] = dict.fromkeys(["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time"])
MODALITIES = {"texts": "text", "frames": "image", "sounds": "audio", "sensors": "sensor"}


def event(value: bytes, content_type: bytes, topic: str, offset: int, **headers: bytes | None) -> Event:
    """As the worker reads it."""
    return validator().read(binary(value, content_type, topic=topic, offset=offset, **headers))


def recorded(folder: Path, text: bytes, content_type: bytes = b"application/json", **told: bytes | None) -> Row:
    """The row of an anchor with a frame, a sound and a reading, as written; its label is the field `label`."""
    events = [
        event(text, content_type, "texts-in", 0, **told),
        event(JPEG, b"image/jpeg", "frames-in", 1, ce_light=b"not the anchor's"),
        event(wav(), b"audio/wav", "sounds-in", 2),
        event(b'{"values": {"speed": [1, null]}, "by": "r2"}', b"application/json", "sensors-in", 3),
    ]
    (folder / "bodies").mkdir()
    bodies = Bodies(folder)
    places = [Place(one.record.topic, one.record.partition, one.record.offset) for one in events]
    for one in events:
        bodies.add(one, MODALITIES[one.stream], is_anchor=one.stream == "texts", attribute="label")
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


def test_what_the_anchor_tells_of_itself_groups_its_row(tmp_path: Path) -> None:
    """Attributes of the event and fields beside its text, as `evaluate --by` reads them; not the label, no measured
    number, nothing too long, and nothing that cannot be written."""
    more = {"label": "fire", "lanes": 2, "wet": True, "ppm": 0.25, "at": {"x": 1}, "none": None, "half": "\ud800"}
    text = json.dumps({"text": "siren", "district": "north", "tale": "x" * 101, "": "unnamed", **more})
    told = {"ce_light": b"dark", "ce_subject": b"gate 3", "ce_traceparent": b"00-0", "ce_note": b"n" * 101}
    row = recorded(tmp_path, text.encode(), **told)
    own = {"source": "/cameras/1", "light": "dark", "subject": "gate 3"}
    assert row["attributes"] == {**own, "district": "north", "lanes": 2, "wet": True}
    (read,) = folder_rows(tmp_path, "train")
    assert choices([read.sample]) == ["key", "missing", *sorted(row["attributes"])]
    assert names_of([read.sample], "wet", []) == ["true"]


def test_a_structured_event_tells_of_itself_too(tmp_path: Path) -> None:
    """As in headers; whole numbers and true stay what they are."""
    names = {"specversion": "1.0", "id": "e", "source": "/s", "type": "t", "dataschema": "/x", "traceparent": "00"}
    body = {**names, "light": "dark", "lanes": 2, "wet": True, "datacontenttype": "text/plain", "data": "siren"}
    row = recorded(tmp_path, json.dumps(body).encode(), b"application/cloudevents+json", **NO_HEADERS)
    assert row["attributes"] == {"source": "/s", "light": "dark", "lanes": 2, "wet": True}


def test_a_plain_record_tells_nothing_of_itself(tmp_path: Path) -> None:
    """Its row has no such field."""
    assert "attributes" not in recorded(tmp_path, b"siren", b"text/plain", **NO_HEADERS)


def test_what_is_masked_is_masked_there_too() -> None:
    """As in the body that is recorded."""
    made = validator(mask=Masker(TextMask(list(Kind), []), None, {"texts": "text"}))
    mail = b"anna@example.org"
    came = binary(b'{"text": "a", "by": "' + mail + b'"}', b"application/json", ce_subject=mail)
    event = made.read(came)
    bodies = Bodies(Path())
    bodies.add(event, "text", is_anchor=True)
    assert [*bodies.attributes.values()] == [{"source": "/cameras/1", "subject": "[email]", "by": "[email]"}]


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
