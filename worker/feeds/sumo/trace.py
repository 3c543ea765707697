"""What a simulated junction leaves behind: every vehicle, loop and radar of every step, and what was true."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LABELS = ("free_flow", "congestion", "accident", "emergency")
ARMS = ("n", "e", "s", "w")
STEP_SECONDS = 0.2
CENTRE = (150.0, 150.0)
# Half of what the camera sees, in metres across and up.
VIEW = (64.0, 48.0)
# Kinds of vehicles: below these, the colour of a car.
TRUCK, EMERGENCY = 100, 101


class Row(NamedTuple):
    """A vehicle in a step: the middle of its front bumper and its size in metres, its heading in radians clockwise from
    north, metres a second."""

    x: float
    y: float
    heading: float
    length: float
    width: float
    speed: float
    kind: int
    crashed: bool


@dataclass(frozen=True, slots=True)
class Trace:
    """Steps of STEP_SECONDS.

    Attributes:
        rows: [M, 8], the vehicles of all steps; columns as in Row.
        first: [S + 1], where each step's rows begin.
        loops: [S, 4, 2], per arm: vehicles, and per cent of the step that a loop was occupied.
        radar: [S, 4], mean speed on each arm, metres a second, NaN for nobody.
        labels: [S], numbers of LABELS.
    """

    rows: NDArray[np.float32]
    first: NDArray[np.int64]
    loops: NDArray[np.float32]
    radar: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def vehicles(self, step: int) -> list[Row]:
        """Those of a step."""
        return [
            Row._make([*row[:6], int(row[6]), bool(row[7])])
            for row in self.rows[self.first[step] : self.first[step + 1]]
        ]

    def label(self, step: int) -> str:
        """What is true of a step."""
        return LABELS[self.labels[step]]

    def save(self, path: Path) -> None:
        """Writes it."""
        with path.open("wb") as file:
            np.savez_compressed(
                file, rows=self.rows, first=self.first, loops=self.loops, radar=self.radar, labels=self.labels
            )

    @staticmethod
    def load(path: Path) -> Trace:
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as held:
            return Trace(held["rows"], held["first"], held["loops"], held["radar"], held["labels"])


class Recorder:
    """Gathers steps."""

    def __init__(self) -> None:
        self._rows = [np.zeros((0, len(Row._fields)), np.float32)]
        self._first = [0]
        self._loops: list[list[tuple[float, float]]] = []
        self._radar: list[list[float]] = []
        self._labels: list[int] = []

    def add(self, rows: list[Row], loops: list[tuple[float, float]], radar: list[float], label: int) -> None:
        """One step."""
        self._rows.append(np.array(rows, np.float32).reshape(-1, len(Row._fields)))
        self._first.append(self._first[-1] + len(rows))
        self._loops.append(loops)
        self._radar.append(radar)
        self._labels.append(label)

    def trace(self) -> Trace:
        """What was gathered."""
        return Trace(
            np.concatenate(self._rows), np.array(self._first, np.int64),
            np.array(self._loops, np.float32).reshape(-1, len(ARMS), 2),
            np.array(self._radar, np.float32).reshape(-1, len(ARMS)), np.array(self._labels, np.int64),
        )  # fmt: skip
