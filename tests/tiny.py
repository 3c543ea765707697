"""An untrained model of any inputs, as `train` would leave one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from worker.feeds.junction import LABELS, scene
from worker.model.confidence import Knowledge, Known, Space
from worker.model.config import FusionConfig
from worker.model.fusion_model import FusionModel
from worker.model.sums import write_sums
from worker.training.vocabulary import learn_vocabulary

TEXT = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def knowledge_of(config: FusionConfig) -> Knowledge:
    """What a model of this configuration would know of its verdicts after looking at one item."""
    views, dim = 1 + len(config.inputs), config.dim
    known = Known([0.0] * views, [1.0] * views, [0.5], 0.25)
    return Knowledge(Space(torch.zeros(views, 1, dim), torch.zeros(views, dim, 8)), {-1: known}, 0.9)


def write_tiny_model(
    path: Path, inputs: Sequence[str] = ("image", "text"), channels: Sequence[str] = ("speed", "count"),
    names: Sequence[str] | None = None, *, times: bool = False, dim: int = 64,
) -> Path:  # fmt: skip
    """Its folder. The backbone depends on the image without training, unlike MobileNet's."""
    torch.manual_seed(1)
    tokenizer = learn_vocabulary((scene(np.random.default_rng(n)).text for n in range(50)), 300)
    text = {**TEXT, "intermediate_size": 64, "vocab_size": len(tokenizer)}
    model = FusionModel(
        FusionConfig(
            name="tiny", backbone="shufflenet_v2_x0_5", dim=dim, text=text, id2label=dict(enumerate(LABELS)),
            inputs=inputs, input_names=names, times=times, channels=channels if "sensor" in inputs else (),
        )
    )  # fmt: skip
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    write_sums(path)
    return path
