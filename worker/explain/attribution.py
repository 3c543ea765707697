"""Ground -> what each of its numbers did for the label: integrated gradients (Sundararajan, Taly, Yan, ICML 2017)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import IntegratedGradients, LayerIntegratedGradients
from torch import Tensor

from worker.explain.ground import Ground, Probe
from worker.model.fusion_model import FusionModel

# Points on the way from the baseline; with 64 the sum is within about 0.01 of the difference that it shall explain.
STEPS = 64
# Of those, computed at once: bounds the memory of an image's gradients.
AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Attribution:
    """What one input did for the label's probability.

    Attributes:
        values: the ground's shape; of a text one number a token.
        gap: what the values' sum misses of the probability's rise from the baseline; near 0 where the steps suffice.
    """

    ground: Ground
    values: Tensor
    gap: float

    @property
    def units(self) -> Tensor:
        """Per unit the sum."""
        return self.ground.summed(self.values)


def attribute(model: FusionModel, probe: Probe, ground: Ground) -> Attribution:
    """The change of the label's probability, from this input's baseline to its value, shared out to its numbers."""
    if ground.modality == "text":
        return _text(model, probe, ground)
    known = ground.value.isfinite()
    value = ground.value.nan_to_num(0.0)[None].to(probe.device)
    baseline = ground.baseline.nan_to_num(0.0)[None].to(probe.device)
    gone = (~known).to(probe.device)

    def probability(values: Tensor) -> Tensor:
        return probe({ground.number: values.masked_fill(gone, torch.nan)})

    made, gap = IntegratedGradients(probability).attribute(
        value, baseline, n_steps=STEPS, internal_batch_size=AT_ONCE, return_convergence_delta=True
    )
    return Attribution(ground, made[0].detach().nan_to_num(0.0).cpu(), float(gap.abs().max()))


def _text(model: FusionModel, probe: Probe, ground: Ground) -> Attribution:
    """Through the layer that turns token ids into vectors, since ids have no gradient."""
    encoder: Any = model.get_submodule("encoders.text.encoder")
    layer = encoder.get_input_embeddings()
    probability: Callable[[Tensor], Tensor] = lambda ids: probe({ground.number: ids})  # noqa: E731
    made, gap = LayerIntegratedGradients(probability, layer).attribute(
        ground.value[None].to(probe.device), ground.baseline[None].to(probe.device),
        n_steps=STEPS, internal_batch_size=AT_ONCE, return_convergence_delta=True,
    )  # fmt: skip
    # [M, T, H] -> [M, T]
    return Attribution(ground, made.detach().sum(dim=-1).view_as(ground.value).cpu(), float(gap.abs().max()))
