"""Pictures changed so that the right label's score falls: one step of the fast gradient sign method.

Goodfellow, Shlens and Szegedy, Explaining and harnessing adversarial examples, 2015: each number of a picture goes by
epsilon in the direction in which the loss grows. An epsilon of n/255 is n of 256 levels, so what is made is a picture
that a camera could send, and the model sees it as it sees any.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from worker.model.fusion_model import FusionModel
from worker.model.int8 import Int8Linear

LEVELS = (1, 2, 4)  # Of 255.


def impossible(model: FusionModel) -> str | None:
    """Why there is no such step for this model; None: there is."""
    if "image" not in model.config.inputs:
        return "the model takes no image"
    if any(isinstance(module, Int8Linear) for module in model.modules()):
        return "its layers compute in int8, which has no gradient; give the fp32 model that it was made from"
    return None


def step_of(model: FusionModel, arguments: dict[str, Any], labels: Tensor, levels: int) -> dict[str, Any]:
    """The arguments of `forward` with each picture changed by at most so many levels of 0..255, texts and others as
    they are; `labels` [B] are the right ones."""
    numbers = [n for n, one in enumerate(model.config.inputs) if one == "image" and arguments["bodies"][n].shape[0]]
    if not numbers:
        return arguments
    with torch.inference_mode(False), torch.enable_grad():
        # What was made in inference mode takes part in no gradient; its copy does.
        given = {name: _copied(one) for name, one in arguments.items()}
        pixels = [given["bodies"][n].float().requires_grad_() for n in numbers]
        for n, own in zip(numbers, pixels, strict=True):
            given["bodies"][n] = own + 0.0  # The model scales in place, which a leaf does not bear.
        loss = cross_entropy(model(**given).logits, labels.clone().to(model.device))
        slopes = torch.autograd.grad(loss, pixels)
    bodies = list(arguments["bodies"])
    for n, own, slope in zip(numbers, pixels, slopes, strict=True):
        bodies[n] = (own.detach() + levels * slope.sign()).clamp(0, 255).to(torch.uint8)
    return {**arguments, "bodies": bodies}


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    return [one.clone() for one in value] if isinstance(value, list) else value
