"""What training reads: rows of every form, bad ones named; presence; corrupted bodies; digits."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from tests.unit.test_training import QUICK, arguments, folder
from worker.errors import ConfigError
from worker.model.items import Item
from worker.training.presence import ALL, Presence, hide, patterns
from worker.training.run import train
from worker.training.samples import folder_rows
from worker.training.sources import digit_samples, junction_samples, read
from worker.training.vocabulary import learn_vocabulary


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"train.jsonl:13: is not JSON"),
        ("[]", r"train.jsonl:13: must be a JSON object"),
        ('{"text": "a"}', r"train.jsonl:13: has no label"),
        ('{"label": "a"}', r"train.jsonl:13: has no input: neither image, text, sensor nor audio"),
        ('{"label": "a", "image": "gone.jpg"}', r"train.jsonl:13: image 'gone.jpg': No such file"),
        ('{"label": "a", "image": "../x.jpg"}', r"train.jsonl:13: image '../x.jpg' lies outside"),
        ('{"label": "a", "image": 7}', r"train.jsonl:13: image must name a file below"),
        ('{"label": "a", "text": 7}', r"train.jsonl:13: text must be a string"),
        (
            '{"label": "a", "sensor": {"speed": NaN}}',
            r"13: is not JSON: field 'sensor.speed': NaN is not JSON, a missing",
        ),
        (
            '{"label": "a", "sensor": "{\\"speed\\": [1, NaN]}"}',
            r"train.jsonl:13: sensor: .*field 'speed\[1\]': NaN is not JSON",
        ),
        (
            '{"label": "a", "sensor": {"file": "readings.json"}}',
            r"13: sensor 'readings.json': .*field 'values.speed': Infinity is",
        ),
        ('{"label": "a", "sensor": "train0.jpg"}', r"13: sensor 'train0.jpg': is not application/json; it begins"),
        ('{"label": "a", "image": "a\\u0000"}', r"train.jsonl:13: image 'a\\x00' is no name of a file"),
        ('{"label": "", "text": "a"}', r"train.jsonl:13: has no label"),
        (
            '{"label": ["a"], "text": "a"}',
            r"train.jsonl:13: label \['a'\] is a list; must be a string or a whole number",
        ),
        ('{"label": "a", "inputs": {"x": []}}', r"train.jsonl:13: inputs and modalities must be objects by stream"),
        (
            '{"label": "a", "inputs": {"x": []}, "modalities": {"x": "smell"}}',
            r"train.jsonl:13: modality of 'x' is 'smell'; must be one of image, text, sensor, audio",
        ),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    """File, line and reason."""
    (tmp_path / "readings.json").write_text('{"by": "r2", "values": {"speed": Infinity}}')
    with (folder(tmp_path) / "train.jsonl").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(ConfigError, match=message):
        list(folder_rows(tmp_path, "train"))


def test_a_row_that_is_no_text_is_named(tmp_path: Path) -> None:
    """Bytes that are not UTF-8."""
    with (folder(tmp_path, 4) / "dev.jsonl").open("ab") as file:
        file.write(b'{"label": "free_flow", "text": "\xff"}\n')
    with pytest.raises(ConfigError, match=r"dev.jsonl:5: is not UTF-8 \(byte 32\)"):
        read(str(tmp_path), 0, 0)


def test_bad_data_is_named(tmp_path: Path) -> None:
    """A split that is missing or empty, a label never trained or seen once, a body that is none, too little data."""

    def fails(message: str, *given: str) -> None:
        with pytest.raises(ConfigError, match=message):
            train(arguments("--data", str(tmp_path), "--out", str(tmp_path / "out"), *given))

    fails(r"no train.jsonl there; needed are train.jsonl, dev.jsonl, test.jsonl")
    folder(tmp_path, 4)
    fails(r"--batch 32: the training split has only 4 samples", *QUICK[:-2])
    fails(r"--batch 1: training compares the items of a step; must be 2 or more", *QUICK[:-1], "1")
    fails(r"--inputs smell: the data has image, text", "--inputs", "smell")
    fails(r"must be small, minilm, or a from_pretrained directory", "--text", "gone")
    fails(r"the model cannot be built: backbone = 'x': torchvision has no such", "--backbone", "x")
    fails(r"max_tokens = 99: the text encoder has positions for 64", "--max-tokens", "99")
    rows = (tmp_path / "train.jsonl").read_text()
    (tmp_path / "train.jsonl").write_text(rows + '{"text": "a", "label": "rare"}\n')
    fails(r"train.jsonl:5: is the only sample with label 'rare' in the train split")
    (tmp_path / "train.jsonl").write_text(rows)
    (tmp_path / "dev0.jpg").write_bytes(b"\xff\xd8\xff no picture")
    fails(r"dev.jsonl:1: image 'dev0.jpg': JPEG header cannot be read", *QUICK)
    (tmp_path / "dev.jsonl").write_text('{"text": "hello", "label": "new"}\n')
    fails(r"dev.jsonl:1: label 'new' is not in the training data: congestion, free_")
    (tmp_path / "test.jsonl").write_text("")
    fails(r"the test split is empty")
    (tmp_path / "train.jsonl").write_text('{"text": "a", "label": "x"}\n')
    (tmp_path / "test.jsonl").write_text('{"text": "a", "label": "x"}\n')
    fails(r"the train split has 1 label \(x\); needed are two or more")


def test_a_learning_rate_that_breaks_the_loss_is_named(tmp_path: Path) -> None:
    """Not a number is no loss to go on with."""
    given = ("--data", str(folder(tmp_path)), "--out", str(tmp_path / "out"), *QUICK)
    with pytest.raises(ConfigError, match=r"--learning-rate 9e\+08: the loss is no longer finite; take a smaller one"):
        train(arguments(*given, "--learning-rate", "9e8", "--epochs", "3"))


def test_parquet_says_what_jsonl_says(tmp_path: Path) -> None:
    """As the `datasets` library writes it: images as bytes in a struct, labels as numbers with their names beside."""
    folder(tmp_path, 4)
    wanted = list(folder_rows(tmp_path, "train"))
    names = sorted({row.sample.label for row in wanted})
    columns = {
        "image": [{"bytes": row.sample.bodies["image"][0].payload, "path": None} for row in wanted],
        "text": [row.sample.bodies["text"][0].payload.decode() for row in wanted],
        "label": [names.index(row.sample.label) for row in wanted],
    }
    told = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps(told)})
    (tmp_path / "train.jsonl").unlink()
    parquet.write_table(table, tmp_path / "train.parquet")
    found = list(folder_rows(tmp_path, "train"))
    for one, other in zip(found, wanted, strict=True):
        assert one.sample.label == other.sample.label
        for name in ("image", "text"):
            assert one.sample.bodies[name][0].payload == other.sample.bodies[name][0].payload
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ConfigError, match=r"train.parquet: is not Parquet that can be read"):
        list(folder_rows(tmp_path, "train"))


def test_presence_hides_as_often_as_asked_and_never_all() -> None:
    """Shown alone an item has that input alone; dropout leaves something, hides something, and no way is rare."""
    body = torch.zeros(1)
    whole = Item(((body,), (body,), (body,)))
    rng = np.random.default_rng(1)
    assert hide(whole, Presence((1,)), rng).present == (1,)
    assert hide(whole, ALL, rng).present == (0, 1, 2)
    seen = Counter(hide(whole, Presence(dropout=0.5), rng).present for _ in range(6000))
    assert set(seen) == {(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)}
    assert seen[0, 1, 2] == pytest.approx(3000, rel=0.1)
    assert all(count == pytest.approx(500, rel=0.2) for way, count in seen.items() if len(way) < 3)
    assert hide(whole.only([2]), Presence(dropout=0.99), rng).present == (2,)
    assert list(patterns(["a"])) == ["all"]
    assert list(patterns(["a", "b"])) == ["all", "a only", "b only"]
    assert list(patterns(["a", "b", "c"])) == ["all", "no a", "no b", "no c", "a only", "b only", "c only"]


def test_the_same_seed_gives_the_same_data() -> None:
    """And another split or seed gives other data."""
    assert list(junction_samples("dev", 4, 1)) == list(junction_samples("dev", 4, 1))
    assert list(junction_samples("dev", 4, 1)) != list(junction_samples("test", 4, 1))
    assert list(junction_samples("dev", 4, 1)) != list(junction_samples("dev", 4, 2))


def test_digits_need_both_sides() -> None:
    """No scan is in two splits; knowing the digit or the sum alone leaves every label as likely as the others."""
    splits = {split: list(digit_samples(split, 0)) for split in ("train", "dev", "test")}
    places = {split: {sample.place.split("/")[2] for sample in samples} for split, samples in splits.items()}
    assert sum(len(one) for one in places.values()) == 1797 == len(set().union(*places.values()))
    counts = Counter(sample.label for sample in splits["train"])
    assert len(counts) == 10
    assert max(counts.values()) / sum(counts.values()) < 0.13
    by_text: dict[bytes, Counter[str]] = {}
    for sample in splits["train"]:
        by_text.setdefault(sample.bodies["text"][0].payload, Counter())[sample.label] += 1
    best = sum(max(one.values()) for one in by_text.values())
    assert best / len(splits["train"]) < 0.25


def test_only_some_inputs() -> None:
    """A sample without any of them is left out."""
    data = read("digits", 0, 0, ("test",)).only(["image"])
    assert data.inputs == {"image": "image"}
    assert all(set(sample.bodies) == {"image"} for sample in data.splits["test"])


def test_the_vocabulary_depends_on_the_texts_alone() -> None:
    """Twice the same; common words are one piece, others are spelled, and nothing printable is unknown."""
    texts = ["siren near the bridge", "the bridge is clear", "the bus"]
    first, second = (learn_vocabulary(texts, 170).backend_tokenizer for _ in range(2))
    assert first.to_str() == second.to_str()
    assert first.encode("The bridge").tokens == ["[CLS]", "the", "bridge", "[SEP]"]
    assert first.encode("bug").tokens == ["[CLS]", "b", "##u", "##g", "[SEP]"]
    assert first.encode("").tokens == ["[CLS]", "[SEP]"]
    assert first.get_vocab_size() <= 170
