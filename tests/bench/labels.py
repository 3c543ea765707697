"""Accuracy by the share of labels, with and without unlabelled rows: `python -m tests.bench.labels -- --dim 32`.

Of the train split a share keeps its labels, each label as often as it was; the rest is `--unlabelled`, its labels taken
away. dev is cut to `--dev` rows, test stays as it is. A run is `fusion-worker train` with what stands after `--`; a
cell is the mean over seeds, with its 95 % interval (Student's t), of the accuracy on test.

With fewer labels there are as many more epochs (`--epochs` of all labels), so that each training has as many steps.
`--parts` adds what each half of it does alone.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import re
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.bench import weak
from tests.bench.seeds import cell
from tests.bench.table import machine
from worker.cli import main as fusion_worker
from worker.training.rows import Sample
from worker.training.sources import read

_ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)
_FIRST = re.compile(r"accuracy  macro F1.*\n\S.*?\s{2,}(\d\.\d{3})  ")
# Of --unlabelled: columns and what makes them.
_WITHOUT = "without"
_WITH = {"with unlabelled": (), "together alone": ("--rounds", "0"), "labels alone": ("--unlabelled-epochs", "0")}


def write(folder: Path, name: str, samples: Sequence[Sample], modalities: dict[str, str], *, labelled: bool) -> None:
    """A split of a training folder, its bodies as files."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, sample in enumerate(samples):
        inputs: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for one, bodies in sample.bodies.items():
            for place, body in enumerate(bodies):
                file = f"{name}-{number}-{one}-{place}"
                (folder / file).write_bytes(body.payload)
                entry = {"file": file, "content_type": body.content_type}
                if body.seconds == body.seconds:  # NaN: not known.
                    entry["time"] = (_ANCHOR + timedelta(seconds=body.seconds)).isoformat()
                inputs[one].append(entry)
        row = {"inputs": inputs, "modalities": modalities, "time": _ANCHOR.isoformat()}
        rows.append(json.dumps({**row, "label": sample.label if labelled else None}))
    (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")


def divided(samples: Sequence[Sample], percent: int) -> tuple[list[Sample], list[Sample]]:
    """Those that keep their labels, `percent` of each label, and the rest."""
    kept, rest, seen = [], [], defaultdict[str, int](int)
    for sample in samples:
        seen[sample.label] += 1
        is_kept = seen[sample.label] * percent // 100 > (seen[sample.label] - 1) * percent // 100
        (kept if is_kept else rest).append(sample)
    return kept, rest


def accuracy(command: list[str]) -> float:
    """Of the first row that `train` prints, on test.

    Raises:
        RuntimeError: the training ended with an error; with what it said.
    """
    with contextlib.redirect_stdout(io.StringIO()) as told:
        code = fusion_worker(command)
    found = _FIRST.search(told.getvalue())
    if code or found is None:
        raise RuntimeError(f"{' '.join(command)} ended with {code}: {told.getvalue()[-1000:]}")
    return float(found[1])


def measured(given: argparse.Namespace, seed: int, percents: Sequence[int], arms: Sequence[str]) -> dict[Any, float]:
    """By share and column, of one seed."""
    found: dict[Any, float] = {}
    with tempfile.TemporaryDirectory() as name:
        at = Path(name)
        source = str(weak.write(at / "weak", seed)) if given.data == "weak" else given.data
        data = read(source, given.samples, seed)
        for percent in percents:
            kept, rest = divided(data.splits["train"][: given.samples], percent)
            folder, more = at / f"data-{percent}", at / f"more-{percent}"
            for split, samples in {**data.splits, "train": kept, "dev": data.splits["dev"][: given.dev]}.items():
                write(folder, split, samples, data.inputs, labelled=True)
            write(more, "unlabelled", rest, data.inputs, labelled=False)
            epochs = str(round(given.epochs * 100 / percent))
            train = ["train", "--data", str(folder), "--seed", str(seed), "--epochs", epochs, *given.rest]
            for arm in arms if rest else arms[:1]:
                how = [] if arm == _WITHOUT else ["--unlabelled", str(more), "--unlabelled-epochs", str(given.epochs)]
                made = [*train, "--out", f"{name}/{percent}-{arm}", *how, *_WITH.get(arm, ())]
                found[percent, arm] = accuracy(made)
                print(f"seed {seed}, {percent} %, {arm}: {found[percent, arm]:.3f}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.labels", description=__doc__)
    parser.add_argument("--data", default="weak", help="weak (tests.bench.weak), or as `train` takes it")
    parser.add_argument("--samples", type=int, default=160, help="rows of train")
    parser.add_argument("--seeds", type=int, default=5, help="2 or more")
    parser.add_argument("--epochs", type=int, default=8, help="with all labels")
    parser.add_argument("--dev", type=int, default=40, help="rows of dev, which have labels whatever the share")
    parser.add_argument("--percent", default="10,25,50,100")
    parser.add_argument("--parts", action="store_true", help="also what each half of it does alone")
    parser.add_argument("rest", nargs="*", help="arguments of `train`, after --")
    given = parser.parse_args()
    began, percents = time.process_time(), [int(one) for one in given.percent.split(",")]
    arms = [_WITHOUT, *([*_WITH] if given.parts else [*_WITH][:1])]
    seeds = [measured(given, seed, percents, arms) for seed in range(given.seeds)]
    minutes = (time.process_time() - began) / 60
    print(f"{given.data}, {' '.join(given.rest)}; n = {given.seeds} seeds, {machine()}, {minutes:.1f} min\n")
    print(*table(seeds, percents, arms), sep="\n")


def table(seeds: Sequence[dict[Any, float]], percents: Sequence[int], arms: Sequence[str]) -> list[str]:
    """Markdown: a row for each share, a cell for each column, and how much each adds to the first, paired by seed."""
    more = [f"{arm} - {arms[0]}, paired by seed" for arm in arms[1:]]
    lines = [f"| labels | {' | '.join([*arms, *more])} |", "|---" * (len(arms) + len(more) + 1) + "|"]
    for percent in percents:
        found = [[one.get((percent, arm), math.nan) for one in seeds] for arm in arms]
        added = [[value - first for value, first in zip(each, found[0], strict=True)] for each in found[1:]]
        cells = ["-" if math.isnan(each[0]) else cell(each) for each in [*found, *added]]
        lines.append(f"| {percent} % | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
