"""What a model was fitted on -> per item the labels that cannot be ruled out, and how familiar its inputs are."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from worker.errors import ConfigError
from worker.model.config import FusionConfig
from worker.model.folder import CONFIDENCE
from worker.model.fusion_model import FusionOutput
from worker.records import Confidence

PLACES = 4  # Of what is told, and of strangeness, so that an item is as strange as itself, whatever its company.
_SMALLEST = 1e-12


class Space(NamedTuple):
    """Where the train split lies, for each of V views: F, then that of each input (FusionOutput).

    The Mahalanobis distance under a covariance of R directions, and one variance for all others, is
    |x|^2 - |x basis|^2 but for a factor, with each direction as long as sqrt(1 - other variance / its variance).

    Attributes:
        mean: [V, P, D], by the set of inputs that an item has.
        basis: [V, D, R].
    """

    mean: Tensor
    basis: Tensor

    def apart(self, views: Tensor, rows: Tensor) -> Tensor:
        """How far each view lies from its mean, [V, B]; `views` [V, B, D], `rows` [B] tells whose mean."""
        centred = views - self.mean[:, rows]
        left = centred.square().sum(dim=2) - (centred @ self.basis).square().sum(dim=2)
        return left.clamp_min(_SMALLEST).log()


class Known(NamedTuple):
    """What the dev split showed of items that have one set of inputs.

    Attributes:
        middle, spread: per view the median of its distances, and from there to that of so strange a one that one item
            in 20 has any as strange, had each view its share.
        strange: how strange each was, ascending.
        least: the least score of a label that cannot be ruled out.
    """

    middle: list[float]
    spread: list[float]
    strange: list[float]
    least: float


class Knowledge:
    """Of one model. The first of its sets of inputs stands for all that have none of their own; of these F is not
    looked at, since it depends on what is missing. Nor is it where every input's view is of an earlier layer: it finds
    nothing that these do not (decision 54)."""

    def __init__(self, space: Space, known: dict[int, Known], level: float, *, fused: bool = True) -> None:
        """`known` is by the number of the set, in the order of the space's means; the first is the general one.
        `fused`: F is looked at. Raises ValueError: nothing is known."""
        if not known:
            raise ValueError("it holds no set of inputs")
        self.space, self.known, self.level, self.fused = space, known, level, fused
        self._rows = {inputs: row for row, inputs in enumerate(known)}
        self._general = next(iter(known.values()))
        self._middle, self._spread = (
            torch.tensor([one[n] for one in known.values()], device=space.mean.device).T for n in (0, 1)
        )

    def to(self, device: torch.device) -> Knowledge:
        """The same, where the model lies."""
        space = Space(*(one.to(device) for one in self.space))
        return Knowledge(space, self.known, self.level, fused=self.fused)

    def strangeness(self, out: FusionOutput, sets: Sequence[int]) -> Tensor:
        """Of the strangest view of each item, [B, 1]: 0 is the median of known items, about one in 20 is above 1.

        `sets` are the inputs that each item has. Nothing is waited for.
        """
        device = self.space.mean.device
        rows = torch.tensor([self._rows.get(one, 0) for one in sets]).to(device, non_blocking=True)
        absent = torch.tensor([self._absent(one) for one in sets]).T
        apart = self.space.apart(views_of(out), rows)
        absent = absent.to(device, non_blocking=True)
        return strangest(apart, self._middle[:, rows], self._spread[:, rows], absent)[:, None]

    def _absent(self, inputs: int) -> list[bool]:
        """Which views are not looked at: F, then those of inputs."""
        views = range(len(self.space.mean) - 1)
        return [not self.fused or inputs not in self._rows, *(not inputs >> n & 1 for n in views)]

    def of(self, inputs: int, scores: Sequence[float], labels: Sequence[str], strangeness: float) -> Confidence:
        """Of one item.

        Args:
            inputs: the set that it has.
            scores: per label, not rounded.
            strangeness: as `strangeness` told it.
        """
        order, least = sorted(range(len(scores)), key=lambda n: -scores[n]), self.least(inputs)
        held = tuple(labels[n] for place, n in enumerate(order) if place == 0 or scores[n] >= least)
        return Confidence(held, self.familiar(inputs, strangeness))

    def least(self, inputs: int) -> float:
        """The least score of a label that cannot be ruled out, of items with this set of inputs."""
        return self.known.get(inputs, self._general).least

    def familiar(self, inputs: int, strangeness: float) -> float:
        """The share of known items that are as strange or stranger: a conformal p-value, so it counts itself too."""
        strange = self.known.get(inputs, self._general).strange
        stranger = len(strange) - bisect_left(strange, round(strangeness, PLACES))
        return round((1 + stranger) / (1 + len(strange)), PLACES)

    def save(self, folder: Path, of: str) -> None:
        """Beside the model, with the digest of its weights, which `load` compares."""
        known = self.known.values()
        save_file(
            {
                "mean": self.space.mean.float().cpu().contiguous(),
                "basis": self.space.basis.half().cpu().contiguous(),
                "sets": torch.tensor(list(self.known)),
                "middle": torch.tensor([one.middle for one in known], dtype=torch.float64),
                "spread": torch.tensor([one.spread for one in known], dtype=torch.float64),
                "least": torch.tensor([one.least for one in known], dtype=torch.float64),
                "counts": torch.tensor([len(one.strange) for one in known]),
                "strange": torch.tensor([s for one in known for s in one.strange], dtype=torch.float64),
            },
            folder / CONFIDENCE,
            {"level": repr(self.level), "weights": of, "fused": str(int(self.fused))},
        )

    @classmethod
    def load(cls, folder: Path, config: FusionConfig, of: str) -> Self | None:
        """What lies beside a model whose weights have the digest `of`; None: nothing does.

        Raises:
            ConfigError: it cannot be read, or was fitted to another model than the one of these weights.
        """
        if not (folder / CONFIDENCE).is_file():
            return None
        try:
            with safe_open(folder / CONFIDENCE, "pt") as file:
                # Copies: what is given lies in the file itself.
                told = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
                more = file.metadata()
            made = cls(*_parts(told), float(more["level"]), fused=more.get("fused") != "0")
            weights, (views, _, dim) = more["weights"], made.space.mean.shape
        except (OSError, SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise ConfigError(_refused(folder, f"cannot be read: {type(error).__name__}: {error}")) from error
        if weights != of or (views, dim) != (1 + len(config.inputs), config.dim):
            raise ConfigError(_refused(folder, "was fitted to another model than the one beside it"))
        return made


def strangest(apart: Tensor, middle: Tensor, spread: Tensor, absent: Tensor) -> Tensor:
    """Of each item how strange its strangest view is, [B]; of [V, B] each."""
    return ((apart - middle) / spread).masked_fill(absent, -math.inf).amax(dim=0)


def views_of(out: FusionOutput) -> Tensor:
    """F and each input's view, [V, B, D]."""
    return torch.stack([out.fused, *out.views]).float()


def _parts(told: dict[str, Tensor]) -> tuple[Space, dict[int, Known]]:
    lists = [told[name].tolist() for name in ("sets", "middle", "spread", "least")]
    strange = [one.tolist() for one in torch.split(told["strange"], told["counts"].tolist())]
    known = {
        inputs: Known(middle, spread, of, least)
        for inputs, middle, spread, least, of in zip(*lists, strange, strict=True)
    }
    return Space(told["mean"], told["basis"].float()), known


def _refused(folder: Path, why: str) -> str:
    return (
        f"model.path = {str(folder)!r}: {CONFIDENCE} {why}; take it out, and results go without `confidence`, or make "
        "the model anew with `fusion-worker train` or `export`"
    )
