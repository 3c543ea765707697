"""A from_pretrained directory -> a FusionModel and its tokenizer, on a device, in a number format."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from transformers import AutoConfig
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from worker.errors import ConfigError
from worker.model.config import FusionConfig
from worker.model.cuda import half_of, own_card
from worker.model.folder import CONFIG, TOKENIZER, WEIGHTS, ensure_whole, shapes
from worker.model.fusion_model import FusionModel
from worker.model.packages import PARTS, additions_of, joined

# Their first token has the position behind that of padding.
_POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet", "data2vec-text", "longformer")


def load(folder: Path) -> tuple[FusionModel, Tokenizer]:
    """A model and its tokenizer from a from_pretrained directory: safetensors only, no code, no network.

    Raises:
        ConfigError: it is not such a directory, or its parts do not fit each other.
    """
    ensure_whole(folder)
    config, tokenizer = config_of(folder), tokenizer_of(folder)
    # What does not fit is told below, in one line, rather than in the library's table.
    set_verbosity_error()
    disable_progress_bar()
    state, additions = _weights(folder, config)
    try:
        model, loading = FusionModel.from_pretrained(None, config=config, state_dict=state, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, SafetensorError) as error:
        raise ConfigError(f"model.path = {str(folder)!r}: {_unfit(folder, config) or error}") from error
    if loading["missing_keys"] or loading["mismatched_keys"]:
        raise ConfigError(f"model.path = {str(folder)!r}: {_unfit(folder, config)}")
    model.additions = additions
    return model, tokenizer


def _weights(folder: Path, config: FusionConfig) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All weights of a model, with those that a package holds, and what was added to these.

    What is loaded is a copy in memory: safetensors gives pages of the file itself, and who then wrote into it would
    change a model that serves, and who cut it short would end the process (SIGBUS).
    """
    where = f"model.path = {str(folder)!r}"
    try:
        held = {name: one.clone() for name, one in load_file(folder / WEIGHTS).items()}
        return (joined(held, config.packages, where), additions_of(held)) if config.packages else (held, {})
    except (OSError, SafetensorError, RuntimeError, KeyError) as error:
        raise ConfigError(f"{where}: {_unfit(folder, config) or error}") from error


def _unfit(folder: Path, config: FusionConfig) -> str | None:
    """How the weights differ from what the configuration asks for; None when they do not."""
    held = shapes(folder)
    try:
        wanted = {name: tuple(one.shape) for name, one in FusionModel(config).state_dict().items()}
    except (ValueError, RuntimeError, TypeError, KeyError, AttributeError, ImportError) as error:
        return f"no model can be made of its {CONFIG}: {error}"
    elsewhere = tuple(PARTS[part] for part in config.packages)
    if elsewhere:
        wanted = {name: shape for name, shape in wanted.items() if not name.startswith(elsewhere)}
    if absent := [name for name in wanted if name not in held]:
        return f"{WEIGHTS} has no {absent[0]} ({len(absent)} are missing); it is not of the model that {CONFIG} tells"
    for name, shape in wanted.items():
        if held[name] != shape:
            return f"{WEIGHTS}: {name} is of {list(held[name])}, {CONFIG} tells {list(shape)}"
    return None


def config_of(folder: Path) -> FusionConfig:
    """The configuration alone.

    Raises:
        ConfigError: it is not there or not one of a FusionModel.
    """
    try:
        config: FusionConfig = FusionConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"model.path = {str(folder)!r}: config.json cannot be read: {error}") from error
    return config


def tokenizer_of(folder: Path) -> Tokenizer:
    """The tokenizer; it cuts texts to the model's `max_tokens` and pads none.

    Raises:
        ConfigError: it is not there or cannot be read.
    """
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises no narrower class
        raise ConfigError(f"model.path = {str(folder)!r}: tokenizer.json cannot be read: {error}") from error
    config = config_of(folder)
    _compare(folder, config, tokenizer)
    tokenizer.enable_truncation(config.max_tokens)
    tokenizer.no_padding()
    return tokenizer


def _compare(folder: Path, config: FusionConfig, tokenizer: Tokenizer) -> None:
    if "text" not in config.inputs:
        return
    try:
        text = AutoConfig.for_model(**config.text)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"model.path = {str(folder)!r}: {CONFIG}: text: {error}") from error
    words = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    if words > text.vocab_size:
        raise ConfigError(f"model.path = {str(folder)!r}: {TOKENIZER} has {words} words, the embedding has "
                          f"{text.vocab_size} (text.vocab_size of {CONFIG}); they must be of one training")  # fmt: skip
    most = longest_text(text)
    if most is not None and config.max_tokens > most:
        raise ConfigError(f"model.path = {str(folder)!r}: {CONFIG}: max_tokens is {config.max_tokens}, the text "
                          f"encoder has {most} positions (text.max_position_embeddings)")  # fmt: skip


def longest_text(text: Any) -> int | None:
    """The most tokens that a text encoder of this configuration has positions for; None: any number."""
    most: int | None = getattr(text, "max_position_embeddings", None)
    if most is None or most < 0:  # XLNet says -1.
        return None
    return most - text.pad_token_id - 1 if text.model_type in _POSITIONS_AFTER_PADDING else most


def digest(folder: Path, weights: str = WEIGHTS) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of the weights."""
    with (folder / weights).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def device_of(name: str) -> torch.device:
    """The device; `auto` is this process's share of the GPUs, or the CPU where there is none.

    Raises:
        ConfigError: there is no such device here.
    """
    gpus = torch.cuda.device_count()
    if name == "auto":
        return torch.device("cuda", own_card(gpus)) if gpus else torch.device("cpu")
    device = torch.device("cuda:0" if name == "cuda" else name)
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise ConfigError(
            f"model.device = {name!r}: torch sees {gpus} GPUs here; must be auto, cpu or cuda:N below that"
        )
    return device


def number_format(precision: str, device: torch.device, held: torch.dtype = torch.float32) -> torch.dtype:
    """The number format to compute in; `auto` is 16 bits on a GPU, bf16 where it computes in it, else fp16; and
    bf16 for weights `held` in it on a CPU.

    Raises:
        ConfigError: int8, which needs weights that were made for it.
    """
    if precision == "int8":
        raise ConfigError(
            "model.precision = 'int8': this model directory holds no int8 weights, `fusion-worker export --to int8` "
            "makes some; must be auto, fp32 or bf16"
        )
    if precision == "auto":
        if device.type == "cuda":
            return half_of(device)
        precision = "bf16" if held == torch.bfloat16 else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


def for_serving(model: FusionModel, device: torch.device, dtype: torch.dtype) -> FusionModel:
    """The model without what only training needs: batch norms are folded into their convolutions."""
    model.eval().requires_grad_(False)
    for sequence in [m for m in model.modules() if isinstance(m, nn.Sequential)]:
        _fold(sequence)
    served: FusionModel = model.to(device=device, dtype=dtype, memory_format=torch.channels_last)
    return served


def _fold(sequence: nn.Sequential) -> None:
    parts = list(sequence.named_children())
    for (name, convolution), (next_name, norm) in itertools.pairwise(parts):
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(sequence, name, fuse_conv_bn_eval(convolution, norm))
            setattr(sequence, next_name, nn.Identity())
