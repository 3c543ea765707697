"""An item and its verdict -> explanation.json and pictures in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from worker.explain.attribution import EXACT, Attribution, attribute
from worker.explain.deletion import Deletion, deletions
from worker.explain.drawing import caption, draw_bars, draw_deletions, draw_images
from worker.explain.ground import Probe, grounds_of
from worker.model.folder import folder_of
from worker.model.items import Item
from worker.model.load import device_of, for_serving, load
from worker.model.sums import verified
from worker.records import Verdict

STRONGEST = 10
_PLACES = 5


def write_explanation(
    out: Path, path: str | None, device: str, names: Sequence[str], item: Item, verdict: Verdict,
    told: Mapping[str, Any], seed: int, say: Callable[[str], None], trusted_key: str | None = None,
) -> None:  # fmt: skip
    """Attributes the verdict's label, measures how faithful that is, and writes and draws both.

    Args:
        path, device, trusted_key: as `[model]` has them.
        names: of the model's inputs.
        told: what else explanation.json says.
    """
    with verified(folder_of(path), trusted_key):
        model, tokenizer = load(folder_of(path))
    model = for_serving(model, device_of(device), torch.float32)
    grounds = grounds_of(item, model.config, names, tokenizer)
    label = next(number for number, one in model.config.id2label.items() if one == verdict.label)
    probe = Probe(model, grounds, label)
    made = [attribute(model, probe, ground) for ground in grounds]
    curves = deletions(probe, made, seed)
    for found in made:
        say(f"{found.ground.name}: {caption(found)}" + (f" (inexact by {found.gap:.2f})" if found.gap > EXACT else ""))
    for one in curves:
        say(f"deletion of {one.name}: {one.area:.2f} (random {one.random_area:.2f})")
    out.mkdir(parents=True, exist_ok=True)
    files = _draw(made, curves, f"{verdict.label} {verdict.score:.2f}", out)
    body = {
        **told,
        "evidence": verdict.evidence,
        "attributions": {one.ground.name: _told(one) for one in made},
        "deletion": {one.name: _curves(one) for one in curves},
        "method": {"name": "integrated gradients", "of": "the label's probability", "seed": seed},
        "files": files,
    }
    (out / "explanation.json").write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", "utf-8")
    say(f"written to {out}: explanation.json, {', '.join(files)}")


def _draw(made: Sequence[Attribution], curves: Sequence[Deletion], title: str, out: Path) -> list[str]:
    files: list[str] = []
    for one in made:
        if one.ground.names:
            files += (draw_images if one.ground.modality == "image" else draw_bars)(one, title, out)
    return files + (draw_deletions(curves, title, out) if curves else [])


def _told(made: Attribution) -> dict[str, Any]:
    units = made.units
    strongest = units.argsort(descending=True)[:STRONGEST].tolist()
    return {
        "modality": made.ground.modality,
        "sum": round(float(units.sum()), _PLACES),
        "rise": round(made.rise, _PLACES),
        "exact": made.gap <= EXACT,
        "steps": made.steps,
        "gap": round(made.gap, _PLACES),
        "strongest": [[made.ground.names[n], round(float(units[n]), _PLACES)] for n in strongest],
        "units": [[name, round(float(value), _PLACES)] for name, value in zip(made.ground.names, units, strict=True)],
    }


def _curves(made: Deletion) -> dict[str, Any]:
    return {
        "area": round(made.area, _PLACES),
        "random_area": round(made.random_area, _PLACES),
        "hidden": [round(one, _PLACES) for one in made.share],
        "strongest_first": [round(one, _PLACES) for one in made.curve],
        "random_orders": [[round(one, _PLACES) for one in row] for row in made.random],
    }
