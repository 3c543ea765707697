"""What was measured -> PNG files: curves, confusion, reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from worker.training.evaluate import Measured

_MOST_NUMBERED = 20  # Labels up to which a cell has room for its number.


def draw_curves(history: Sequence[dict[str, float]], judge: str, path: Path) -> None:
    """Loss, and what dev is judged by (`judge` in words), by epoch."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    epochs = range(1, len(history) + 1)
    left.plot(epochs, [point["loss"] for point in history], "o-", color="tab:blue")
    right.plot(epochs, [point["judged"] for point in history], "s-", color="tab:orange")
    left.set(xlabel="epoch", xticks=list(epochs))
    left.set_ylabel("training loss", color="tab:blue")
    right.set_ylabel(f"dev {judge}", color="tab:orange")
    figure.savefig(path, dpi=120)


def draw_trials(trials: Sequence[tuple[int, float | None, Mapping[str, Any]]], path: Path) -> None:
    """The value of each trial, by its number and by each setting that was searched."""
    done = [(number, value, params) for number, value, params in trials if value is not None and params]
    names = ["trial", *(done[0][2] if done else {})]
    figure = Figure(figsize=(3 * len(names), 3), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), sharey=True, squeeze=False)[0], names, strict=True):
        axes.scatter(
            [number if name == "trial" else params[name] for number, _, params in done], [v for _, v, _ in done]
        )
        axes.set_xlabel(name.replace("_", " "))
        axes.tick_params(axis="x", rotation=45)
    figure.savefig(path, dpi=120)


def draw_confusion(measured: Measured, path: Path) -> None:
    """Truth by row, verdict by column."""
    counts = measured.confusion
    side = 2.5 + 0.5 * len(counts)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(counts, cmap="Blues")
    ticks = range(len(counts))
    axes.set_xticks(ticks, measured.names, rotation=45, ha="right")
    axes.set_yticks(ticks, measured.names)
    axes.set(xlabel="verdict", ylabel="truth")
    if len(counts) <= _MOST_NUMBERED:
        for row, column in ((row, column) for row in ticks for column in ticks):
            dark = counts[row, column] > counts.max() / 2
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color="w" if dark else "k")
    figure.savefig(path, dpi=120)


def draw_ranking(measured: Measured, path: Path) -> None:
    """Each label against the rest: found by false alarms (ROC), and precision by found; labels without both are not."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, name in enumerate(measured.names[:_MOST_NUMBERED]):
        has, scores = measured.truth == number, measured.scores[:, number]
        if 0 < has.sum() < len(has):
            false, found, _ = roc_curve(has, scores)
            left.plot(false, found, linewidth=1, label=name)
            precision, recall, _ = precision_recall_curve(has, scores)
            right.step(recall, precision, where="post", linewidth=1)
    left.plot([0, 1], [0, 1], ":", color="grey")
    left.set(xlabel="false alarms", ylabel="found", title="ROC")
    right.set(xlabel="found", ylabel="precision", ylim=(0, 1.02), title="precision and recall")
    figure.legend(loc="outside lower center", ncols=4, fontsize="small")
    figure.savefig(path, dpi=120)


def draw_reliability(measured: Measured, path: Path) -> None:
    """How often a verdict is right, by its score; the size is the share of the samples."""
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    told, right, share = zip(*measured.reliability(), strict=True)
    axes.plot([0, 1], [0, 1], ":", color="grey")
    axes.plot(told, right, "-", color="tab:blue", linewidth=1)
    axes.scatter(told, right, s=[20 + 400 * part for part in share], color="tab:blue")
    axes.set(
        xlabel="score", ylabel="right", xlim=(0, 1.02), ylim=(0, 1.02),
        title=f"ECE {measured.calibration_error:.3f}, temperature {np.mean(measured.temperature):.2f}",
    )  # fmt: skip
    figure.savefig(path, dpi=120)
