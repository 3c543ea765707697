"""When bodies were, and their order, reach the model; one that was trained before does not look at them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from tests.unit.served import aligned, event, model_of, runtime_of
from worker.errors import ConfigError
from worker.model.config import FusionConfig
from worker.model.fusion_model import FusionModel
from worker.model.items import Item, collate
from worker.model.timing import told
from worker.training.sources import read

STREAMS = {"calls": "text", "oven": "sensor"}
BOTH = {"inputs": ["text", "sensor"], "input_names": ["calls", "oven"], "channels": ["heat"], "max_steps": 4}


def clips(times: bool) -> tuple[FusionModel, list[Item]]:
    """A model of frames, and a clip that it may see forwards and backwards; frames as a backbone's maps."""
    torch.manual_seed(1)
    config = FusionConfig(inputs=["image"], backbone="shufflenet_v2_x0_5", dim=16, num_labels=2, times=times)
    dark, bright = (torch.full((1024, 7, 7), light) for light in (-1.0, 1.0))
    seconds = ((-1.0, 0.0),)
    return FusionModel(config), [Item(((dark, bright),), seconds=seconds), Item(((bright, dark),), seconds=seconds)]


def test_a_reversed_clip_is_another_clip() -> None:
    """Trained for a moment the model tells them apart; without times no training could: the mean is the same."""
    model, both = clips(times=True)
    with torch.inference_mode():
        untrained = model.eval()(**collate(both, model.config)).fused
    torch.testing.assert_close(untrained[0], untrained[1], rtol=0, atol=1e-4)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(20):
        out = model(**collate(both, model.config))
        loss = torch.nn.functional.cross_entropy(out.logits, torch.tensor([0, 1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    out = model.eval()(**collate(both, model.config))
    assert out.logits.argmax(dim=1).tolist() == [0, 1]
    assert not torch.allclose(out.fused[0], out.fused[1], atol=0.1)
    old, same = clips(times=False)
    fused = old.eval()(**collate(same, old.config)).fused
    torch.testing.assert_close(fused[0], fused[1], rtol=0, atol=1e-4)


def test_order_is_known_without_times() -> None:
    """A row's list of frames has an order even where nobody tells when they were."""
    model, both = clips(times=True)
    torch.nn.init.normal_(model.get_parameter("timing.image.turn.weight"))
    unknown = [Item(one.bodies) for one in both]
    fused = model.eval()(**collate(unknown, model.config)).fused
    assert not torch.allclose(fused[0], fused[1], atol=0.01)


def embeddings(times: bool, *seconds: float) -> list[tuple[float, ...] | None]:
    """Of a call and two readings, the earlier of which was so long before the anchor."""
    model = model_of(**BOTH, times=times)
    for name in ("encoders.sensor.when.weight", "timing.text.turn.weight") if times else ():
        torch.nn.init.normal_(model.get_parameter(name))
    served = runtime_of(model, STREAMS, "calls")
    made = []
    for one in seconds:
        oven = [event("oven", '{"heat": 1}', -one), event("oven", '{"heat": 2}', -0.5)]
        made += served.infer([served.prepare(aligned(event("calls", "word1 lane"), oven=oven))])
    return [verdict.embedding for verdict in made]


def test_the_spacing_of_a_series_reaches_the_model() -> None:
    """The same readings at other times are another series; for a model from before they are the same."""
    assert len(set(embeddings(True, 1.0, 2.0, 60.0))) == 3
    assert len(set(embeddings(False, 1.0, 2.0, 60.0))) == 1


def test_each_body_has_its_seconds_after_the_anchor() -> None:
    """In the item, and of a series in its steps: those of a reading share its time."""
    served = runtime_of(model_of(**BOTH, times=True), STREAMS, "calls")
    oven = [event("oven", '{"heat": [1, 2]}', -2.5), event("oven", '{"heat": 3}', 0.25)]
    item = served.prepare(aligned(event("calls", "word1"), oven=oven))
    assert item.seconds == ((0.0,), (0.25,))
    assert item.bodies[1][0].nan_to_num(-9).tolist() == [[-9, -9], [1, -2.5], [2, -2.5], [3, 0.25]]
    assert item.only([1]).seconds == ((), (0.25,))


def test_a_time_is_told_in_bounded_numbers() -> None:
    """Nothing at the anchor's own and at an unknown one; earlier and later differ; a year is no more than an hour."""
    here, unknown, before, after, year = told(torch.tensor([0.0, math.nan, -3.0, 3.0, 3e7]))
    assert here.tolist() == unknown.tolist() == [0.0] * 5
    assert before.tolist() == [-one for one in after.tolist()]
    assert year.tolist() == [1.0] * 5
    assert len(set(after.tolist())) == 5


def written(folder: Path, anchor: object, entry: object) -> Path:
    """A test split of one row."""
    row = {"inputs": {"calls": [{"text": "word1", "time": entry}]}, "modalities": {"calls": "text"}, "label": "a"}
    (folder / "test.jsonl").write_text(json.dumps({**row, "time": anchor}))
    return folder


@pytest.mark.parametrize(
    ("anchor", "entry", "wanted"),
    [
        ("2026-01-01T00:00:03.250Z", "2026-01-01T00:00:01Z", -2.25),
        ("2026-01-01T01:00:00+01:00", "2026-01-01T00:00:04Z", 4.0),
        (None, "2026-01-01T00:00:01Z", math.nan),
        ("half past nine", None, math.nan),
    ],
)
def test_rows_tell_times_as_record_writes_them(tmp_path: Path, anchor: object, entry: object, wanted: float) -> None:
    """An entry's against the row's; not known where one of them is not there."""
    (sample,) = read(str(written(tmp_path, anchor, entry)), 0, 0, ["test"]).splits["test"]
    assert sample.bodies["calls"][0].seconds == pytest.approx(wanted, nan_ok=True)


@pytest.mark.parametrize(
    ("anchor", "entry", "message"),
    [
        ("2026-01-01T00:00:00Z", "noon", r"test.jsonl:1: calls: time: 'noon' is not RFC 3339"),
        (5, "2026-01-01T00:00:00Z", r"test.jsonl:1: time: of type int is not RFC 3339"),
    ],
)
def test_a_time_that_is_none_names_row_and_field(tmp_path: Path, anchor: object, entry: object, message: str) -> None:
    """Rather than to be taken for unknown."""
    with pytest.raises(ConfigError, match=message):
        read(str(written(tmp_path, anchor, entry)), 0, 0, ["test"])
