"""Train and dev split -> what a model knows of its own verdicts: conformal sets, and how familiar its inputs are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf_shrinkage
from torch import Tensor

from worker.model.calibration import Temperatures, set_of
from worker.model.confidence import PLACES, Knowledge, Known, Space, strangest, views_of
from worker.model.config import FusionConfig
from worker.model.evidence import scores_of
from worker.model.fusion_model import FusionModel, FusionOutput
from worker.model.items import Item, collate, on_device
from worker.training.data import Samples, batches
from worker.training.presence import ALL, Presence, patterns

# Of 60 texts off topic, asked of reports about a junction on MiniLM at a false alarm rate of 5 %, 16 found 88 %, 32
# 97 %, 64 98 %; the more, the oftener it is the wording alone that is strange.
_DIRECTIONS = 32
_MOST_TRAIN, _MOST_DEV = 2000, 2000  # Samples that are looked at.
_FEWEST = 50  # Dev samples with fewer of a set of inputs go by the general figures.
GENERAL = -1  # No set of inputs: of samples as they come.
_LEAST_SPREAD = 1e-6
_STRANGE = 0.05  # Of known items about so many are as strange as 1 and more: each view a like share (Bonferroni).
_AT_ONCE = 32

Batches = Iterable[tuple[dict[str, Any], Tensor]]
Labelled = Sequence[tuple[Item, int]]
Ask = Callable[..., FusionOutput]


class Seen(NamedTuple):
    """What a model said of labelled items.

    Attributes:
        views: [V, N, D].
        there: [V, N], False where an item lacks the input.
        scores: [N, K], calibrated.
        truth: [N].
    """

    views: Tensor
    there: Tensor
    scores: NDArray[np.float64]
    truth: NDArray[np.int64]


@torch.inference_mode()
def look(ask: Ask, config: FusionConfig, device: torch.device, given: Batches) -> Seen:
    """Asks the model, of whatever form it is."""
    temperatures, inputs = Temperatures(config), range(len(config.inputs))
    found: list[tuple[Tensor, ...]] = []
    for arguments, truth in given:
        out = ask(**on_device(arguments, device))
        owners = [set(one.tolist()) for one in arguments["item_of"]]
        there = torch.tensor([[True, *(n in owners[m] for m in inputs)] for n in range(len(truth))])
        sets = [set_of(m for m in inputs if row[m + 1]) for row in there.tolist()]
        scores = scores_of(out.logits, torch.tensor([[temperatures.of(one)] for one in sets]))
        found.append((views_of(out).cpu(), there.T, scores.double().cpu(), truth))
    seen, had, told, labels = ([one[n] for one in found] for n in range(4))
    return Seen(torch.cat(seen, 1), torch.cat(had, 1), torch.cat(told).numpy(), torch.cat(labels).numpy())


def shown_of(config: FusionConfig) -> dict[int, Presence]:
    """Each set of inputs that is fitted by itself; the first is of samples as they come."""
    found = patterns([str(n) for n in range(len(config.inputs))]).values()
    return {GENERAL: ALL} | {set_of(one.shown or ()): one for one in found}


def fit_knowledge(
    model: FusionModel, train: Samples, dev: Samples, level: float, batch: int, seed: int, step: Callable[[], object]
) -> Knowledge:
    """Fits the space on the train split and the rest on dev; `step` is called after each of the sets of both."""
    model.eval()
    everything = tuple(range(len(model.config.inputs)))

    def seen(samples: Samples, most: int) -> dict[int, Seen]:
        found: dict[int, Seen] = {}
        for inputs, presence in shown_of(model.config).items():
            chosen = samples.having(presence.shown or ()).drawn(most, seed)
            if presence.shown == everything and len(samples.having(everything)) == len(samples):
                found[inputs] = found[GENERAL]
            elif len(chosen):
                asked = batches(chosen, batch, presence, seed=0, shuffle=False)
                found[inputs] = look(model, model.config, model.device, asked)
            step()
        return found

    held = seen(dev, _MOST_DEV)
    space, fused = fit_space(seen(train, _MOST_TRAIN), [*held]), not model.config.early_views
    return fit_known(space, [*held], held, level, fused=fused).to(model.device)


def fit_again(ask: Ask, config: FusionConfig, known: Knowledge, dev: Labelled) -> Knowledge:
    """Of a model in another form: the same space, and what its own answers on the dev split show there."""
    sets = [*known.known]
    return fit_known(known.space, sets, look_at_items(ask, config, sets, dev), known.level, fused=known.fused)


def look_at_items(ask: Ask, config: FusionConfig, sets: Sequence[int], items: Labelled) -> dict[int, Seen]:
    """What a model on the CPU says of items shown each of these sets of inputs, where two or more have it."""
    held = {}
    for inputs in sets:
        wanted = {n for n in range(len(config.inputs)) if inputs >> n & 1} if inputs != GENERAL else set()
        chosen = [(i.only([*wanted]) if wanted else i, n) for i, n in items if wanted <= set(i.present)]
        if len(chosen) > 1:
            held[inputs] = look(ask, config, torch.device("cpu"), _batches(chosen, config))
    return held


def _batches(labelled: Labelled, config: FusionConfig) -> Batches:
    """Of two or more: a graph takes no single one."""
    portions = -(-len(labelled) // _AT_ONCE)
    for number in range(portions):
        items, labels = zip(*labelled[number::portions], strict=True)
        yield collate(items, config), torch.tensor(labels)


def fit_space(seen: dict[int, Seen], sets: Sequence[int]) -> Space:
    """The means of these sets of inputs, and one covariance per view; the first set is the general one."""
    means, bases = [], []
    for view in range(len(seen[GENERAL].views)):
        rows = {inputs: one.views[view, one.there[view]].double() for inputs, one in seen.items()}
        own = {inputs: one.mean(dim=0) for inputs, one in rows.items() if len(one)}
        nothing = seen[GENERAL].views.new_zeros(seen[GENERAL].views.shape[2]).double()
        means.append(torch.stack([own.get(one, own.get(GENERAL, nothing)) for one in sets]))
        centred = torch.cat([nothing[None], *(rows[inputs] - mean for inputs, mean in own.items())])
        bases.append(_basis(centred))
    return Space(torch.stack(means).float(), torch.stack(bases).half().float())


def _basis(centred: Tensor) -> Tensor:
    """As Space has it, [D, R], under a covariance that is shrunk towards a sphere (Ledoit and Wolf, 2004)."""
    dim = centred.shape[1]
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    shrunk = float(ledoit_wolf_shrinkage(centred.numpy(), assume_centered=True))
    values = (1 - shrunk) * values + shrunk * values.mean()
    kept = min(_DIRECTIONS, dim - 1)
    other = values[: dim - kept].mean()
    long = (1 - other / values[dim - kept :].clamp_min(1e-30)).clamp_min(0.0).sqrt()
    basis: Tensor = vectors[:, dim - kept :] * long
    return basis


def fit_known(
    space: Space, sets: Sequence[int], held: dict[int, Seen], level: float, *, fused: bool = True
) -> Knowledge:
    """What the dev split shows in this space, whose means are of these `sets`; one with too few samples is left out.
    `fused`: F is looked at."""
    kept = [row for row, one in enumerate(sets) if one == GENERAL or (one in held and len(held[one].truth) >= _FEWEST)]
    space = Space(space.mean[:, kept], space.basis)
    held = {one: seen if fused and one != GENERAL else _without_fused(seen) for one, seen in held.items()}
    known = {sets[row]: _known(space, place, held[sets[row]], level) for place, row in enumerate(kept)}
    return Knowledge(space, known, level, fused=fused)


def _without_fused(seen: Seen) -> Seen:
    there = seen.there.clone()
    there[0] = False
    return seen._replace(there=there)


def _known(space: Space, row: int, seen: Seen, level: float) -> Known:
    apart = space.apart(seen.views, torch.full((len(seen.truth),), row))
    middle, spread = [], []
    far = 1 - _STRANGE / max(1, int(seen.there.any(dim=1).sum()))
    for one, there in zip(apart, seen.there, strict=True):
        known = one[there].double() if there.any() else torch.zeros(1, dtype=torch.float64)
        middle.append(float(known.quantile(0.5)))
        spread.append(max(float(known.quantile(far)) - middle[-1], _LEAST_SPREAD))
    strange = strangest(apart, torch.tensor(middle)[:, None], torch.tensor(spread)[:, None], ~seen.there)
    least = least_score(seen.scores[np.arange(len(seen.truth)), seen.truth], level)
    return Known(middle, spread, sorted(round(one, PLACES) for one in strange.tolist()), least)


def least_score(right: NDArray[np.float64], level: float) -> float:
    """The score down to which labels are in the set, by the scores of N right labels (split conformal).

    The next right label's score is below the k-th highest of N with a chance of 1 - k / (N + 1) at most.
    Source: Sadinle, Lei, Wasserman, Least ambiguous set-valued classifiers (2019).
    """
    needed = math.ceil((len(right) + 1) * level)
    return float(np.sort(right)[::-1][needed - 1]) if needed <= len(right) else 0.0
