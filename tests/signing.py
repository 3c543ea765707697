"""Keys, and lists of a model's files signed with them, by the commands of docs/security.md."""

from __future__ import annotations

import subprocess
from pathlib import Path

from worker.model.sums import SIGNATURE, SUMS


def openssl(*arguments: str | Path) -> None:
    """Runs it."""
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def key_of(folder: Path, name: str, kind: str = "ed25519") -> tuple[Path, Path]:
    """A private key and its public one."""
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    openssl("genpkey", "-algorithm", kind, "-out", private)
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    return private, public


def sign(model: Path, private: Path) -> None:
    """SHA256SUMS.sig."""
    openssl("pkeyutl", "-sign", "-rawin", "-inkey", private, "-in", model / SUMS, "-out", model / SIGNATURE)
