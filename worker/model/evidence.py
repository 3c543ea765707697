"""FusionOutput -> per item the chain from its inputs to its label: what each says alone, together, without and adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from worker.model.backbones import MAP_SIDE
from worker.model.calibration import Temperatures
from worker.model.config import FusionConfig
from worker.model.fusion_model import FusionOutput
from worker.model.items import Item
from worker.model.shapley import shapley

# Told per input: more would be a heat map, which `fusion-worker explain` draws.
MOST_PLACES = 3
MOST_INPUTS = 8  # Every further one doubles the sets of inputs that are asked.
# Labels whose scores are so near the highest are left open. A dev split's calibration error is of this size.
CLOSE = 0.05
_PLACES = 4  # Digits after the point, as of the scores.


def asked(out: FusionOutput, items: Sequence[Item], temperatures: Temperatures, inputs: Sequence[str]) -> list[Tensor]:
    """What `evidence_of` tells from, beside the scores: [B, ...] each, on the model's device.

    Args:
        inputs: modality of each input. Of a text every token's weight is wanted: a word is as heavy as its pieces.
    """
    heaviest = [
        one.float().topk(one.shape[1] if modality == "text" else min(MOST_PLACES, one.shape[1]), dim=1)
        for one, modality in zip(out.weights, inputs, strict=True)
    ]
    chosen = temperatures.of_items(items, range(out.coalitions.shape[1]))
    return [scores_of(out.coalitions, chosen), *(part for top in heaviest for part in top)]


def scores_of(logits: Tensor, temperatures: Tensor) -> Tensor:
    """The calibrated scores of logits, [..., K]; `temperatures` [..., 1]."""
    return (logits.float() / temperatures.to(logits.device, non_blocking=True)).softmax(dim=-1)


def evidence_of(
    scores: Sequence[Sequence[float]],
    answers: Sequence[Tensor],
    items: Sequence[Item],
    config: FusionConfig,
    names: Sequence[str],
    words: Callable[[Tensor], list[tuple[str, list[int]]]],
) -> list[dict[str, Any]]:
    """One per item, as schemas.result.Evidence tells it.

    Args:
        scores: of these items, in this order.
        answers: what `asked` gave of them, in memory.
        names: of the inputs: the stream that feeds each.
        words: behind token ids, each with the places of its pieces.
    """
    coalitions, *heaviest = (one.tolist() for one in answers)
    places = list(zip(heaviest[::2], heaviest[1::2], strict=True))
    # Asked of the configuration each time, the labels would be half of what telling costs.
    labels = [config.id2label[number] for number in range(config.num_labels)]
    told = []
    for n, item in enumerate(items):
        at = {m: _places(item.bodies[m], config.inputs[m], words, values[n], where[n])
              for m, (values, where) in enumerate(places) if item.bodies[m]}  # fmt: skip
        told.append(_evidence(item.present, labels, names, scores[n], coalitions[n], at))
    return told


def _evidence(
    present: Sequence[int],
    labels: Sequence[str],
    names: Sequence[str],
    together: Sequence[float],
    coalitions: Sequence[Sequence[float]],
    places: dict[int, list[dict[str, Any]]],
) -> dict[str, Any]:
    all_of_them = sum(1 << n for n in present)
    label, number = _label(together, labels), together.index(max(together))
    said = {names[n]: _said(coalitions[1 << n], labels) for n in present}
    others = {names[n]: _said(coalitions[all_of_them & ~(1 << n)], labels) for n in present} if len(present) > 1 else {}
    best = sorted(together, reverse=True)
    added = shapley([one[number] for one in coalitions], tuple(present))
    return {
        "confidence": round(best[0], _PLACES),
        "margin": round(best[0] - best[1], _PLACES) if len(best) > 1 else round(best[0], _PLACES),
        "undecided": _undecided(together, labels),
        "alone": said,
        "without": others,
        "agree": all(one["label"] == label for one in said.values()),
        "flips": [name for name, one in others.items() if one["label"] != label],
        "base": round(coalitions[0][number], _PLACES),
        "adds": {names[n]: round(one, _PLACES) for n, one in zip(present, added, strict=True)},
        "places": {names[n]: places[n] for n in present},
    }


def _label(scores: Sequence[float], labels: Sequence[str]) -> str:
    return labels[scores.index(max(scores))]


def _said(scores: Sequence[float], labels: Sequence[str]) -> dict[str, Any]:
    return {"label": _label(scores, labels), "score": round(max(scores), _PLACES)}


def _undecided(scores: Sequence[float], labels: Sequence[str]) -> list[str]:
    """The labels that are left open, the likeliest first; none where one is clear."""
    near = [number for number, score in enumerate(scores) if max(scores) - score < CLOSE]
    near.sort(key=lambda number: -scores[number])
    return [labels[number] for number in near] if len(near) > 1 else []


def _places(
    bodies: Sequence[Tensor],
    modality: str,
    words: Callable[[Tensor], list[tuple[str, list[int]]]],
    weights: list[float],
    where: list[float],
) -> list[dict[str, Any]]:
    """The heaviest first."""
    shares = {int(number): weight for weight, number in zip(weights, where, strict=True) if weight > 0}
    if modality == "text":
        weighed = ((word, sum(shares.get(place, 0.0) for place in places)) for word, places in words(bodies[0]))
        heaviest = sorted((one for one in weighed if one[1] > 0), key=lambda one: -one[1])[:MOST_PLACES]
        return [{"token": word, "weight": round(weight, _PLACES)} for word, weight in heaviest]
    return [{**_cell(modality, at), "weight": round(weight, _PLACES)} for at, weight in shares.items()]


def _cell(modality: str, at: int) -> dict[str, int]:
    return {"row": at // MAP_SIDE, "column": at % MAP_SIDE} if modality == "image" else {"step": at}
