"""One junction in SUMO -> a trace: `python -m worker.feeds.sumo.simulate SEED SECONDS FILE`, a process of its own.

libsumo holds one simulation a process, brings an Arrow of its own that does not go well with pyarrow's, and prints.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worker.feeds.sumo.trace import ARMS, CENTRE, EMERGENCY, LABELS, STEP_SECONDS, TRUCK, VIEW, Recorder, Row, Trace

HERE = Path(__file__).parent
_EPISODE_SECONDS = (60.0, 100.0)
# Vehicles a second that want in by each arm; of the many not all get through in a green phase.
_CALM, _HEAVY = 0.05, 0.26
_HALTS, _JAM = 1.0, 11  # Metres a second below which a vehicle halts; so many in view are a jam.
_CRASH_SECONDS = (30.0, 60.0)
_NEAR_CRASH = 25.0  # Metres from the junction's centre.
_COLOURS, _TRUCKS = 7, 0.12


class Junction:
    """A running simulation: episodes of what shall go on, and in each step what does."""

    def __init__(self, sumo: Any, rng: np.random.Generator) -> None:
        self._sumo, self._rng = sumo, rng
        self._until, self._goal, self._rate = 0.0, LABELS[0], _CALM
        self._crash_at, self._crash_until = np.inf, 0.0
        self._crashed: list[str] = []
        self._kinds: dict[str, int] = {}
        self._count = 0
        self._on_loop: dict[str, set[str]] = {arm: set() for arm in ARMS}

    def step(self, now: float, recorder: Recorder) -> None:
        """Goes one step on, and tells the recorder."""
        if now >= self._until:
            self._begin(now)
        self._arrive()
        self._crash(now)
        self._sumo.simulationStep()
        rows = {name: self._row(name) for name in self._sumo.vehicle.getIDList()}
        recorder.add(list(rows.values()), self._loops(), self._radar(rows), LABELS.index(self._label(rows)))

    def _begin(self, now: float) -> None:
        self._goal = LABELS[int(self._rng.integers(len(LABELS)))]
        self._until = now + self._rng.uniform(*_EPISODE_SECONDS)
        is_heavy = {"free_flow": False, "congestion": True}.get(self._goal, self._rng.random() < 0.5)
        self._rate = _HEAVY if is_heavy else _CALM
        self._crash_at = now + self._rng.uniform(2, 8) if self._goal == "accident" else np.inf

    def _arrive(self) -> None:
        for arm in ARMS:
            if self._rng.random() < self._rate * STEP_SECONDS:
                is_truck = self._rng.random() < _TRUCKS
                self._add(arm, "truck" if is_truck else "car", TRUCK if is_truck else int(self._rng.integers(_COLOURS)))
        if self._goal == "emergency" and EMERGENCY not in (self._kinds[n] for n in self._sumo.vehicle.getIDList()):
            self._add(ARMS[int(self._rng.integers(4))], "ambulance", EMERGENCY)

    def _add(self, arm: str, kind: str, number: int) -> None:
        chances = [0.6 if abs(ARMS.index(arm) - ARMS.index(other)) == 2 else 0.2 for other in ARMS if other != arm]
        to = str(self._rng.choice([other for other in ARMS if other != arm], p=chances))
        self._count += 1
        name = f"v{self._count}"
        self._kinds[name] = number
        self._sumo.vehicle.add(name, arm + to, typeID=kind, departLane="best", departSpeed="avg")

    def _crash(self, now: float) -> None:
        """Two that are near the middle stand, until both are towed away."""
        vehicle = self._sumo.vehicle
        if now >= self._crash_at:
            away = {name: np.hypot(*np.subtract(vehicle.getPosition(name), CENTRE)) for name in vehicle.getIDList()}
            near = sorted((far, name) for name, far in away.items() if far < _NEAR_CRASH)
            if len(near) >= 2 and self._kinds[near[0][1]] != EMERGENCY:
                self._crashed = [name for _, name in near[:2]]
                self._crash_at, self._crash_until = np.inf, now + self._rng.uniform(*_CRASH_SECONDS)
                for name in self._crashed:
                    vehicle.setSpeed(name, 0.0)
        if self._crashed and now >= self._crash_until:
            for name in set(self._crashed) & set(vehicle.getIDList()):
                vehicle.remove(name)
            self._crashed = []

    def _row(self, name: str) -> Row:
        vehicle = self._sumo.vehicle
        x, y = vehicle.getPosition(name)
        return Row(
            x, y, np.radians(vehicle.getAngle(name)), vehicle.getLength(name), vehicle.getWidth(name),
            vehicle.getSpeed(name), self._kinds[name], name in self._crashed,
        )  # fmt: skip

    def _loops(self) -> list[tuple[float, float]]:
        """Per arm: vehicles that have come onto its loops, and per cent of it that they were occupied."""
        loop, told = self._sumo.inductionloop, list[tuple[float, float]]()
        for arm in ARMS:
            names = [f"{arm}{lane}" for lane in (0, 1)]
            there = {vehicle for name in names for vehicle in loop.getLastStepVehicleIDs(name)}
            told.append((len(there - self._on_loop[arm]), max(loop.getLastStepOccupancy(name) for name in names)))
            self._on_loop[arm] = there
        return told

    def _radar(self, rows: dict[str, Row]) -> list[float]:
        """Per arm: the mean speed of those that come towards the junction; NaN for none."""
        roads = {name: self._sumo.vehicle.getRoadID(name) for name in rows}
        seen = [[row.speed for name, row in rows.items() if roads[name] == f"{arm}_in"] for arm in ARMS]
        return [float(np.mean(speeds)) if speeds else np.nan for speeds in seen]

    def _label(self, rows: dict[str, Row]) -> str:
        """What is true of this step."""
        if any(row.crashed for row in rows.values()):
            return "accident"
        if any(row.kind == EMERGENCY for row in rows.values()):
            return "emergency"
        halting = sum(
            row.speed < _HALTS and all(abs(np.subtract((row.x, row.y), CENTRE)) < VIEW) for row in rows.values()
        )
        return "congestion" if halting >= _JAM else "free_flow"


def simulate(seed: Sequence[int], seconds: float) -> Trace:
    """Runs one simulation, whose first half a minute is not told."""
    import libsumo

    rng, recorder, warm = np.random.default_rng(seed), Recorder(), 30.0
    libsumo.start([
        "sumo", "--net-file", str(HERE / "junction.net.xml"), "--additional-files", str(HERE / "junction.add.xml"),
        "--step-length", str(STEP_SECONDS), "--seed", str(int(rng.integers(2**31))), "--no-step-log", "--no-warnings",
        "--time-to-teleport", "-1", "--max-depart-delay", "1", "--collision.action", "none",
        "--xml-validation", "never", "--xml-validation.net", "never",
    ])  # fmt: skip
    try:
        junction, unseen = Junction(libsumo, rng), Recorder()
        for number in range(round((warm + seconds) / STEP_SECONDS)):
            now = number * STEP_SECONDS
            junction.step(now, unseen if now < warm else recorder)
    finally:
        libsumo.close()
    return recorder.trace()


if __name__ == "__main__":
    simulate([int(part) for part in sys.argv[1].split(",")], float(sys.argv[2])).save(Path(sys.argv[3]))
