"""How faithful the explanations are: `python -m tests.bench.faithfulness` (drawn scenes, the model that ships).

Per input: the scenes in which it has something to explain, and of those the mean probability of the label while what is
named strongest is hidden first, and while hiding goes in random order. Both are hidden in the ways of worker.explain.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.progress import track

from worker.explain.attribution import EXACT, attribute
from worker.explain.deletion import Deletion, deletions
from worker.explain.ground import Probe, grounds_of
from worker.feeds.junction import LABELS, scene
from worker.model.folder import SHIPPED
from worker.model.items import Item, collate
from worker.model.load import for_serving, load
from worker.model.preprocess import Body, Preprocessor

FIRST_SEED = 7000
LEAST_RISE = 0.05  # Below it an input has next to nothing to share out, and both curves stay where they are.


class Found(NamedTuple):
    """One input of one scene, or all of them together; `gap` is by how much its shares miss the rise."""

    deletion: Deletion
    gap: float

    @property
    def rise(self) -> float:
        """What hiding all of it takes from the label's probability."""
        return self.deletion.curve[0] - self.deletion.curve[-1]


def explained(path: Path, seed: int) -> list[Found]:
    """The verdict on one scene, explained."""
    model, tokenizer = load(path)
    reads, config = Preprocessor(model.config, tokenizer), model.config
    made = scene(np.random.default_rng(seed), LABELS[seed % len(LABELS)])
    bodies = {"image": Body(made.image, "image/jpeg", "image"), "text": Body(made.text.encode(), "text/plain", "text")}
    item = Item(tuple(reads.tensors(name, (bodies[name],)) for name in config.inputs))
    served = for_serving(model, torch.device("cpu"), torch.float32)
    with torch.inference_mode():
        label = int(served(**collate([item, item], config)).logits[0].argmax())
    grounds = grounds_of(item, config, config.inputs, tokenizer)
    probe = Probe(served, grounds, label)
    shares = [attribute(served, probe, ground) for ground in grounds]
    gaps = {one.ground.name: one.gap for one in shares}
    return [Found(one, gaps.get(one.name, 0.0)) for one in deletions(probe, shares, seed)]


def row(name: str, found: list[Found]) -> str:
    """A line of the table."""
    told = [one.deletion for one in found if one.rise >= LEAST_RISE]
    if not told:
        return f"| {name} | 0 of {len(found)} | | | | |"
    inexact = [one.gap for one in found if one.gap > EXACT]
    cells = (
        name,
        f"{len(told)} of {len(found)}",
        f"{statistics.mean(one.area for one in told):.2f}",
        f"{statistics.mean(one.random_area for one in told):.2f}",
        f"{sum(one.area < one.random_area for one in told)} of {len(told)}",
        f"{len(inexact)}, by {max(inexact):.2f}" if inexact else "",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Explains the scenes and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--model", type=Path, default=SHIPPED)
    given = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + given.scenes)
    found = [one for seed in track(seeds, "scenes") for one in explained(given.model, seed)]
    print("| input | rise of 0.05 or more | of those: deletion | random | sooner than random | inexact, worst |")
    print("|---|---|---|---|---|---|")
    for name in dict.fromkeys(one.deletion.name for one in found):
        print(row(name, [one for one in found if one.deletion.name == name]))


if __name__ == "__main__":
    main()
