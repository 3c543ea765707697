"""What an exported graph says of how familiar an item is, beside the model that it was made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny import TEXT
from worker.exporting.graph import write_onnx
from worker.feeds.junction import LABELS, scene
from worker.model.confidence import Knowledge, Known, Space
from worker.model.config import FusionConfig
from worker.model.folder import ONNX
from worker.model.fusion_model import FusionModel
from worker.model.items import Item
from worker.model.load import digest, for_serving
from worker.model.pictures import decode_image
from worker.model.preprocess import NO_TOKEN
from worker.model.runtime import runtime_of
from worker.model.served import serve
from worker.records import Verdict
from worker.training.vocabulary import learn_vocabulary


def items(count: int) -> list[Item]:
    """With both inputs, and with either alone."""
    rng, made = np.random.default_rng(3), []
    for n in range(count):
        ids = torch.full((32,), NO_TOKEN)
        ids[: 3 + n % 20] = torch.tensor(rng.integers(4, 200, 3 + n % 20))
        both = Item(((decode_image(scene(rng).image, 224, "frames"),), (ids,)))
        made.append(both if n % 3 else both.only([n // 3 % 2]))
    return made


def ask(folder: Path, some: list[Item]) -> list[Verdict]:
    """As a worker would."""
    return runtime_of(serve(folder, "cpu", "fp32")).infer(some)


@pytest.mark.parametrize("view", [0, 1], ids=["the last layer", "an earlier layer"])
def test_the_graph_is_as_familiar_with_an_item_as_the_model(view: int, tmp_path: Path) -> None:
    """Of every item within two of 200 known ones, whichever layers of the encoders are looked at."""
    torch.manual_seed(2)
    tokenizer = learn_vocabulary((scene(np.random.default_rng(n)).text for n in range(50)), 300)
    text = {**TEXT, "num_hidden_layers": 2, "intermediate_size": 64, "vocab_size": len(tokenizer)}
    config = FusionConfig(
        name="tiny", backbone="shufflenet_v2_x0_5", dim=64, text=text, text_view=view, image_view=3 * view,
        id2label=dict(enumerate(LABELS)),
    )  # fmt: skip
    model, some = FusionModel(config), items(24)
    known = Known([2.0] * 3, [1.0] * 3, [n / 20 - 5 for n in range(200)], 0.25)
    knowledge = Knowledge(Space(torch.zeros(3, 2, 64), torch.randn(3, 64, 8) / 8), {-1: known, 3: known}, 0.9)
    folders = tmp_path / "model", tmp_path / "graph"
    for folder in folders:
        config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    model.save_pretrained(folders[0])
    knowledge.save(folders[0], digest(folders[0]))
    write_onnx(for_serving(model, torch.device("cpu"), torch.float32), some[:8], folders[1] / ONNX)
    knowledge.save(folders[1], digest(folders[1], ONNX))
    told = [[one.confidence.familiar for one in ask(folder, some) if one.confidence] for folder in folders]
    assert len(set(told[0])) > 3  # They differ, so that what is compared says something.
    assert told[1] == pytest.approx(told[0], abs=2 / 200)
