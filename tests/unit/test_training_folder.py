"""Folders that cannot be trained on: every file is looked at before the first epoch, and named by file and row."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from tests.unit.incoming import JPEG, png, wav
from tests.unit.test_training import QUICK, arguments, folder, mixed
from worker.errors import ConfigError
from worker.training import fit
from worker.training.run import train
from worker.training.samples import folder_rows
from worker.training.sources import read

GOOD = '{"label": "a", "text": "b"}'


def gif() -> bytes:
    """A picture of a kind that is not read."""
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "GIF")
    return out.getvalue()


FILES = {
    "cut.jpg": JPEG[:-200], "cut.png": png(), "a.gif": gif(), "empty.jpg": b"", "note.txt": b"\xff\xfe",
    "cut.wav": wav()[:60], "mute.wav": wav(b""), "adpcm.wav": wav(tag=2), "nested.json": b'{"sensor": {"speed": 3}}',
    "list.json": b"[1]", "pointer.jpg": b"version https://git-lfs.github.com/spec/v1\n",
}  # fmt: skip
DEEP = "[" * 2000 + "]" * 2000


def told(path: Path, raw: bytes) -> str:
    """The one error on a folder whose training split has a good row and then these bytes."""
    for name, content in FILES.items():
        (path / name).write_bytes(content)
    if not (path / "loop.jpg").is_symlink():
        (path / "loop.jpg").symlink_to("loop.jpg")
        os.mkfifo(path / "pipe.jpg")
        (path / "folder.jpg").mkdir()
    (path / "train.jsonl").write_bytes(GOOD.encode() + b"\n" + raw + b"\n")
    with pytest.raises(ConfigError) as caught:
        list(folder_rows(path, "train"))
    message = str(caught.value)
    assert not re.search(r"BytesIO|object at|at 0x[0-9a-f]{8}", message)
    assert message.startswith(f"{path / 'train.jsonl'}:2: ")
    return message.removeprefix(f"{path / 'train.jsonl'}:2: ")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image": "cut.jpg"}, "image 'cut.jpg': "),
        ({"image": "cut.png"}, "image 'cut.png': "),
        ({"image": "a.gif"}, "image 'a.gif': is neither image/jpeg nor image/png; it begins with b'GIF8"),
        ({"image": "pointer.jpg"}, "image 'pointer.jpg': is neither image/jpeg nor image/png; it begins with b'vers"),
        ({"image": "empty.jpg"}, "image 'empty.jpg': is empty"),
        ({"image": "folder.jpg"}, "image 'folder.jpg': is not a regular file"),
        ({"image": "pipe.jpg"}, "image 'pipe.jpg': is not a regular file"),
        ({"image": "loop.jpg"}, "image 'loop.jpg': links to itself"),
        ({"image": "/etc/hostname"}, "image '/etc/hostname' lies outside"),
        ({"image": "x" * 5000}, "File name too long"),
        ({"image": {"file": ""}}, "image names no file"),
        ({"audio": "cut.wav"}, "audio 'cut.wav': "),
        ({"audio": "mute.wav"}, "audio 'mute.wav': "),
        ({"audio": "adpcm.wav"}, "audio 'adpcm.wav': "),
        ({"audio": "cut.jpg"}, "audio 'cut.jpg': is not audio/wav; it begins with"),
        ({"sensor": "nested.json"}, "sensor 'nested.json': none of the reading's 1 fields is a number"),
        ({"sensor": "list.json"}, "sensor 'list.json': a reading is a JSON object"),
        (
            {"inputs": {"radar": [{"sensor": {"speed": 3}, "time": "x"}]}, "modalities": {"radar": "sensor"}},
            "radar: its numbers stand in it without `sensor` around them; a reading is "
            '{"inputs": {"radar": {"speed": 31.5}}, "modalities": {"radar": "sensor"}, "label": "..."}',
        ),
        ({"sensor": [1, 2]}, "sensor must be an object of numbers, or name a file below"),
        ({"text": {"file": "note.txt"}}, "text 'note.txt': the text is not UTF-8 at byte 0"),
        ({"img": "cut.jpg", "text": "b"}, "unknown field 'img'; did you mean 'image'?"),
        ({"text": "b", "lable": "a"}, "unknown field 'lable'; did you mean 'label'?"),
        ({"text": "b", "photo": "a.jpg"}, "unknown field 'photo'; a row has image, text, sensor, audio, inputs"),
        ({"image": {"fil": "cut.jpg"}}, "image: unknown field 'fil'; did you mean 'file'?"),
        ({"image": {"file": "cut.jpg", "bytes": "x"}}, "image names file and bytes; name one of them"),
        ({"image": {"time": "x"}}, "image names no file, bytes or text"),
        ({"image": {"bytes": "x"}}, "image: bytes must be the body itself, which Parquet alone can hold; name a file"),
        ({"image": {"file": "cut.jpg", "content_type": "image/gif"}}, "image: content_type 'image/gif' must be one of"),
        ({"text": {"file": 7}}, "text: file 7 must be a string"),
        ({"text": "b", "label": True}, "label true is a boolean; must be a string or a whole number"),
        ({"text": "b", "label": 0.5}, "label 0.5 is a number with a fraction; must be a string or a whole number"),
        ({"text": "b", "label": "a "}, "label 'a ' begins or ends with white space"),
        ({"text": "b", "label": " "}, "has no label"),
        ({"text": "b", "label": None}, "has no label"),
        ({"text": "b", "inputs": {}, "modalities": {}}, "names its bodies by inputs and by text; use one of the two"),
        (
            {"inputs": {"cam": [{"text": "b"}]}, "modalities": {"cams": "text"}},
            "inputs: unknown stream 'cam'; did you mean 'cams'?",
        ),
        ({"text": "\ud800"}, "holds half a surrogate pair"),
        ({"text": "b", "label": "\udfff"}, "holds half a surrogate pair"),
    ],
)
def test_what_a_row_may_not_be(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    """Bodies that serving would refuse, misspelt fields, labels that are none: file, row and reason in one line."""
    assert message in told(tmp_path, json.dumps({"label": "a", **row}).encode())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            b'{"label": "a", "text": "b", "sensor": ' + DEEP.encode() + b"}",
            "is not JSON: it is nested deeper than the limit of 64 levels",
        ),
        (
            b'{"label": "a", "sensor": {"x": ' + b"[" * 70 + b"]" * 70 + b', "y": 1}}',
            "is not JSON: it is nested deeper than the limit of 64 levels",
        ),
        (
            b'{"label": "a", "sensor": {"speed": NaN}}',
            "is not JSON: field 'sensor.speed': NaN is not JSON, a missing number is null; a row is one object",
        ),
        (b'{"label": "a", "sensor": {"speed": 1e39}}', "sensor: field 'speed' holds a number beyond"),
        (
            b'{"label": "a", "sensor": {"speed": ' + b"9" * 5000 + b"}}",
            "is not JSON: field 'sensor.speed': a number of 5000 digits",
        ),
        (b'{"label": "a",', "is not JSON: "),
        (b'"a"', "must be a JSON object"),
        (b'\xef\xbb\xbf{"label": "a", "text": "b"}', "is not JSON: "),
        (b'{"label": "a", "text": "\xff"}', "is not UTF-8 (byte 24)"),
        (b'{"label": "a", "text": "' + b"x" * 2**24 + b'"}', "is longer than 16777216 bytes; bodies belong in files"),
    ],
)
def test_what_a_line_may_not_be(tmp_path: Path, line: bytes, message: str) -> None:
    """Deep, endless, double, not JSON, not UTF-8."""
    assert message in told(tmp_path, line)


def test_what_editors_write_is_read(tmp_path: Path) -> None:
    """A byte-order mark, CRLF, empty lines, notes, null for what is missing; a text's file is its text."""
    (tmp_path / "a.txt").write_text("siren")
    (tmp_path / "a.json").write_text('{"text": "smoke", "by": "r2"}')
    lines = [
        '{"label": "a", "text": "b", "image": null, "_from": "the fair"}', "", "  ",
        '{"label": 7, "inputs": {"notes": [{"file": "a.txt"}, {"file": "a.json"}], "cams": null}, '
        '"modalities": {"notes": "text", "cams": "image"}}',
    ]  # fmt: skip
    (tmp_path / "train.jsonl").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    first, second = folder_rows(tmp_path, "train")
    assert first.modalities == {"text": "text"}
    assert (second.sample.label, second.sample.place) == ("7", f"{tmp_path / 'train.jsonl'}:4")
    assert [(one.payload[-9:], one.content_type) for one in second.sample.bodies["notes"]] == [
        (b"siren", "text/plain"), (b'by": "r2"}'[-9:], "application/json"),
    ]  # fmt: skip


