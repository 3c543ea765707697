"""What stands twice in a folder is told, within a split and between two."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.unit.test_training import folder
from worker.training.sources import read


def test_what_stands_twice_is_told(tmp_path: Path) -> None:
    """Rows twice, rows and bodies in two splits, one row with two labels: warnings, since a recording may hold them."""
    folder(tmp_path, 6)
    for split in ("train", "dev", "test"):
        own = [json.loads(row) for row in (tmp_path / f"{split}.jsonl").read_text().splitlines()]
        told = [json.dumps(row | {"text": f"{split} {n}"}) for n, row in enumerate(own)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(told))
    assert read(str(tmp_path), 0, 0).warnings == ()
    rows = {split: (tmp_path / f"{split}.jsonl").read_text().splitlines() for split in ("train", "dev", "test")}
    other = json.dumps(json.loads(rows["train"][1]) | {"label": "free_flow"})
    again = json.dumps(json.loads(rows["train"][2]) | {"text": "something else"})
    said_before = json.dumps(json.loads(rows["test"][3]) | {"text": "train 4"})
    (tmp_path / "train.jsonl").write_text("\n".join([*rows["train"], rows["train"][0], other]))
    (tmp_path / "test.jsonl").write_text("\n".join([*rows["test"], rows["train"][0], again, said_before]))
    said = read(str(tmp_path), 0, 0).warnings
    assert [re.sub(r"\S*/", "", one) for one in said] == [
        "1 row of train with two labels: train.jsonl:8 is 'free_flow', the same as train.jsonl:2, 'congestion'",
        "1 row of train more than once: train.jsonl:7 is train.jsonl:1",
        "1 row of test also in train, so that test says too much: test.jsonl:7 is train.jsonl:1",
        "1 row of test with a file of train, so that test says too much: test.jsonl:8 has one of train.jsonl:3",
        "1 row of test with a body of text that train has, so that test may say too much: "
        "test.jsonl:9 has that of train.jsonl:5",
    ]
