"""Curves -> TensorBoard, and Weights & Biases where that is installed and has been signed in to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from torch.utils.tensorboard import SummaryWriter

# Where it keeps its key or is told what to do; without any of them it would ask on the terminal.
_SIGNED_IN = ("WANDB_API_KEY", "WANDB_MODE")


class Board:
    """A context in which curves are written."""

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        """`folder` is TensorBoard's; `plan` is shown beside the curves."""
        self._writer = SummaryWriter(str(folder))
        self._run: Any = None
        if find_spec("wandb") is not None and any(os.environ.get(name) for name in _SIGNED_IN):
            self._run = import_module("wandb").init(project="fusion-worker", dir=str(folder), config=dict(plan))

    def add(self, values: Mapping[str, float], epoch: int) -> None:
        """One point of each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        if self._run is not None:
            self._run.log(dict(values), step=epoch)

    def __enter__(self) -> Board:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._writer.close()
        if self._run is not None:
            self._run.finish(exit_code=0 if error is None else 1)
