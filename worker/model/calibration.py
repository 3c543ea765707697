"""Which inputs an item has -> the temperature that its logits are divided by before they become scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from worker.model.config import FusionConfig
from worker.model.items import Item


def set_of(inputs: Iterable[int]) -> int:
    """The number of a set of inputs: bit n is input n."""
    return sum(1 << number for number in inputs)


class Temperatures:
    """Of each set of inputs that it was fitted for; of any other that of the dev split as it came."""

    def __init__(self, config: FusionConfig) -> None:
        self._general = config.calibration
        self._fitted = {int(name): value for name, value in config.calibrations.items()}

    def of(self, chosen: int) -> float:
        """The temperature of a set, told by its number."""
        return self._fitted.get(chosen, self._general)

    def of_items(self, items: Sequence[Item], shown: Sequence[int] = (-1,)) -> Tensor:
        """Of each item when it shows only these sets of what it has; -1 is all. [B, sets, 1]."""
        present = [set_of(item.present) for item in items]
        return torch.tensor([[[self.of(one & some)] for some in shown] for one in present])
