"""Notes and readings of a house with four things to tell: a state, a room, alarms and a set-point.

`python -m tests.heads FOLDER` writes them as a folder to train on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROWS = {"train": 320, "dev": 160, "test": 160}
ROOMS, ALARMS = ("bath", "kitchen", "loft"), ("smoke", "water")
STREAMS = {"notes": "text", "climate": "sensor"}
_SAID = {True: "come quick", False: "all is well"}
_SPREAD = 0.4  # Degrees: of what people want, about what the readings say.
_DAMP = 60.0
_NOT_TOLD = 0.1  # Of targets, how often a row does not tell one.


def moments(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """Rows as a training folder has them; the smoke and the state stand in the note, the water in the readings, the
    set-point in both."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        urgent, smoke, room = bool(rng.integers(2)), bool(rng.integers(2)), ROOMS[number % len(ROOMS)]
        degrees, damp = rng.uniform(10, 30), rng.uniform(30, 90)
        note = f"{_SAID[urgent]}, {'it smells burnt' if smoke else 'the air is fresh'} in the {room}"
        alarms = [name for name, there in zip(ALARMS, (smoke, damp > _DAMP), strict=True) if there]
        wanted = 26 - degrees / 4 - 2 * smoke + rng.normal(0, _SPREAD)
        targets: dict[str, Any] = {"alarms": alarms, "room": room, "setpoint": round(wanted, 2)}
        if rng.random() < _NOT_TOLD:
            targets[sorted(targets)[int(rng.integers(len(targets)))]] = None
        inputs = {"notes": [{"text": note}], "climate": {"degrees": round(degrees, 2), "damp": round(damp, 1)}}
        yield {"inputs": inputs, "modalities": STREAMS, "label": "urgent" if urgent else "calm", "targets": targets}


def write(folder: Path, seed: int = 0, *, label: bool = True, only: str | None = None) -> Path:
    """The folder; without `label` rows tell further heads alone, with `only` that one alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, (split, count) in enumerate(ROWS.items()):
        rows = list(moments(10 * seed + place, count))
        for row in rows:
            row["label"] = row["label"] if label else None
            if only is not None:
                row["targets"] = {only: row["targets"][only]}
        kept = [row for row in rows if row["label"] or any(one is not None for one in row["targets"].values())]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    return folder


def tell_heads(observer: Any) -> None:
    """What a worker tells of one result of such a model."""
    observer.count("head_labels_total", head="alarms", label="smoke")
    observer.gauge("head_number", 21.5, head="setpoint")
    observer.gauge("head_band_width", 2.5, head="setpoint")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
