"""Data that cannot be meant: an error names row and field, and what is only odd is told before the first epoch."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from worker.errors import ConfigError
from worker.strict_json import read_json
from worker.training.rows import RowError, row_of
from worker.training.sources import Data, read

LABELS = ("calm", "busy")
EMPTY = "the text is empty, or has white space alone; where there is none, leave it out or say null"
UNSEEN = ("", " ", "\t\n", "\u00a0\u3000", "\u200b\u200d", "\ufeff", "\u0000", "\u3164", "\u2800", "\ufe0f")


def good(split: str, count: int = 24) -> list[dict[str, Any]]:
    """Rows with nothing odd in them."""
    return [
        {
            "text": f"{split} {n}", "sensor": {"speed": n + len(split) / 10, "door": "OPEN" if n % 3 else "SHUT"},
            "label": LABELS[n % 2],
        }
        for n in range(count)
    ]  # fmt: skip


def folder_with(path: Path, *more: dict[str, Any] | str, split: str = "train") -> Path:
    """A folder of good rows, and these after those of one split."""
    for name in ("train", "dev", "test"):
        rows = [*good(name), *(more if name == split else ())]
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (path / f"{name}.jsonl").write_text("\n".join(lines))
    return path


def said(path: Path, *more: dict[str, Any] | str, split: str = "train") -> str:
    """The error on such a folder, without the folder."""
    with pytest.raises(ConfigError) as caught:
        read(str(folder_with(path, *more, split=split)), 0, 0)
    return str(caught.value).replace(f"{path}/", "")


def warned(path: Path, *more: dict[str, Any] | str) -> tuple[str, ...]:
    """The warnings on such a folder, without those on what stands in it twice."""
    data: Data = read(str(folder_with(path, *more)), 0, 0)
    return tuple(one.replace(f"{path}/", "") for one in data.warnings if "say too much" not in one)


def test_good_data_is_read_in_silence(tmp_path: Path) -> None:
    """No warning on rows with nothing odd in them; numbers, words and a field that some rows lack."""
    assert warned(tmp_path, {"sensor": {"speed": None, "door": "OPEN"}, "label": "calm"}) == ()


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ('{"sensor": {"speed": 1, "door": NaN}, "label": "calm"}', "'sensor.door': NaN is not JSON, a missing number"),
        ('{"sensor": {"speed": [1, Infinity]}, "label": "calm"}', "'sensor.speed[1]': Infinity is not JSON"),
        (
            '{"inputs": {"sensor": [{"speed": -Infinity}]}, "modalities": {"sensor": "sensor"}, "label": "calm"}',
            "'inputs.sensor[0].speed': -Infinity is not JSON",
        ),
        ('{"text": "a NaN", "label": NaN}', "'label': NaN is not JSON"),
        ('{"sensor": {"speed": ' + "9" * 4301 + '}, "label": "calm"}', "'sensor.speed': a number of 4301 digits"),
        ('{"text": "a", "text": "b", "label": "calm"}', "'text' stands twice"),
        ('{"sensor": {"speed": 1, "speed": 2}, "label": "calm"}', "'speed' stands twice"),
    ],
)  # fmt: skip
def test_what_no_json_has_names_its_field(tmp_path: Path, row: str, field: str) -> None:
    """NaN, Infinity, a number without end, a field twice: row and field, wherever in the row it stands."""
    assert said(tmp_path, row).startswith(f"train.jsonl:25: is not JSON: field {field}")


def test_a_field_is_named_whatever_surrounds_it() -> None:
    """Deep and long paths are cut, and JSON that is wrong behind it has the parser's own message."""
    for raw, told in (
        (b"NaN", "NaN is not JSON, a missing number is null"),
        (b'{"' + b"x" * 10_000 + b'": NaN}', f"field '{'x' * 64}': NaN is not JSON, a missing number is null"),
        (b"[" * 200 + b"NaN" + b"]" * 200, f"field '{'[0]' * 22}': NaN is not JSON, a missing number is null"),
        (b'{"a": NaN, ', "NaN is not JSON, a missing number is null"),
    ):
        with pytest.raises(ValueError, match="NaN") as caught:
            read_json(raw)
        assert str(caught.value) == told


