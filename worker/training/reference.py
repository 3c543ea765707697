"""The dev split through the model as it will be served -> the reference that its drift is held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from worker.model.drift import LEAST_REFERENCE, REFERENCE, Reference
from worker.model.items import Item
from worker.model.runtime import runtime_of
from worker.model.served import Served
from worker.training.data import Samples

# As many as a served window has: with more the chance that is left would be that of the window.
_MOST = 2_000
_AT_ONCE = 32


def write_reference(
    folder: Path, dev: Samples | Sequence[tuple[Item, int]], opened: Callable[[], Served], of: str
) -> str:
    """Of the model that was just written there, whose weights have the digest `of`; `dev` has pixels, not a backbone's
    maps. Says what there is to say."""
    if len(dev) < LEAST_REFERENCE:
        (folder / REFERENCE).unlink(missing_ok=True)
        return f"drift will not be watched: the dev split has {len(dev)} samples, {LEAST_REFERENCE} are needed"
    reference = reference_of(opened(), dev)
    reference.save(folder, of)
    return f"{len(reference.quantities)} quantities of the dev split are in {REFERENCE}, to watch for drift"


def reference_of(served: Served, dev: Samples | Sequence[tuple[Item, int]]) -> Reference:
    """What this model says of the dev split, and what that is like; of 2,000 samples evenly apart if there are more."""
    runtime, found = runtime_of(served), list[NDArray[np.float64]]()
    runtime.summarised = found.append
    chosen = np.unique(np.linspace(0, len(dev) - 1, min(len(dev), _MOST)).astype(int)).tolist()
    threads = torch.get_num_threads()
    try:
        for first in range(0, len(chosen), _AT_ONCE):
            runtime.infer([dev[number][0] for number in chosen[first : first + _AT_ONCE]])
    finally:
        torch.set_num_threads(threads)
    return Reference.of(runtime.summary.names, np.concatenate(found), runtime.summary.edges)
