"""When a body was, against the anchor, and where it stands in its window -> its features, changed by that."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# A tenth of a second to a quarter of an hour: each tells times near it apart, and none grows beyond 1.
SCALES_SECONDS = (0.1, 1.0, 10.0, 100.0, 1000.0)
_PLACES = 16.0


def told(seconds: Tensor) -> Tensor:
    """Seconds [...] -> numbers in -1..1, [..., 5]; all 0 at the anchor's own time, and where it is not known (NaN)."""
    known = seconds.float().nan_to_num(0.0)
    return torch.stack([(known / scale).tanh() for scale in SCALES_SECONDS], dim=-1)


class Timing(nn.Module):
    """Scales and shifts the features of each body; begins by changing nothing, and learns what times and order tell.

    Scaled, a mean over bodies is a filter in time: the newest less the oldest is one. Shifted alone, a window that runs
    backwards would have the same mean.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        # Without a bias: what is at the anchor's time, and the newest, stays as it is.
        self.turn = nn.Linear(len(SCALES_SECONDS) + 2, 2 * dim, bias=False)
        nn.init.zeros_(self.turn.weight)

    def forward(self, features: Tensor, when: Tensor) -> Tensor:
        """`features` [M, N, D] of M bodies, `when` [M, 2]: seconds after the anchor, and how many newer there are."""
        seconds, newer = when.float().unbind(dim=1)
        place = torch.stack([newer / (1 + newer), (newer / _PLACES).clamp(max=1.0)], dim=-1)
        turned = self.turn(torch.cat([told(seconds), place], dim=-1).to(self.turn.weight.dtype))
        scale, shift = turned.unsqueeze(1).chunk(2, dim=-1)  # [M, 1, D] each
        changed: Tensor = features * (1 + scale) + shift
        return changed