def test_every_bad_row_is_named(tmp_path: Path) -> None:
    """The first with its reason, the others by their numbers, of all splits; before a model is made."""
    folder(tmp_path, 6)
    for name in ("dev0.jpg", "dev4.jpg", "test2.jpg"):
        (tmp_path / name).write_bytes(JPEG[:-200])
    with pytest.raises(ConfigError) as caught:
        train(arguments("--data", str(tmp_path), "--out", str(tmp_path / "out"), *QUICK, "--backbone", "none"))
    said = str(caught.value)
    assert re.search(r"dev\.jsonl:1: image 'dev0\.jpg': .*; 1 more row of it cannot be used: 5", said)
    assert "test.jsonl:3: image 'test2.jpg': " in said
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ([], "no train.jsonl there; needed are train.jsonl, dev.jsonl, test.jsonl (or .parquet); the folder is empty"),
        (["cats/", "dogs/"], "there are cats/, dogs/"),
        (["train.json", "val.jsonl"], "there are train.json, val.jsonl"),
        (["train.jsonl", "train.parquet"], "train.jsonl and train.parquet are both there; keep one"),
        (["train.jsonl/"], "train.jsonl: is not a regular file"),
    ],
)
def test_a_folder_of_another_kind(tmp_path: Path, made: list[str], message: str) -> None:
    """What is there stands beside what is needed."""
    for name in made:
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).write_text(GOOD)
    with pytest.raises(ConfigError, match=re.escape(message)):
        read(str(tmp_path), 0, 0)


