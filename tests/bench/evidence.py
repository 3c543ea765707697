"""What `[output] evidence = true` costs a batch: `python -m tests.bench.evidence` (the model alone, in pairs).

Who goes first alternates; a ratio is taken within its pair, since the machine changes from minute to minute. Processor
time tells the same with less spread where other programs share the cores.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import numpy as np

from tests.bench.job import aligned, shipped
from worker.feeds.junction import LABELS, scene
from worker.model.items import Item
from worker.model.runtime import ModelRuntime

BATCH = 32
WARM = 3  # Batches before the clock starts.


def cost(runtime: ModelRuntime, batch: Sequence[Item]) -> tuple[float, float]:
    """(seconds, processor seconds) of one batch."""
    began, began_processor = time.perf_counter(), time.process_time()
    runtime.infer(batch)
    return time.perf_counter() - began, time.process_time() - began_processor


def main() -> None:
    """Runs the pairs and prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=60)
    count = parser.parse_args().pairs
    without, with_evidence = shipped(), shipped(evidence=True)
    rng = np.random.default_rng(5)
    scenes = [scene(rng, LABELS[n % len(LABELS)]) for n in range(BATCH)]
    batch = [without.prepare(aligned(one.text.encode(), one.image)) for one in scenes]
    pairs = []
    for number in range(WARM + count):
        if number % 2:
            plain, told = cost(without, batch), cost(with_evidence, batch)
        else:
            told, plain = cost(with_evidence, batch), cost(without, batch)
        pairs.append((plain, told))
    pairs = pairs[WARM:]
    print(f"batches of {BATCH}, n = {len(pairs)} pairs; without: {statistics.median(p for (p, _), _ in pairs):.3f} s")
    for column, what in enumerate(("time", "processor time")):
        ratios = sorted(told[column] / plain[column] for plain, told in pairs)
        low, _, high = statistics.quantiles(ratios, n=4)
        print(
            f"{what}, with / without: median {statistics.median(ratios):.3f}, middle half {low:.3f} to {high:.3f}, "
            f"all {ratios[0]:.3f} to {ratios[-1]:.3f}"
        )


if __name__ == "__main__":
    main()
