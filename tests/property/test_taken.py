"""What a model takes over from an earlier one means the same, whatever the order of names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from worker.model.config import FusionConfig
from worker.model.fusion_model import FusionModel
from worker.training.start import Start
from worker.training.taken import take

_TEXT = {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
         "intermediate_size": 8, "vocab_size": 20}  # fmt: skip
_SENSORS, _FIELDS, _LABELS = ("a", "b"), ("x", "y"), ("calm", "busy", "jam")


def model_of(inputs: list[str], channels: list[tuple[str, str]], labels: list[str]) -> FusionModel:
    """Untrained, with dense fusion, which hears nothing of an input whose columns are 0."""
    config = FusionConfig(
        inputs=["text" if one == "notes" else "sensor" for one in inputs], input_names=inputs, text=_TEXT,
        channels=[field for _, field in channels], channel_inputs=[name for name, _ in channels],
        channel_words=[None] * len(channels), max_tokens=4, max_steps=3, dim=8, glimpses=2, fusion="dense",
        id2label=dict(enumerate(labels)), label2id={one: n for n, one in enumerate(labels)}, times=True,
    )  # fmt: skip
    return FusionModel(config).eval()


def batch(config: FusionConfig, values: dict[tuple[str, str], torch.Tensor], ids: torch.Tensor) -> dict[str, Any]:
    """The same items for models whose inputs and channels stand in another order; what is new is missing."""
    items, bodies, owners = len(ids), [], []
    for name in config.names:
        if name == "notes":
            bodies.append(ids)
        elif name in _SENSORS:
            steps = torch.full((items, config.max_steps, config.step_width), torch.nan)
            for place, key in enumerate(zip(config.channel_inputs or (), config.channels, strict=True)):
                if key[0] == name and key in values:
                    steps[:, :, place] = values[key]
            bodies.append(steps)
        else:
            bodies.append(torch.zeros(0, config.max_steps, config.step_width))
        owners.append(torch.arange(len(bodies[-1])))
    when = [torch.zeros(len(one), 2) for one in bodies]
    return {"bodies": bodies, "item_of": owners, "items": items, "when": when}


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_old_items_are_understood_as_before(data: st.DataObject) -> None:
    """With inputs, channels and labels in any order and new ones between them, old labels have the logits they had."""
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    own = [(name, field) for name in _SENSORS for field in _FIELDS]
    old = model_of(data.draw(st.permutations(["notes", *_SENSORS])), data.draw(st.permutations(own)), list(_LABELS))
    for one in old.parameters():
        torch.nn.init.normal_(one, std=0.3)
    new = model_of(
        data.draw(st.permutations(["notes", *_SENSORS, "more"])),
        data.draw(st.permutations([*own, ("a", "new"), ("more", "x")])),
        data.draw(st.permutations([*_LABELS, "fog"])),
    )
    start = Start(Path("old"), old, Tokenizer(WordLevel()), None, "0" * 12)
    begun = take(new, start)
    ids, values = torch.randint(0, 20, (4, 4)), {one: torch.randn(4, 3) for one in own}
    with torch.no_grad():
        before, after = (one(**batch(one.config, values, ids)).logits for one in (old, new))
    places = [new.config.label2id[label] for label in _LABELS]
    torch.testing.assert_close(after[:, places], before, atol=1e-5, rtol=1e-4)
    assert [new.config.id2label[number] for number in begun.labels] == ["fog"]
