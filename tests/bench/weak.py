"""Two weak inputs: alone each tells 0.6 to 0.8 of the labels, together over 0.9; `python -m tests.bench.weak FOLDER`.

A label is two bits. The radar tells the first well and the second badly, the microphone's levels the other way round.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

ROWS = {"train": 600, "dev": 300, "test": 600}
_CLEAR, _BLURRED = 0.22, 0.9  # Standard deviations; the two values of a bit lie 1 apart.
_LABELS = (("still", "hum"), ("moving", "traffic"))


def write(folder: Path, seed: int = 0) -> Path:
    """The folder, with every row's inputs both there."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    modalities = {"radar": "sensor", "levels": "sensor"}
    for split, count in ROWS.items():
        rows = []
        for _ in range(count):
            first, second = (int(bit) for bit in rng.integers(2, size=2))
            radar, levels = (
                {f"{name}_{part}": round(bit + rng.normal(0, spread), 4) for part, bit, spread in parts}
                for name, parts in (
                    ("r", (("speed", first, _CLEAR), ("count", second, _BLURRED))),
                    ("l", (("low", first, _BLURRED), ("high", second, _CLEAR))),
                )
            )
            row = {"inputs": {"radar": radar, "levels": levels}, "modalities": modalities}
            rows.append(json.dumps({**row, "label": f"{_LABELS[first][0]}-{_LABELS[second][1]}"}))
        (folder / f"{split}.jsonl").write_text("\n".join(rows) + "\n")
    return folder


if __name__ == "__main__":
    write(Path(sys.argv[1]))
