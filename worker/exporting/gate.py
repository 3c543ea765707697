"""What an exported model says beside its original, under every presence pattern -> whether it may go in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from worker.errors import Fatal
from worker.model.items import Item
from worker.model.runtime import runtime_of
from worker.model.served import Served
from worker.records import Verdict
from worker.training.evaluate import Measured, labels_of
from worker.training.head_measures import FIGURES, HeadMeasured
from worker.training.intervals import One, paired
from worker.training.presence import Presence

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


Asked = Mapping[str, tuple[Sequence[int], Sequence[Verdict]]]


def asked_of(model: Served, labelled: Labelled, shown: Mapping[str, Presence]) -> Asked:
    """What a worker would publish, per presence pattern of the samples that have its inputs, with the places of these;
    none without samples."""
    asked = runtime_of(model)
    found = {}
    for name, presence in shown.items():
        wanted = set(presence.shown or ())
        places = [place for place, (item, _) in enumerate(labelled) if wanted <= set(item.present)]
        items = [labelled[place][0].only(presence.shown or ()) for place in places]
        told = [one for n in range(0, len(items), _AT_ONCE) for one in asked.infer(items[n : n + _AT_ONCE])]
        if places:
            found[name] = (places, told)
    return found


def measured_of(model: Served, labelled: Labelled, asked: Asked) -> dict[str, Measured]:
    """How well the label does, per presence pattern."""
    labels, found = labels_of(model.config), {}
    for name, (places, told) in asked.items():
        scores = np.array([[one.scores[label] for label in labels] for one in told])
        truth = np.array([labelled[place][1] for place in places])
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
            _compare(kind, split, name, said, one, after[name], figure, most_rise if said == _RISES else most_drop)


def refuse_a_fall_of_heads(
    kind: str, split: str, before: Mapping[str, Sequence[HeadMeasured]], after: Mapping[str, Sequence[HeadMeasured]],
    most_drop: float,
) -> None:  # fmt: skip
    """Lets pass what does as well as its original in every further head: under each presence pattern accuracy or exact
    share, macro-F1, and of a number R2 and the share in its band may not surely fall by more than `most_drop`.

    Raises:
        Fatal: names the split, the pattern, the head, the figure and the limit.
    """
    for name, heads in before.items():
        for one, other in zip(heads, after[name], strict=True):
            for said, figure in FIGURES[one.head.kind].items():
                if len(one.truth):
                    what = f"{said} of {one.head.name} falls"
                    _compare(kind, split, name, what, one, other, figure, most_drop)


def _compare(
    kind: str, split: str, name: str, said: str, one: One, other: One, figure: Callable[[One], float],
    most: float,
) -> None:  # fmt: skip
    if figure(one) - figure(other) <= most:
        return
    low, high = paired(one, other, figure)
    if low > most:
        _refuse(
            kind, split, name, said, (abs(figure(one)), abs(figure(other))), f" (95 %: {low:.4f} to {high:.4f})", most
        )


def _refuse(
    kind: str, split: str, name: str, said: str, figures: tuple[float, float], interval: str, most: float
) -> None:
    option = "--max-ece-rise" if said == _RISES else "--max-drop"
    before, after = figures
    raise Fatal(
        f"--to {kind}: {said} from {before:.4f} to {after:.4f} on {split} ({name}), by {abs(before - after):.4f}"
        f"{interval}, more than {option} {most:g}; nothing was written"
    )
