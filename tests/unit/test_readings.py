"""What a model knows of its sensors: statistics per stream and field, and words as categories."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.unit.served import aligned, event, model_of, runtime_of
from worker.errors import ConfigError
from worker.training.bodies import check_columns
from worker.training.readings import MOST_WORDS, channels_of
from worker.training.rows import row_of
from worker.training.sources import Data, read


def data_of(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Data:
    """Rows, each with a reading per sensor, as a train split."""
    lines = [
        {"inputs": dict(row), "modalities": dict.fromkeys(row, "sensor"), "label": "ab"[n // 2 % 2]}
        for n, row in enumerate(rows)
    ]
    for split in ("train", "dev", "test"):
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return read(str(folder), 0, 0)


def test_streams_share_no_statistics(tmp_path: Path) -> None:
    """Two sensors with a temperature: each has a mean of its own, and fills its own numbers alone."""
    rows = [{"room": {"heat": 20 + n}, "oven": {"heat": 200 + 10 * n}} for n in range(4)]
    told = channels_of(data_of(tmp_path, rows))
    assert told["channels"] == ["heat", "heat"]
    assert told["channel_inputs"] == ["oven", "room"]
    assert told["channel_mean"] == pytest.approx([215.0, 21.5])
    assert told["channel_std"] == pytest.approx([11.18, 1.118], abs=0.001)
    model = model_of(inputs=["sensor", "sensor"], input_names=["oven", "room"], max_steps=1, **told)
    served = runtime_of(model, {"room": "sensor", "oven": "sensor"}, "room")
    item = served.prepare(aligned(event("room", '{"heat": 21}'), oven=[event("oven", '{"heat": 230}')]))
    assert [one[0].nan_to_num(-1).tolist() for one in item.bodies] == [[[230, -1]], [[-1, 21]]]


def test_words_and_flags_are_categories(tmp_path: Path) -> None:
    """Learned from the train split; numbers stay; a field with both has both; what tells nothing is left out."""
    words = ["OPEN", "CLOSED", "OPEN", "CLOSED", "ajar"]
    rows = [
        {"door": {
            "state": word, "alarm": n > 2, "heat": [20, "off", None][n % 3], "unit": "C", "id": f"e{n}",
            **({"fault": "jam"} if n % 2 else {}), "at": {"x": 1},
        }} for n, word in enumerate(words)
    ]  # fmt: skip
    told = channels_of(data_of(tmp_path, rows))
    assert list(zip(told["channels"], told["channel_words"], strict=True)) == [
        ("alarm", "false"), ("alarm", "true"), ("fault", "jam"), ("heat", None), ("heat", "off"), ("state", "CLOSED"),
        ("state", "OPEN"),
    ]  # fmt: skip
    assert told["channel_mean"] == [0, 0, 0, 20, 0, 0, 0]
    assert told["channel_std"] == [1] * 7


def test_an_unknown_word_is_a_category_of_its_own(tmp_path: Path) -> None:
    """It is neither silence nor any known word, and each reading gives another verdict."""
    rows = [{"door": {"state": word, "lit": word == "OPEN"}} for word in ("OPEN", "CLOSED") * 3]
    model = model_of(inputs=["sensor"], input_names=["door"], **channels_of(data_of(tmp_path, rows)))
    served = runtime_of(model, {"door": "sensor"}, "door")
    readings = [
        '{"state": "OPEN"}', '{"state": "CLOSED"}', '{"state": "JAMMED"}', '{"state": null}', '{"lit": true}',
        '{"lit": false}', '{"state": ["CLOSED", "OPEN"]}',
    ]  # fmt: skip
    some = [served.prepare(aligned(event("door", reading))) for reading in readings]
    assert len({verdict.embedding for verdict in served.infer(some)}) == len(readings)
    other = served.prepare(aligned(event("door", '{"state": "BROKEN"}')))
    assert served.infer([other])[0] == served.infer([some[2]])[0]


def test_so_many_words_and_no_more(tmp_path: Path) -> None:
    """The most frequent ones; a word seen once teaches what an unknown one looks like."""
    rows = [{"door": {"state": f"w{n:02}"}} for n in range(MOST_WORDS + 5) for _ in range(1 + (n > 1))]
    words = channels_of(data_of(tmp_path, rows))["channel_words"]
    assert words == [f"w{n:02}" for n in range(2, MOST_WORDS + 2)]


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"heat": "warm"}, r"train.jsonl:9: stream 'oven': no sensor reading: field 'heat': 'warm' is not a number"),
        (
            {"heat": [1, {"x": 1}], "b": 1},
            r"train.jsonl:9: oven: no sensor reading: field 'heat': .* is neither a number nor",
        ),
        ({"heat": 1e39}, r"train.jsonl:9: oven: field 'heat' holds a number beyond"),
        ({"heat": {"x": 1}}, r"train.jsonl:9: oven: none of the reading's 1 fields is a number, a word"),
    ],
)
def test_a_bad_reading_names_row_and_field(tmp_path: Path, reading: dict[str, Any], message: str) -> None:
    """Also where one row has a word among numbers."""
    with pytest.raises(ConfigError, match=message):
        channels_of(data_of(tmp_path, [{"oven": {"heat": n}} for n in range(8)] + [{"oven": reading}]))


def test_a_sensor_that_tells_nothing_is_named(tmp_path: Path) -> None:
    """With the form of a reading that does."""
    with pytest.raises(ConfigError, match=r"the sensor oven has no numbers .*a reading is "):
        channels_of(data_of(tmp_path, [{"oven": {"unit": "C"}} for _ in range(4)]))
    sample = row_of(tmp_path, "x", {"sensor": {"a": 1}, "label": "a"}).sample
    check_columns(sample.bodies["sensor"][0], model_columns("a"))


def model_columns(*names: str) -> list[Any]:
    """Numbers of these fields."""
    from worker.model.signals import Column

    return [Column(name) for name in names]
