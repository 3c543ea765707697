"""FusionOutput -> per item the chain from its inputs to its label: what each says alone, together, and without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from worker.model.config import FusionConfig
from worker.model.encoders import MAP_SIDE
from worker.model.fusion_model import FusionOutput
from worker.model.items import Item

# Told per input: more would be a heat map, which `fusion-worker explain` draws.
MOST_PLACES = 3
_PLACES = 4  # Digits after the point, as of the scores.


def asked(out: FusionOutput, calibration: float) -> list[Tensor]:
    """What `evidence_of` tells from, beside the scores: [B, ...] each, on the model's device."""
    alone, without = scores_of(out.alone, calibration), scores_of(out.without, calibration)
    totals = torch.stack([one.float().sum(dim=1) for one in out.weights], dim=1)
    heaviest = [one.float().topk(min(MOST_PLACES, one.shape[1]), dim=1) for one in out.weights]
    return [alone, without, totals, *(part for top in heaviest for part in top)]


def scores_of(logits: Tensor, calibration: float) -> Tensor:
    """The calibrated scores of logits, [..., K]."""
    return (logits.float() / calibration).softmax(dim=-1)


def evidence_of(
    scores: Sequence[Sequence[float]],
    answers: Sequence[Tensor],
    items: Sequence[Item],
    config: FusionConfig,
    names: Sequence[str],
    tokens: Callable[[Tensor], list[str]],
) -> list[dict[str, Any]]:
    """One per item, as schemas.result.Evidence tells it.

    Args:
        scores: of these items, in this order.
        answers: what `asked` gave of them, in memory.
        names: of the inputs: the stream that feeds each.
        tokens: the pieces behind token ids.
    """
    alone, without, totals, *heaviest = (one.tolist() for one in answers)
    places = list(zip(heaviest[::2], heaviest[1::2], strict=True))
    # Asked of the configuration each time, the labels would be half of what telling costs.
    labels = [config.id2label[number] for number in range(config.num_labels)]
    return [
        _evidence(item, config.inputs, labels, names, tokens, scores[n], alone[n], without[n], totals[n],
                  [(values[n], indices[n]) for values, indices in places])
        for n, item in enumerate(items)
    ]  # fmt: skip


def _evidence(
    item: Item,
    modalities: Sequence[str],
    labels: Sequence[str],
    names: Sequence[str],
    tokens: Callable[[Tensor], list[str]],
    together: Sequence[float],
    alone: Sequence[Sequence[float]],
    without: Sequence[Sequence[float]],
    totals: Sequence[float],
    places: Sequence[tuple[list[float], list[float]]],
) -> dict[str, Any]:
    label = _label(together, labels)
    present = item.present
    said = {names[n]: _said(alone[n], labels) for n in present}
    others = {names[n]: _said(without[n], labels) for n in present} if len(present) > 1 else {}
    best = sorted(together, reverse=True)
    return {
        "confidence": round(best[0], _PLACES),
        "margin": round(best[0] - best[1], _PLACES) if len(best) > 1 else round(best[0], _PLACES),
        "alone": said,
        "without": others,
        "agree": all(one["label"] == label for one in said.values()),
        "flips": [name for name, one in others.items() if one["label"] != label],
        "weights": {names[n]: round(totals[n], _PLACES) for n in present},
        "places": {names[n]: _told(item.bodies[n], modalities[n], tokens, places[n]) for n in present},
    }


def _label(scores: Sequence[float], labels: Sequence[str]) -> str:
    return labels[scores.index(max(scores))]


def _said(scores: Sequence[float], labels: Sequence[str]) -> dict[str, Any]:
    return {"label": _label(scores, labels), "score": round(max(scores), _PLACES)}


def _told(
    bodies: Sequence[Tensor], modality: str, tokens: Callable[[Tensor], list[str]],
    heaviest: tuple[list[float], list[float]],
) -> list[dict[str, Any]]:  # fmt: skip
    pieces = tokens(bodies[0]) if modality == "text" else []
    told = []
    for weight, number in zip(*heaviest, strict=True):
        if weight <= 0:
            continue
        index = int(number)
        if modality == "image":
            place: dict[str, Any] = {"row": index // MAP_SIDE, "column": index % MAP_SIDE}
        elif modality == "text":
            place = {"token": pieces[index]}
        else:
            place = {"step": index}
        told.append({**place, "weight": round(weight, _PLACES)})
    return told
