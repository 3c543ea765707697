"""Programs of Debian packages for tests, unpacked into the cache: nothing is installed."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_FETCH_SECONDS = 120


def unpacked(name: str, packages: tuple[str, ...], prepare: Callable[[Path], object] = lambda root: None) -> Path:
    """The folder `.cache/NAME/root` with these packages in it, fetched when they are not there.

    Args:
        prepare: changes the folder of a first fetch before it is taken.

    Raises:
        FileNotFoundError: they cannot be had; the message says what to fetch.
    """
    cache = ROOT / ".cache" / name
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (cache / "root").exists():
            _fetch(cache, packages, prepare)
    return cache / "root"


def libraries(root: Path) -> Path:
    """Where the unpacked packages have their libraries."""
    return next((root / "usr" / "lib").glob("*-linux-gnu"))


def _fetch(cache: Path, packages: tuple[str, ...], prepare: Callable[[Path], object]) -> None:
    missing = f"{cache.name} is missing and could not be fetched: apt-get download {' '.join(packages)}"
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise FileNotFoundError(missing)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        download = ["apt-get", "download", *packages]
        for command in (download, ["apt-get", "update"], download):
            if len(list(Path(folder).glob("*.deb"))) < len(packages):
                subprocess.run(command, cwd=folder, timeout=_FETCH_SECONDS, capture_output=True, check=False)
        found = list(Path(folder).glob("*.deb"))
        if len(found) < len(packages):
            raise FileNotFoundError(missing)
        for package in found:
            subprocess.run(["dpkg", "-x", package.name, "root"], cwd=folder, check=True, timeout=_FETCH_SECONDS)
        prepare(Path(folder) / "root")
        (Path(folder) / "root").rename(cache / "root")