@pytest.mark.parametrize("text", UNSEEN)
def test_a_text_without_anything_to_read_is_named(tmp_path: Path, text: str) -> None:
    """In each form of a row, and as a file: nothing is learned from it in silence."""
    rows = [
        {"text": text, "sensor": {"speed": 1}, "label": "calm"},
        {"inputs": {"text": [{"text": "a"}, {"text": text}]}, "modalities": {"text": "text"}, "label": "calm"},
    ]
    for row in rows:
        assert said(tmp_path, row) == f"train.jsonl:25: text: {EMPTY}"
    (tmp_path / "a.txt").write_text(text)
    assert said(tmp_path, {"text": {"file": "a.txt"}, "label": "calm"}) == f"train.jsonl:25: text 'a.txt': {EMPTY}"


@pytest.mark.parametrize("kind", [5, "image/png", ["text/plain"], True, ""])
def test_an_entry_of_another_content_type_is_named(tmp_path: Path, kind: Any) -> None:
    """Of a text that stands in the row too; what a text may have is taken."""
    row = {"inputs": {"notes": [{"text": "hello", "content_type": kind}]}, "modalities": {"notes": "text"}}
    told = rf"notes: content_type {kind!r} must be one of text/plain, application/json"
    with pytest.raises(RowError, match=re.escape(told)):
        row_of(tmp_path, "", {**row, "label": "calm"})
    row["inputs"]["notes"][0]["content_type"] = "text/plain"
    assert row_of(tmp_path, "", {**row, "label": "calm"}).sample.bodies["notes"][0].payload == b"hello"


@pytest.mark.parametrize("name", ["", " ", "\u200b"])
def test_a_field_without_a_name_is_told(tmp_path: Path, name: str) -> None:
    """With the row and the stream; it would be a channel that nobody can name."""
    told = said(tmp_path, {"text": "a", "sensor": {name: 1, "speed": 2}, "label": "calm"})
    assert told == f"train.jsonl:25: sensor: a field's name is {name!r}, of which nothing can be seen; give it another"


def test_a_text_with_anything_to_read_is_taken(tmp_path: Path) -> None:
    """One letter, an emoji, Hindi that ends in a mark."""
    assert (
        warned(tmp_path, *({"text": one, "label": "calm"} for one in ("a", "\U0001f525\ufe0f", "नदी", "\u200b!"))) == ()
    )


@pytest.mark.parametrize(
    ("label", "told"),
    [
        (1, "label 1 is a whole number, as in 2 rows, where 72 rows have a string, such as 'calm' at train.jsonl:1"),
        (True, "label true is a boolean; must be a string or a whole number; 1 more row of it cannot be used: 26"),
        (1.0, "label 1.0 is a number with a fraction; must be a string"),
        ({"is": "calm"}, "label {'is': 'calm'} is an object; must be a string"),
        ("\u200b", "has no label"),
        ("calm\u200b", r"label 'calm\u200b' begins or ends with white space"),
        ("ca\nlm", r"label 'ca\nlm' holds a line end"),
        ("x" * 201, "label 'xxxxxxxxxxxxxxxxxxxx'... has 201 characters, over the limit of 200"),
    ],
)
def test_a_label_that_is_none_is_named(tmp_path: Path, label: Any, told: str) -> None:
    """Of another type than the others, which a class of its own would be made of; not seen; a text."""
    row = {"text": "a", "label": label}
    assert said(tmp_path, row, row | {"text": "b"}).startswith(f"train.jsonl:25: {told}")


def test_labels_of_two_types_in_two_splits(tmp_path: Path) -> None:
    """Numbers to train on and the same in quotes to test on are one slip, told by the rarer kind."""
    assert said(tmp_path, {"text": "a", "label": 1}, split="dev").startswith("dev.jsonl:25: label 1 is a whole number")
    for split in ("train", "dev", "test"):
        rows = [row | {"label": n % 2} for n, row in enumerate(good(split))]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert read(str(tmp_path), 0, 0).labels == ["0", "1"]
    with (tmp_path / "test.jsonl").open("a") as file:
        file.write('\n{"text": "a", "label": "1"}')
    with pytest.raises(
        ConfigError, match=r"test.jsonl:25: label '1' is a string, as in 1 row, where 72 rows have a wh"
    ):
        read(str(tmp_path), 0, 0)


