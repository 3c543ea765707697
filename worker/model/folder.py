"""A model folder -> whether its files are there and whole, seen without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from worker.errors import ConfigError
from worker.model.packages import ensure_there
from worker.model.sums import IS_POINTER, POINTER, verify

SHIPPED = Path(__file__).parent / "junction"
# As a path begins that names a model that ships, and their names.
_SHIPPED_MARK, _NAMES = "shipped:", ("junction", "home")
WEIGHTS = "model.safetensors"
ONNX = "model.onnx"
INT8 = "int8"  # The folder inside a model's own that holds it in this form.
# A form that is computed from the model's own weights; so its version ends.
INT8_LINEAR = "int8-linear"
CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
CONFIDENCE = "confidence.safetensors"  # Need not be there: without it results have no `confidence`.
# What `fusion-worker export` writes instead of weights.
_EXPORTED = {
    ONNX: "which can be served, not trained, measured or drawn",
    "model.pt2": "which is for other programs",
}
# The length of a safetensors header stands in its first bytes, little endian.
_LENGTH_BYTES = 8


def folder_of(path: str | None) -> Path:
    """The folder of a model's path; None: the junction's that ships; `shipped:NAME`: another that ships.

    Raises:
        ConfigError: no model of that name ships.
    """
    if path is None or not path.startswith(_SHIPPED_MARK):
        return Path(path) if path is not None else SHIPPED
    if (name := path.removeprefix(_SHIPPED_MARK)) not in _NAMES:
        raise ConfigError(f"model.path = {path!r}: what ships is {', '.join(_SHIPPED_MARK + one for one in _NAMES)}")
    return Path(__file__).parent / name


def called(folder: Path) -> str:
    """A folder as it may be given: `shipped:NAME`, or its path."""
    ships = folder.parent == SHIPPED.parent and folder.name in _NAMES
    return f"{_SHIPPED_MARK}{folder.name}" if ships else str(folder)


def ensure_whole(folder: Path, weights: str = WEIGHTS) -> None:
    """Looks at the files that a model is made from.

    Raises:
        ConfigError: one is missing, cannot be read, is cut short, or is a pointer to where Git LFS keeps it.
    """
    needed = (CONFIG, weights, TOKENIZER)
    missing = [name for name in needed if not (folder / name).is_file()]
    if weights in missing and (other := next((n for n in _EXPORTED if (folder / n).is_file()), None)):
        raise ConfigError(f"{_named(folder)}: holds {other}, {_EXPORTED[other]}; "
                          "here the model is needed that it was made from")  # fmt: skip
    if missing:
        raise ConfigError(f"{_named(folder)}: no {', '.join(missing)} there; it must be a from_pretrained "
                          "directory, such as `fusion-worker train --out DIR` writes")  # fmt: skip
    for name in needed:
        _ensure_real(folder, name)
    for name in (CONFIG, TOKENIZER):
        _ensure_json(folder, name)
    if weights == WEIGHTS:
        shapes(folder)
        _ensure_packages(folder)


def _ensure_packages(folder: Path) -> None:
    told = json.loads((folder / CONFIG).read_text("utf-8")).get("packages")
    if isinstance(told, dict) and all(isinstance(one, dict) for one in told.values()):
        ensure_there(told, _named(folder))


def ensure_servable(path: str | None, trusted_key: str | None = None) -> None:
    """As `sums.verify` and then `ensure_whole`, for the folder of `model.path`, in each form that can be served."""
    folder = folder_of(path)
    verify(folder, trusted_key)
    exported = (folder / ONNX).is_file() and not (folder / WEIGHTS).is_file()
    ensure_whole(folder, ONNX if exported else WEIGHTS)
    if has_int8(folder):
        _ensure_form(folder / INT8)


def has_int8(folder: Path) -> bool:
    """Whether the model's folder holds it in int8 too."""
    return (folder / INT8 / CONFIG).is_file()


def is_computed(form: Path) -> bool:
    """Whether a form in the model's folder has no weights of its own."""
    told = json.loads((form / CONFIG).read_text("utf-8"))
    return str(told.get("version")).endswith(f"+{INT8_LINEAR}")


def _ensure_form(form: Path) -> None:
    _ensure_real(form, CONFIG)
    _ensure_json(form, CONFIG)
    if not is_computed(form):
        ensure_whole(form, ONNX)


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Tensor -> its shape, as the weights' file tells it.

    Raises:
        ConfigError: the file is shorter than its own header says, or has none.
    """
    try:
        return shapes_of(folder / WEIGHTS)
    except ValueError as error:
        raise _broken(folder, WEIGHTS, str(error)) from error


def shapes_of(file: Path) -> dict[str, tuple[int, ...]]:
    """As `shapes`, of any file of safetensors; raises ValueError with what is wrong, and OSError."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(_LENGTH_BYTES), "little")
        size = file.stat().st_size
        if length > size - _LENGTH_BYTES:
            raise ValueError(f"it has {size} bytes, its header {length}: cut short, or none")
        try:
            header: dict[str, Any] = json.loads(opened.read(length))
            tensors = {name: one for name, one in header.items() if name != "__metadata__"}
            end = max((one["data_offsets"][1] for one in tensors.values()), default=0)
            found = {name: tuple(one["shape"]) for name, one in tensors.items()}
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise ValueError("its header is not one of safetensors") from error
    if size != _LENGTH_BYTES + length + end:
        raise ValueError(f"cut short: it has {size} bytes, its header says {_LENGTH_BYTES + length + end}")
    return found


def _ensure_real(folder: Path, name: str) -> None:
    try:
        with (folder / name).open("rb") as file:
            begin = file.read(len(POINTER))
    except OSError as error:
        raise _broken(folder, name, f"cannot be read: {error.strerror}") from error
    if not begin:
        raise _broken(folder, name, "is empty")
    if begin == POINTER:
        raise _broken(folder, name, IS_POINTER)


def _ensure_json(folder: Path, name: str) -> None:
    try:
        read = json.loads((folder / name).read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _broken(folder, name, f"cut short or no JSON: {error}") from error
    if not isinstance(read, dict):
        raise _broken(folder, name, "must be a JSON object")


def _broken(folder: Path, name: str, why: str) -> ConfigError:
    return ConfigError(f"model.path = {str(folder)!r}: {name}: {why}")


def _named(folder: Path) -> str:
    return f"model.path = {str(folder)!r}"
