"""Several seeds of each fusion: `python -m tests.bench.seeds --data weak --seeds 5 -- --epochs 20 --dim 64`.

Each run is `fusion-worker train` with what stands after `--`; a row is a presence pattern of the test split, a cell the
mean over seeds with its 95 % interval (Student's t). A seed draws the data too, where these are drawn. `--trials 20`
adds a column of `fusion-worker tune` with so many trials, which begins at the first fusion.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import t

from tests.bench import weak
from tests.bench.table import machine
from worker.cli import main as fusion_worker

FUSIONS = ("attention", "dense", "graph", "cross_attention")
_ROW = re.compile(r"^\s*(\S.*?)\s{2,}(\d\.\d{3})  ", re.MULTILINE)


def run(data: str, fusion: str, seed: int, given: Sequence[str]) -> dict[str, float]:
    """Accuracy on the test split by presence pattern; `fusion` of a training, or after how many trials it is chosen.

    Raises:
        RuntimeError: the training ended with an error; with what it said.
    """
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()) as told:
        folder = str(weak.write(Path(name) / "data", seed)) if data == "weak" else data
        how = ["tune", "--trials", fusion] if fusion.isdigit() else ["train", "--fusion", fusion]
        command = [*how, "--data", folder, "--seed", str(seed), "--out", f"{name}/model", *given]
        code = fusion_worker(command)
    if code:
        raise RuntimeError(f"{' '.join(command)} ended with {code}: {told.getvalue()[-1000:]}")
    table = told.getvalue().partition("accuracy  macro F1")[2].partition("\n\n")[0]
    return {pattern: float(accuracy) for pattern, accuracy in _ROW.findall(table)}


def cell(values: Sequence[float]) -> str:
    """`mean (low to high)`."""
    middle = float(np.mean(values))
    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return f"{middle:.3f} ({middle - half:.3f} to {middle + half:.3f})"


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.seeds", description=__doc__)
    parser.add_argument("--data", default="weak", help="weak (tests.bench.weak), or as `train` takes it")
    parser.add_argument("--seeds", type=int, default=5, help="2 or more")
    parser.add_argument("--fusions", default=",".join(FUSIONS))
    parser.add_argument("--trials", help="of `tune`, in a column more")
    parser.add_argument("rest", nargs="*", help="arguments of `train`, after --")
    given = parser.parse_args()
    fusions, began = [*given.fusions.split(","), *([given.trials] if given.trials else [])], time.process_time()
    found: dict[str, list[dict[str, float]]] = {fusion: [] for fusion in fusions}
    for seed in range(given.seeds):
        for fusion in fusions:
            found[fusion].append(run(given.data, fusion, seed, given.rest))
            print(f"seed {seed}, {fusion}: {found[fusion][-1]}", file=sys.stderr, flush=True)
    minutes = (time.process_time() - began) / 60
    print(f"{given.data}, {' '.join(given.rest)}; n = {given.seeds} seeds, {machine()}, {minutes:.1f} min\n")
    heads = [f"tune, {one} trials" if one.isdigit() else one for one in fusions]
    print(f"| accuracy | {' | '.join(heads)} |\n{'|---' * (len(fusions) + 1)}|")
    for pattern in found[fusions[0]][0]:
        print(f"| {pattern} | {' | '.join(cell([one[pattern] for one in found[each]]) for each in fusions)} |")


if __name__ == "__main__":
    main()
