"""Pinned requirements -> deploy/sbom.cdx.json: what the image holds and the wheel needs, as CycloneDX 1.6.

`python -m deploy.sbom` writes it; the wheel carries it in `.dist-info/sboms/` (PEP 770), and so does the image. The
same requirements give the same bytes: there is no time in it, and its number is made of its content.
"""

from __future__ import annotations

import tomllib
import uuid
from collections import defaultdict
from collections.abc import Iterable
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.licences import IN_THE_IMAGE, ROOT, WEIGHTS, Package, Weights, packages

IMAGE_EXTRAS = ("fast", "mqtt", "onnx", "signed", "sql", "traces", "video")  # As `make requirements` asks for them.
FILE = ROOT / "deploy/sbom.cdx.json"
_NAMESPACE = uuid.UUID("7c1d9c0e-6f0b-4a53-9a57-0f6f3d0c9e15")  # Chosen once; another would renumber every release.


def sbom() -> str:
    """The document, with a line end behind it."""
    bom = Bom()
    bom.metadata.timestamp = None  # type: ignore[assignment]
    root = _root()
    bom.metadata.component = root
    hashes = _hashes()
    pinned = {one.name: _component(one, hashes[one.name, one.version]) for one in packages(IN_THE_IMAGE)}
    brought = [_weights(one) for one in WEIGHTS if one.package in ("fusion-worker", *pinned)]
    for component in (*pinned.values(), *brought):
        bom.components.add(component)
    known = {root.name: root, **pinned}
    for name, needed in _needs(known).items():
        bom.register_dependency(known[name], [pinned[one] for one in needed if one in pinned])
    bom.serial_number = uuid.UUID(int=0)
    bom.serial_number = uuid.uuid5(_NAMESPACE, JsonV1Dot6(bom).output_as_string())
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


def _project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def _root() -> Component:
    project = _project()
    name, version = project["name"], project["version"]
    return Component(
        name=name, version=version, type=ComponentType.APPLICATION, bom_ref=f"pkg:pypi/{name}@{version}",
        purl=PackageURL("pypi", name=name, version=version), licenses=[LicenseExpression(project["license"])],
    )  # fmt: skip


def _hashes() -> dict[tuple[str, str], list[str]]:
    """Name and version -> the SHA-256 of every file that may be installed."""
    found: dict[tuple[str, str], list[str]] = {}
    told: list[str] = []
    for line in IN_THE_IMAGE.read_text().splitlines():
        given, _, sha256 = line.rstrip(" \\").partition("--hash=sha256:")
        if sha256:
            told.append(sha256)
        else:
            one = Requirement(given)
            told = found.setdefault((one.name, str(one.specifier).removeprefix("==")), [])
    return found


def _component(one: Package, hashes: list[str]) -> Component:
    purl = PackageURL("pypi", name=one.name, version=one.version)
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION, url=XsUri(str(purl)), comment="any of the files that are pinned",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in hashes],
    )  # fmt: skip
    return Component(
        name=one.name, version=one.version, type=ComponentType.LIBRARY, bom_ref=str(purl), purl=purl,
        licenses=[LicenseExpression(one.licence)] if one.licence else (), external_references=[files],
    )  # fmt: skip


def _weights(one: Weights) -> Component:
    return Component(
        name=Path(one.file).name, group=one.package, type=ComponentType.MACHINE_LEARNING_MODEL, bom_ref=one.file,
        description=one.what, licenses=[LicenseExpression(one.licence)],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one.sha256)],
    )  # fmt: skip


def _needs(names: Iterable[str]) -> dict[str, list[str]]:
    """Of each package what it asks for on this platform, for the extras that others ask of it."""
    extras: defaultdict[str, set[str]] = defaultdict(lambda: {""})
    held: dict[str, list[Requirement]] = {}
    for _ in range(2):  # The first time finds the extras.
        for name in names:
            held[name] = [one for one in _required(name) if _applies(one, extras[name])]
            for one in held[name]:
                extras[canonicalize_name(one.name)] |= one.extras
    return {name: sorted({canonicalize_name(one.name) for one in found}) for name, found in held.items()}


def _required(name: str) -> list[Requirement]:
    project = _project()
    told = list(requires(name) or ())
    if name == project["name"]:
        told = sum((project["optional-dependencies"][extra] for extra in IMAGE_EXTRAS), project["dependencies"])
    return [Requirement(line) for line in told]


def _applies(one: Requirement, extras: Iterable[str]) -> bool:
    return one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras)


if __name__ == "__main__":
    FILE.write_text(sbom())