def test_labels_that_look_the_same_and_ids_twice_are_told(tmp_path: Path) -> None:
    """Case, white space, two spellings of an accent: classes of their own, with a warning; so is an id of two rows."""
    names = ("Calm", "ca lm", "café", "cafe\u0301", "bu\u200bsy")
    rows = [{"text": f"{name} {n}", "label": name} for name in names for n in range(2)]
    assert warned(tmp_path, *rows) == (
        "labels that differ in case, white space or form alone are classes of their own: 'calm' (36 rows, first "
        "train.jsonl:1), 'Calm' (2 rows, first train.jsonl:25), 'ca lm' (2 rows, first train.jsonl:27)",
        r"labels that differ in case, white space or form alone are classes of their own: 'busy' (36 rows, first "
        r"train.jsonl:2), 'bu\u200bsy' (2 rows, first train.jsonl:33)",
        "labels that differ in case, white space or form alone are classes of their own: 'café' (2 rows, first "
        "train.jsonl:29), 'cafe\u0301' (2 rows, first train.jsonl:31)",
    )
    ids = [{"text": f"{n} of {one}", "label": "calm", "id": one} for n, one in enumerate(("7", 7, "7", ["a"], ["a"]))]
    assert warned(tmp_path, *ids) == ("2 rows with the id of another: train.jsonl:27 has that of train.jsonl:25, '7'",)


@pytest.mark.parametrize("value", ["31.5", "NaN", "-inf", " 3 "])
def test_a_number_in_quotes_is_named(tmp_path: Path, value: str) -> None:
    """Where the other rows have a number: else it would be a word, and a category of its own."""
    rows = [
        {"sensor": {"speed": value}, "label": "calm"},
        {"sensor": {"speed": value, "door": "OPEN"}, "label": "busy"},
    ]
    assert said(tmp_path, *rows) == (
        f"train.jsonl:25: sensor: field 'speed': {value!r} is a word, in 2 readings; 72 readings have a number there, "
        "such as train.jsonl:1; numbers go without quotes, and a missing one is null"
    )


@pytest.mark.parametrize(
    ("reading", "told"),
    [
        (
            {"door": 3},
            "field 'door' of sensor holds numbers in 1 reading (3 at train.jsonl:25), words in 72 readings ('SHUT' at",
        ),
        (
            {"speed": True},
            "field 'speed' of sensor holds numbers in 72 readings (0.5 at train.jsonl:1), true or false in 1 reading (",
        ),
        ({"code": "7"}, "field 'code' of sensor holds numbers in quotes in 1 reading ('7' at train.jsonl:25); numb"),
        ({"door": ""}, "field 'door' of sensor is an empty word in 1 reading, first train.jsonl:25; a missing one is"),
        ({"door": "open"}, "field 'door' of sensor has words that differ in case, white space or form alone: 'OPEN' ("),
        ({"speed": 1, "at": {"x": None}}, "field 'at' of sensor is an object in 1 reading, first train.jsonl:25, and"),
        ({"sped": 3}, "field 'sped' of sensor is in 1 reading, first train.jsonl:25; did you mean 'speed'?"),
        ({"speed": None, "door": [None]}, "sensor is null in every field of 1 reading, first train.jsonl:25"),
    ],
)  # fmt: skip
def test_an_odd_field_is_told(tmp_path: Path, reading: dict[str, Any], told: str) -> None:
    """What live topics may hold, and is trained on: kinds that mix, words that look the same, what is not looked at."""
    (only,) = warned(tmp_path, {"sensor": reading, "label": "calm"})
    assert only.startswith(told)


def test_a_parquet_file_says_the_same(tmp_path: Path) -> None:
    """NaN, which Parquet has, by row and field; a boolean for a label."""
    for column, label, told in (
        (float("nan"), "calm", r"train.parquet:3: sensor: .*field 'speed': NaN is not JSON, a missing number is null"),
        (1.0, None, r"train.parquet:3: has no label"),
    ):
        rows = [{"sensor": {"speed": 1.0}, "label": "calm"}, {"sensor": {"speed": 2.0}, "label": "busy"}]
        table = pa.Table.from_pylist([*rows, {"sensor": {"speed": column}, "label": label}])
        parquet.write_table(table, tmp_path / "train.parquet")
        with pytest.raises(ConfigError, match=told):
            read(str(tmp_path), 0, 0, ("train",))


def test_what_inputs_leave_over_is_looked_at(tmp_path: Path) -> None:
    """`--inputs` may leave a label without samples: by the real command, one line and exit 2."""
    for split in ("train", "dev", "test"):
        rows = [row if n % 2 else {"text": row["text"], "label": row["label"]} for n, row in enumerate(good(split))]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    given = ["train", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--inputs", "sensor", "--epochs", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "worker", *given], env=os.environ, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line == "fusion-worker: --data: the train split has 1 label (busy); needed are two or more"
