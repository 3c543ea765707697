"""A model shown what other models take, beside these on the same samples -> a table each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from worker.model.folder import called
from worker.model.load import device_of, load
from worker.model.preprocess import Preprocessor
from worker.model.sums import verified
from worker.training.data import Samples
from worker.training.evaluate import Measured, labels_of, measure
from worker.training.intervals import paired
from worker.training.presence import Presence
from worker.training.sources import Data


def against(
    folders: Sequence[Path], data: Data, split: str, batch: int, device: str, own: Callable[[Sequence[int]], Measured]
) -> list[str]:
    """A head and a line per model in `folders`: its accuracy beside what `own` measures of the model at hand, shown
    the inputs that it takes. The head calls it by its folder, as that was given.

    Both are asked of the same samples, those that have all these inputs; the difference has its paired interval.

    Raises:
        ConfigError: one is no model, or takes what the data does not have.
    """
    rows: list[tuple[str, ...]] = []
    for folder in folders:
        with verified(folder):
            model, tokenizer = load(folder)
        model.to(device_of(device))
        alone = data.fitting(model.config, f"--against {called(folder)}", more=True)
        names = list(alone.inputs)
        samples = Samples(
            alone.splits[split], names, labels_of(model.config), model.config,
            Preprocessor(model.config, tokenizer),
        )  # fmt: skip
        best = measure(model, samples, batch, Presence(tuple(range(len(names)))))
        found = own([number for number, name in enumerate(data.inputs) if name in names])
        shown = "all" if set(names) == set(data.inputs) else f"{', '.join(names)} only"
        rows += [("", "this model", called(folder), "points", "95 %", "n"), (shown, *_compared(found, best))]
    wide, other = (max(len(row[place]) for row in rows) for place in (0, 2))
    return [f"{name:<{wide}}  {a:>10}  {b:>{other}}  {c:>6}  {d:<14}  {n:>5}" for name, a, b, c, d, n in rows]


def _compared(found: Measured, best: Measured) -> tuple[str, str, str, str, str]:
    if not len(found.truth):
        return "-", "-", "-", "", "0"
    low, high = (100 * one for one in paired(found, best, lambda one: one.accuracy))
    points = 100 * (found.accuracy - best.accuracy)
    return (
        f"{found.accuracy:.3f}", f"{best.accuracy:.3f}", f"{points:+.1f}", f"{low:+.1f} to {high:+.1f}",
        str(len(found.truth)),
    )  # fmt: skip
