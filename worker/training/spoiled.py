"""What a model makes of spoiled and of adversarial inputs, beside the same samples as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from rich.console import Console

from worker.model.confidence import Knowledge
from worker.model.fusion_model import FusionModel
from worker.training.adversarial import LEVELS, impossible, step_of
from worker.training.data import Samples
from worker.training.evaluate import Measured, measure
from worker.training.intervals import paired_shares
from worker.training.learn import progress
from worker.training.presence import ALL
from worker.training.robust import STRENGTHS, Change, change_of, kinds
from worker.training.tables import aligned

TOGETHER = "together"
FGSM = "adversarial step"
_WORDS = ("weak", "middle", "strong")
_NO_PROBE = "adversarial step of the image: not possible, {reason}"


@dataclass(frozen=True, slots=True)
class Spoiled:
    """One way of spoiling, of one strength.

    Attributes:
        modality: that is touched; of all kinds together `all`.
        plain, spoiled: the same samples, as they are and spoiled.
    """

    modality: str
    name: str
    strength: str
    plain: Measured
    spoiled: Measured

    @property
    def fall(self) -> tuple[float, float, float]:
        """By how much the accuracy falls, with its paired 95 % interval."""
        before, after = (one.said == one.truth for one in (self.plain, self.spoiled))
        return float(before.mean() - after.mean()), *paired_shares(before, after)


@dataclass(frozen=True, slots=True)
class Asked:
    """A model and the samples that it is asked; `plain` is what it makes of them as they are."""

    model: FusionModel
    samples: Samples
    plain: Measured
    knowledge: Knowledge | None
    batch: int
    seed: int

    def of(self, modality: str | None) -> tuple[Samples, Measured]:
        """Those that have an input of a modality; None: all."""
        if modality is None:
            return self.samples, self.plain
        samples = self.samples
        names = {name for name, own in zip(samples.names, samples.config.inputs, strict=True) if own == modality}
        numbers = [number for number, one in enumerate(samples.rows) if names & one.bodies.keys()]
        return samples.picked(numbers), self.plain.picked(np.array(numbers, int))


def spoiled_by_kind(asked: Asked, console: Console, strengths: Sequence[int] = STRENGTHS) -> list[Spoiled]:
    """Each kind that touches the model's inputs, and all of them together, at each strength."""
    known = kinds(asked.model.config)
    ways: list[tuple[str, str, str, Change, str | None]] = [
        (kind.modality, kind.name, kind.told(n), change_of([kind], n), kind.modality)
        for kind in known
        for n in strengths
    ]
    ways += [("all", TOGETHER, _WORDS[n], change_of(known, n), None) for n in strengths]
    made = []
    with progress(console, "spoiled", len(ways)) as step:
        for modality, name, strength, change, touched in ways:
            samples, plain = asked.of(touched)
            step(f"{modality} {name} {strength}", 1)
            if len(samples):
                changed = samples.changed(change, asked.seed)
                found = measure(asked.model, changed, asked.batch, ALL, knowledge=asked.knowledge)
                made.append(Spoiled(modality, name, strength, plain, found))
    return made


def probed(asked: Asked, console: Console) -> list[Spoiled] | str:
    """One adversarial step of the images at each size; or why there is none."""
    if (reason := impossible(asked.model)) is not None:
        return reason
    samples, plain = asked.of("image")
    if not len(samples):
        return "no sample has an image"
    made = []
    with progress(console, "adversarial", len(LEVELS)) as step:
        for levels in LEVELS:
            alter = partial(step_of, asked.model, levels=levels)
            pixels = samples.as_pixels()
            found = measure(asked.model, pixels, asked.batch, ALL, knowledge=asked.knowledge, alter=alter)
            made.append(Spoiled("image", FGSM, f"{levels}/255", plain, found))
            step(f"{levels}/255", 1)
    return made


def spoiled_rows(found: Sequence[Spoiled], probe: Sequence[Spoiled] | str | None) -> list[str]:
    """A line per way and strength below a head; of a probe that is not possible the reason."""
    told = [*found, *(probe if not isinstance(probe, str) and probe is not None else [])]
    table = [["", "as it is", "spoiled", "falls by points, 95 %", "not familiar", "n"]] if told else []
    for one in told:
        fall, low, high = (100 * value for value in one.fall)
        table.append([
            f"{one.modality} {one.name} {one.strength}", f"{one.plain.accuracy:.3f}", f"{one.spoiled.accuracy:.3f}",
            f"{fall:.1f}, {low:.1f} to {high:.1f}", _strange(one), str(len(one.plain.truth)),
        ])  # fmt: skip
    return [*aligned(table), *([_NO_PROBE.format(reason=probe)] if isinstance(probe, str) else [])]


def _strange(one: Spoiled) -> str:
    before, after = one.plain.strange, one.spoiled.strange
    return "-" if before is None or after is None else f"{before.mean():.3f} -> {after.mean():.3f}"
