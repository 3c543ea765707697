"""Linear layers that are computed in int8, from the weights as they are; what comes in has a scale for each row.

So a row's outcome depends on that row alone, to the last digit (sums of int8 are exact), and nothing is calibrated.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# As in an ONNX graph (exporting/graph.py): with fewer weights turning numbers into int8 costs more than it saves.
_FEWEST_WEIGHTS = 96 * 96
_MOST = 127  # -128 stays away, so that both signs reach alike far.
_SMALLEST = 1e-30  # The scale of a row of zeros, which is not to be divided by 0.


class Int8Linear(nn.Module):
    """A linear layer: weights with a scale for each output, kept in a quarter of their bytes."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        rounded, scale = _rounded(layer.weight.detach().float())
        self.register_buffer("weight", rounded.t())
        self.register_buffer("scale", scale[:, 0])
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().float())

    def forward(self, given: Tensor) -> Tensor:
        """[..., in] -> [..., out], in fp32."""
        rounded, scale = _rounded(given.flatten(0, -2))
        # Private to torch, but the only product of int8 that is fast on a CPU: 8 times fp32, tests hold it.
        found: Tensor = torch._int_mm(rounded, self.weight).float().mul_(self.scale).mul_(scale)
        if self.bias is not None:
            found += self.bias
        return found.view(*given.shape[:-1], -1)


def _rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """[N, W] -> int8 [N, W] and each row's scale [N, 1]."""
    scale = rows.abs().amax(dim=1, keepdim=True).div_(_MOST).clamp_(min=_SMALLEST)
    return (rows / scale).round_().to(torch.int8), scale


def in_int8(model: nn.Module) -> int:
    """Lets the large linear layers of the text encoder and of the fusion compute in int8; how many they are.

    The projections between them stay as they are: others ask for their format.
    """
    rooms = [model.get_submodule("fusion")]
    if "text" in model.get_submodule("encoders")._modules:
        rooms.append(model.get_submodule("encoders.text.encoder"))
    found = [
        (parent, name, layer)
        for room in rooms
        for parent in room.modules()
        for name, layer in parent.named_children()
        if type(layer) is nn.Linear and layer.weight.numel() >= _FEWEST_WEIGHTS
    ]
    for parent, name, layer in found:
        setattr(parent, name, Int8Linear(layer))
    return len(found)
