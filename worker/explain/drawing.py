"""Attributions and deletion curves -> PNG files for a person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from worker.explain.attribution import Attribution
from worker.explain.deletion import Deletion
from worker.explain.ground import GRID

# Red speaks for the label, blue against it.
_COLOURS = "RdBu_r"
_FOR, _AGAINST = "#b2182b", "#2166ac"
MOST_BARS = 40
# Below this change of the label's probability there is nothing to be shared out.
LEAST_RISE = 0.05
# Full colour, of probability, at the least: what changes nothing must not look like a strong ground.
LEAST_SCALE = 0.01
_DOTS_PER_INCH = 110


def draw_images(made: Attribution, title: str, folder: Path) -> list[str]:
    """One picture a body: the image as the model sees it, and the same under its heat map. The files' names."""
    files = []
    scale = scale_of(made)
    for number, (pixels, heat) in enumerate(zip(made.ground.value, made.units.view(-1, GRID, GRID), strict=True), 1):
        figure = Figure(figsize=(9.6, 5.0), layout="constrained")
        figure.suptitle(f"{title}\n{made.ground.name} {number}: {caption(made)}")
        image = pixels.permute(1, 2, 0).to(torch.uint8).numpy()
        left, right = figure.subplots(1, 2)
        left.imshow(image)
        right.imshow(image)
        side = image.shape[0]
        shown = right.imshow(
            heat.numpy(), cmap=_COLOURS, vmin=-scale, vmax=scale, interpolation="bilinear",
            extent=(0, side, side, 0), alpha=opacity(heat, scale),
        )  # fmt: skip
        figure.colorbar(shown, ax=right, shrink=0.8, label="change of the label's probability")
        for axes in (left, right):
            axes.set_axis_off()
        files.append(_save(figure, folder / f"{made.ground.name}-{number}.png"))
    return files


def scale_of(made: Attribution) -> float:
    """The change of probability that is painted in full colour."""
    return max(float(made.units.abs().max()), LEAST_SCALE)


def opacity(heat: Tensor, scale: float) -> NDArray[np.float32]:
    """How much of the image each square covers, so that what changes little lets it through."""
    covered: NDArray[np.float32] = np.sqrt(np.abs(heat.numpy()) / scale) * np.float32(0.75)
    return covered


def caption(made: Attribution) -> str:
    """What a picture of it can tell."""
    if abs(made.rise) < LEAST_RISE:
        return f"all of it hidden changes the label by {made.rise:+.3f} only: nothing here explains it"
    return f"red speaks for the label, blue against it, {made.rise:+.2f} together"


def draw_bars(made: Attribution, title: str, folder: Path) -> list[str]:
    """A bar a word, step or moment, in their order; of many the strongest. The file's name."""
    strength = made.units
    kept = sorted(strength.abs().argsort(descending=True)[:MOST_BARS].tolist())
    names, values = [made.ground.names[n] for n in kept], [float(strength[n]) for n in kept]
    figure = Figure(figsize=(7.0, 1.6 + 0.26 * len(kept)), layout="constrained")
    axes = figure.subplots()
    axes.barh(range(len(kept)), values, color=[_FOR if value >= 0 else _AGAINST for value in values])
    # A dollar would begin a formula.
    axes.set_yticks(range(len(kept)), [name.replace("$", r"\$") for name in names])
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("change of the label's probability")
    axes.set_title(f"{title}\n{made.ground.name}: {caption(made)}")
    return [_save(figure, folder / f"{made.ground.name}.png")]


def draw_deletions(made: Sequence[Deletion], title: str, folder: Path) -> list[str]:
    """The curves side by side. The file's name."""
    figure = Figure(figsize=(4.6 * len(made), 4.2), layout="constrained")
    figure.suptitle(title)
    for axes, one in zip(np.ravel(figure.subplots(1, len(made), sharey=True, squeeze=False)), made, strict=True):
        for random in one.random:
            axes.plot(one.share, random, color="grey", alpha=0.35, linewidth=0.9)
        axes.plot([], [], color="grey", label=f"random order {one.random_area:.2f}")
        axes.plot(one.share, one.curve, color=_FOR, linewidth=2, label=f"strongest first {one.area:.2f}")
        axes.set(title=one.name, xlabel="hidden", ylim=(0, 1))
        axes.legend()
    figure.axes[0].set_ylabel("probability of the label")
    return [_save(figure, folder / "deletion.png")]


def _save(figure: Figure, path: Path) -> str:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=_DOTS_PER_INCH)
    return path.name
