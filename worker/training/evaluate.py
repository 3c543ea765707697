"""A model and labelled batches -> how well it does, with everything, with the image alone and with the text alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from sklearn.metrics import classification_report
from torch import Tensor

from worker.model.fusion_model import FusionModel
from worker.training.data import ALL, IMAGE_ONLY, TEXT_ONLY, Presence, Samples, batches

PATTERNS = {"image and text": ALL, "image only": IMAGE_ONLY, "text only": TEXT_ONLY}


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured under one presence pattern.

    Attributes:
        accuracy: the part of `count` samples whose label was right.
        report: scikit-learn's classification report.
    """

    accuracy: float
    count: int
    report: str


def measure(
    model: FusionModel, samples: Samples, batch: int, presence: Presence, step: Callable[[], object]
) -> Measured:
    """Runs the model over the samples; `step` is called after each batch."""
    config = model.config
    model.eval()
    truth: list[int] = []
    said: list[int] = []
    loader = batches(samples, batch, config.max_tokens, config.image_size, presence, seed=0, shuffle=False)
    for arguments, labels in loader:
        said += predict(model, arguments).tolist()
        truth += labels.tolist()
        step()
    names = [config.id2label[number] for number in range(config.num_labels)]
    report = classification_report(
        truth, said, labels=range(len(names)), target_names=names, digits=3, zero_division=0.0
    )
    right = sum(a == b for a, b in zip(truth, said, strict=True))
    return Measured(right / len(truth), len(truth), report)


@torch.inference_mode()
def predict(model: FusionModel, arguments: dict[str, Tensor]) -> Tensor:
    """The number of the likeliest label of each item, [B]."""
    on_device = {name: tensor.to(model.device) for name, tensor in arguments.items()}
    best: Tensor = model(**on_device).logits.argmax(dim=-1).cpu()
    return best


def tell(measured: Iterable[tuple[str, Measured]]) -> str:
    """A line per presence pattern, and the report of the first."""
    rows = list(measured)
    lines = [f"{name:<16} accuracy {one.accuracy:.3f}  (n = {one.count})" for name, one in rows]
    return "\n".join([*lines, "", f"{rows[0][0]}:", rows[0][1].report])