def test_a_name_that_is_no_folder(tmp_path: Path) -> None:
    """Not there, a file, or a drawn set misspelt."""
    (tmp_path / "file").write_text("")
    for given, message in (
        ("gone", "--data gone: no such folder"),
        ("juntcion", "--data juntcion: no such folder; did you mean 'junction'?"),
        (str(tmp_path / "file"), "is a file; name a folder"),
    ):
        with pytest.raises(ConfigError, match=re.escape(message)):
            read(given, 0, 0)


def test_parquet_under_the_wrong_name(tmp_path: Path) -> None:
    """Parquet named .jsonl, JSONL named .parquet, gzip: each is told what it is; no name of a class is no label."""
    table = pa.table({"text": ["a", "b"], "label": [0, -1]})
    names = {"info": {"features": {"label": {"names": ["x", "y"]}}}}
    parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(names)}), tmp_path / "train.jsonl")

    def fails(message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            list(folder_rows(tmp_path, "train"))

    fails(r"train.jsonl: is Parquet; name it train.parquet")
    (tmp_path / "train.jsonl").rename(tmp_path / "train.parquet")
    fails(r"train.parquet:2: has no label")
    (tmp_path / "train.parquet").write_text(GOOD)
    fails(r"train.parquet: is not Parquet that can be read")
    (tmp_path / "train.parquet").rename(tmp_path / "train.jsonl")
    (tmp_path / "train.jsonl").write_bytes(b"\x1f\x8b\x08\x00")
    fails(r"train.jsonl: is compressed; unpack it")


def test_what_training_never_shows_is_refused(tmp_path: Path) -> None:
    """An input, or a reading's channel, that the train split does not have would be noise to the model."""
    mixed(tmp_path)
    rows = (tmp_path / "test.jsonl").read_text()
    (tmp_path / "test.jsonl").write_text(rows.replace('"north"', '"nroth"'))
    with pytest.raises(ConfigError, match=r"test.jsonl:1: input 'nroth' is in no row of train; did you mean 'north'\?"):
        read(str(tmp_path), 0, 0)
    (tmp_path / "test.jsonl").write_text(rows)
    (tmp_path / "test1.json").write_text('{"sped": 31}')
    with pytest.raises(ConfigError, match=r"test.jsonl:2: radar: has none of the channels count, speed; it has sped"):
        train(arguments("--data", str(tmp_path), "--out", str(tmp_path / "out"), *QUICK))
    (tmp_path / "test1.json").write_text('{"speed": "fast", "count": 1}')
    with pytest.raises(
        ConfigError, match=r"test.jsonl:2: radar: no sensor reading: field 'speed': 'fast' is not a number"
    ):
        train(arguments("--data", str(tmp_path), "--out", str(tmp_path / "out"), *QUICK))


def test_a_run_resumes_as_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other labels, data, fusion or arguments are refused with both; so is a checkpoint that is none."""
    data, out = folder(tmp_path), tmp_path / "out"
    common = ("--data", str(data), "--out", str(out), *QUICK, "--epochs", "2")
    epoch = fit._epoch

    def cut(*given: Any) -> float:
        if given[5] == 1:
            raise KeyboardInterrupt
        return epoch(*given)

    monkeypatch.setattr(fit, "_epoch", cut)
    with pytest.raises(KeyboardInterrupt):
        train(arguments(*common))

    def fails(message: str, *given: str) -> None:
        with pytest.raises(ConfigError, match=message) as caught:
            train(arguments(*common, "--resume", *given))
        assert str(caught.value).startswith(f"--resume: {out / 'checkpoint.pt'}")

    fails(r"is of a run with fusion = 'attention', this one has fusion = 'dense'", "--fusion", "dense")
    fails(r"is of a run with learning_rate = 0.002, this one has learning_rate = 0.1", "--learning-rate", "0.1")
    fails(r"is of a run with dropout = 0.3, this one has dropout = 0.0", "--modality-dropout", "0")
    rows = (data / "train.jsonl").read_text()
    (data / "train.jsonl").write_text(rows.replace("siren", "silence"))
    (data / "train.jsonl").write_text("\n".join([*rows.splitlines()[1:], rows.splitlines()[0]]))
    fails(r"is of a run with train = '12 samples \w{8}', this one has train = '12 samples \w{8}'")
    (data / "train.jsonl").write_text(rows)
    for split in ("train", "dev", "test"):
        text = (data / f"{split}.jsonl").read_text()
        (data / f"{split}.jsonl").write_text(text.replace('"free_flow"', '"empty"'))
    fails(r"is of a run with labels = congestion, free_flow, this one has labels = congestion, empty")
    for raw in (b"", b"PK\x03\x04 cut off", b"no checkpoint"):
        (out / "checkpoint.pt").write_bytes(raw)
        fails(r" is no checkpoint that can be read")
