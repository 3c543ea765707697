"""What an exported model says beside its original, under every presence pattern -> whether it may go in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from worker.errors import Fatal
from worker.model.items import Item
from worker.model.runtime import runtime_of
from worker.model.served import Served
from worker.training.data import Presence
from worker.training.evaluate import Measured, labels_of
from worker.training.intervals import paired

_AT_ONCE = 32
_LEAST_SCORE = 1e-6

_RISES = "calibration error rises"
# Each is better the higher it is.
_FIGURES: dict[str, Callable[[Measured], float]] = {
    "accuracy falls": lambda measured: measured.accuracy,
    "macro-F1 falls": lambda measured: measured.macro_f1,
    _RISES: lambda measured: -measured.calibration_error,
}

Labelled = Sequence[tuple[Item, int]]


def measured_of(model: Served, labelled: Labelled, shown: Mapping[str, Presence]) -> dict[str, Measured]:
    """What a worker would publish, per presence pattern of the samples that have its inputs; none without samples."""
    asked, labels = runtime_of(model), labels_of(model.config)
    found = {}
    for name, presence in shown.items():
        wanted = set(presence.shown or ())
        chosen = [(item.only(presence.shown or ()), n) for item, n in labelled if wanted <= set(item.present)]
        items = [item for item, _ in chosen]
        told = [v.scores for n in range(0, len(items), _AT_ONCE) for v in asked.infer(items[n : n + _AT_ONCE])]
        if chosen:
            scores = np.array([[one[label] for label in labels] for one in told])
            truth = np.array([number for _, number in chosen])
            found[name] = Measured(np.log(np.maximum(scores, _LEAST_SCORE)), truth, 1.0, labels)
    return found


def refuse_a_fall(
    kind: str, split: str, before: Mapping[str, Measured], after: Mapping[str, Measured], most_drop: float,
    most_rise: float,
) -> None:  # fmt: skip
    """Lets pass what does as well as its original.

    With all inputs the accuracy may fall by `most_drop`. Under each presence pattern accuracy and macro-F1 may not
    surely fall by more, nor the calibration error surely rise by more than `most_rise`: with the whole 95 % interval,
    since of an input that leaves labels open a few verdicts change sides by chance.

    Raises:
        Fatal: names the split, the pattern, the figure and the limit.
    """
    whole = next(iter(before))
    fall = before[whole].accuracy - after[whole].accuracy
    # Beyond the last digit of a float: a fall of exactly the limit is let in.
    if fall > most_drop + 1e-9:
        _refuse(kind, split, whole, "accuracy falls", (before[whole].accuracy, after[whole].accuracy), "", most_drop)
    for name, one in before.items():
        for said, figure in _FIGURES.items():
            most = most_rise if said == _RISES else most_drop
            if figure(one) - figure(after[name]) <= most:
                continue
            low, high = paired(one, after[name], figure)
            if low > most:
                figures = (abs(figure(one)), abs(figure(after[name])))
                _refuse(kind, split, name, said, figures, f" (95 %: {low:.4f} to {high:.4f})", most)


def _refuse(
    kind: str, split: str, name: str, said: str, figures: tuple[float, float], interval: str, most: float
) -> None:
    option = "--max-ece-rise" if said == _RISES else "--max-drop"
    before, after = figures
    raise Fatal(
        f"--to {kind}: {said} from {before:.4f} to {after:.4f} on {split} ({name}), by {abs(before - after):.4f}"
        f"{interval}, more than {option} {most:g}; nothing was written"
    )
