"""A model directory of any kind -> what answers for it on this machine, in the number format that it holds."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer

from worker.cores import usable
from worker.errors import ConfigError
from worker.model.confidence import Knowledge
from worker.model.config import FusionConfig
from worker.model.cuda import enter, exact
from worker.model.drift import Reference
from worker.model.folder import CONFIDENCE, INT8, INT8_LINEAR, ONNX, WEIGHTS, ensure_whole, has_int8, is_computed
from worker.model.fusion_model import FusionOutput
from worker.model.int8 import in_int8
from worker.model.load import config_of, device_of, digest, for_serving, load, number_format, tokenizer_of
from worker.model.onnx_model import OnnxModel

# On a CPU two batches side by side on a thread each take two thirds of the time that both threads need for one after
# the other: small kernels scale badly and wait for each other. Many lanes make a lone batch slow.
_MOST_LANES = 4
_CPU = Path("/proc/cpuinfo")
_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


@dataclass(frozen=True, slots=True)
class Served:
    """A model that answers.

    Attributes:
        ask: as FusionModel.forward.
        precision: fp32, bf16, int8 or, chosen by `auto` for a GPU without bf16, fp16.
        version: told in every result.
        reference: what drift is held against; None: it is not watched.
        knowledge: None of a model that was fitted without it.
    """

    ask: Callable[..., FusionOutput]
    config: FusionConfig
    tokenizer: Tokenizer
    device: torch.device
    precision: str
    version: str
    reference: Reference | None = None
    knowledge: Knowledge | None = None


def lanes_of(device: torch.device) -> tuple[int, int]:
    """How many batches are worked on at once, and torch's threads for each."""
    cores = usable()
    lanes = min(cores, _MOST_LANES) if device.type == "cpu" else 1
    return lanes, max(1, cores // lanes)


def serve(folder: Path, device: str, precision: str) -> Served:
    """The model of a directory, ready to be asked: `auto` is the fastest of its forms that this device computes right.

    Raises:
        ConfigError: the directory, device or precision does not fit.
    """
    if (folder / ONNX).is_file() and not (folder / WEIGHTS).is_file():
        return _onnx(folder, device, precision)
    place = device_of(device)
    if has_int8(folder) and (precision == "int8" or (precision == "auto" and _suits_int8(folder, place))):
        return _form(folder, device)
    model, tokenizer = load(folder)
    config: FusionConfig = model.config
    dtype = within(model, number_format(precision, place, model.dtype))
    enter(place)
    exact()
    # Batch norms are folded in fp32: in bf16 each folding would round once more.
    ready = for_serving(model.float(), place, dtype)
    of = digest(folder)
    knowledge, reference = Knowledge.load(folder, config, of), Reference.load(folder, of)
    known = knowledge.to(place) if knowledge is not None else None
    return Served(ready, config, tokenizer, place, _NAMES[dtype], config.version or of, reference, known)


def within(model: torch.nn.Module, dtype: torch.dtype) -> torch.dtype:
    """The format, or fp32 where fp16 does not reach as far as the weights do."""
    if dtype != torch.float16:
        return dtype
    most = torch.finfo(dtype).max
    fits = all(bool((one.abs() <= most).all()) for one in model.state_dict().values() if one.is_floating_point())
    return dtype if fits else torch.float32


def sums_int8() -> bool:
    """Whether this processor sums int8 without saturating, as the machines do by which exports are judged; on x86
    those with VNNI."""
    return not _on_x86() or "vnni" in _CPU.read_text()


def _on_x86() -> bool:
    return platform.machine() in ("x86_64", "AMD64")


def _suits_int8(folder: Path, place: torch.device) -> bool:
    """On x86 torch multiplies int8 fast with VNNI alone, and not at all elsewhere."""
    if place.type != "cpu" or not sums_int8():
        return False
    return _on_x86() if is_computed(folder / INT8) else importlib.util.find_spec("onnxruntime") is not None


def _form(folder: Path, device: str) -> Served:
    version, computed = config_of(folder).version or digest(folder), is_computed(folder / INT8)
    served = _linear(folder, device) if computed else _onnx(folder / INT8, device, "int8")
    if (made_from := served.version.rpartition("+")[0]) != version:
        kind = INT8_LINEAR if computed else INT8
        raise ConfigError(
            f"model.path = {str(folder)!r}: its {INT8} was made from version {made_from}, the weights are {version}; "
            f"take the folder {INT8} out, or make it anew with `fusion-worker export --model {folder} --to {kind}`"
        )
    return served


def computed_in_int8(folder: Path) -> Served:
    """A folder's own weights, with linear layers in int8, as yet without what is known of its verdicts.

    Raises:
        ConfigError: none of its layers is large enough.
    """
    model, tokenizer = load(folder)
    config: FusionConfig = model.config
    ready = for_serving(model.float(), torch.device("cpu"), torch.float32)
    if not in_int8(ready):
        raise ConfigError(f"--to {INT8_LINEAR}: no linear layer of the model is large enough to gain by it")
    version = f"{config.version or digest(folder)}+{INT8_LINEAR}"
    return Served(ready, config, tokenizer, torch.device("cpu"), INT8, version)


def _linear(folder: Path, device: str) -> Served:
    if device not in ("auto", "cpu"):
        raise ConfigError(f"model.device = {device!r}: {INT8_LINEAR} is served on the CPU; must be auto or cpu")
    served, form, of = computed_in_int8(folder), folder / INT8, digest(folder)
    knowledge, reference = Knowledge.load(form, served.config, of), Reference.load(form, of)
    return replace(served, version=str(config_of(form).version), knowledge=knowledge, reference=reference)


def _onnx(folder: Path, device: str, precision: str) -> Served:
    if device not in ("auto", "cpu"):
        raise ConfigError(f"model.device = {device!r}: {ONNX} is served on the CPU; must be auto or cpu")
    ensure_whole(folder, ONNX)
    config, tokenizer = config_of(folder), tokenizer_of(folder)
    lanes, _ = lanes_of(torch.device("cpu"))
    # All calls share the session's threads; a lane's own thread works too.
    threads, pooled = usable() - lanes + 1, (folder / CONFIDENCE).is_file()
    model = OnnxModel(folder, config, threads, pooled=pooled)
    if precision not in ("auto", model.precision):
        raise ConfigError(
            f"model.precision = {precision!r}: this model directory holds {model.precision} weights; "
            f"must be auto or {model.precision}"
        )
    of = digest(folder, ONNX)
    knowledge, reference, place = Knowledge.load(folder, config, of), Reference.load(folder, of), torch.device("cpu")
    return Served(model, config, tokenizer, place, model.precision, config.version or of, reference, knowledge)
