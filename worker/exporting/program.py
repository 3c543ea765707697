"""FusionModel -> a torch.export program: tensors in, tensors out, any number of items."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from worker.errors import ConfigError
from worker.model.fusion_model import FusionModel
from worker.model.items import Item, collate


class _Answers(nn.Module):
    """The model with tensors alone going in and out: B is the length of `items`."""

    def __init__(self, model: FusionModel, evidence: bool) -> None:
        super().__init__()
        self.model, self.evidence = model, evidence

    def forward(
        self, bodies: list[Tensor], item_of: list[Tensor], items: Tensor, when: list[Tensor]
    ) -> tuple[Tensor, ...]:
        out = self.model(bodies, item_of, items.shape[0], evidence=self.evidence, when=when)
        if not self.evidence:
            return out.logits, out.fused, *_there(out.heads)
        sets = (out.coalitions, *_there(out.head_coalitions))
        return (out.logits, out.fused, *_there(out.heads), *out.views, *sets, *out.weights)


def _there(heads: Tensor | None) -> tuple[Tensor, ...]:
    return () if heads is None else (heads,)


def program_of(model: FusionModel, items: Sequence[Item], *, evidence: bool) -> torch.export.ExportedProgram:
    """The model as torch.export traces it: any number of items and of bodies from two on.

    Args:
        model: ready for serving.
        items: an example; each input has two bodies or more among them.

    Raises:
        ConfigError: torch.export cannot follow this model.
    """
    given = collate(items, model.config)
    several = torch.export.Dim("items", min=2)
    bodies = [{0: torch.export.Dim(f"bodies_{n}", min=2)} for n in range(len(given["bodies"]))]
    when = given.get("when", [])
    arguments = (given["bodies"], given["item_of"], torch.zeros(len(items), dtype=torch.bool), when)
    with torch.no_grad(), quiet():
        try:
            return torch.export.export(
                _Answers(model, evidence).eval(),
                arguments,
                dynamic_shapes=(bodies, bodies, {0: several}, bodies[: len(when)]),
            )
        except Exception as error:  # torch raises whatever its tracer meets in a foreign backbone
            raise ConfigError(f"--model: torch.export cannot follow it: {first_line(error)}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the libraries tell of their own internals."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
