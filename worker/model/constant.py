"""Numbers of the configuration that a model computes with, beside its weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Constant(nn.Module):
    """Numbers as a tensor that lies where the model lies: nothing is copied there call by call.

    Never saved, since the configuration has them, and fp32 whatever the model computes in.
    """

    value: Tensor

    def __init__(self, numbers: Sequence[float], shape: Sequence[int]) -> None:
        super().__init__()
        self._numbers, self._shape = tuple(numbers), tuple(shape)
        self.register_buffer("value", torch.tensor(self._numbers, dtype=torch.float32).view(shape), persistent=False)

    def fill(self) -> None:
        """Sets the numbers anew: transformers loads a model as shapes alone, and what it does not load is empty."""
        self.value = torch.tensor(self._numbers, dtype=torch.float32, device=self.value.device).view(self._shape)

    def forward(self) -> Tensor:
        return self.value

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.fill()
        return self
