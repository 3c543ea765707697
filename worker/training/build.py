"""Arguments and data -> a FusionModel to be trained, its tokenizer and its preprocessor."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from worker.errors import ConfigError, Poison
from worker.model.backbones import EFFICIENTNET_LITE0, view_stage
from worker.model.config import FusionConfig
from worker.model.fusion_model import FusionModel
from worker.model.load import device_of
from worker.model.packages import MINILM, told_of
from worker.model.preprocess import Preprocessor, text_of
from worker.training.encoders import (
    FROZEN,
    FULL,
    check_text,
    load_image_weights,
    load_text_encoder,
    text_config,
    text_encoder,
    text_folder,
    tune,
    tuning_of,
)
from worker.training.heads import heads_of
from worker.training.readings import channels_of
from worker.training.rows import Sample
from worker.training.sources import Data
from worker.training.start import Start, settled
from worker.training.taken import Begun, take
from worker.training.vocabulary import learn_vocabulary

VOCABULARY_SIZE = 1000
SMALL = "small"
# Short reports need no more, and the weights of the shipped model live in the repository.
_SMALL_TEXT = {
    "model_type": "bert",
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "max_position_embeddings": 64,
}


@dataclass(frozen=True, slots=True)
class Built:
    """A model to be trained; `origins` says where its first weights came from, `held` which encoders had any; `begun`
    what it has of `--init`."""

    model: FusionModel
    tokenizer: Any
    preprocessor: Preprocessor
    origins: tuple[str, ...]
    held: tuple[str, ...]
    begun: Begun | None = None


def build(arguments: Namespace, data: Data, unlabelled: Sequence[Sample] = (), start: Start | None = None) -> Built:
    """Makes the model that the arguments and the data ask for; `unlabelled` are looked at for words and readings,
    `start` is the model of `--init`.

    Raises:
        ConfigError: an encoder is unknown or has no weights, the configuration does not fit together, or not the model
            of `--init`.
    """
    arguments = settled(arguments, start) if start is not None else arguments
    own = start if start is not None and start.has("text") and "text" in data.inputs.values() else None
    seen = data.seeing(unlabelled)
    encoder, tokenizer, origins = _text(arguments, seen, own)
    origins += (f"the model {start.config.name} ({start.digest})",) if start is not None else ()
    labels, heads = data.labels, heads_of(data.splits["train"], arguments.head, arguments.level)
    try:
        config = FusionConfig(
            name=arguments.name, inputs=list(data.inputs.values()), input_names=list(data.inputs),
            backbone=arguments.backbone, image_size=arguments.image_size, max_steps=arguments.max_steps,
            audio_seconds=arguments.audio_seconds, mels=arguments.mels, dropout=arguments.dropout,
            text=_text_config(encoder, tokenizer, own), packages=_packages(arguments, encoder is not None, own),
            text_view=own.config.text_view if own is not None else _text_view(arguments, encoder),
            image_view=view_stage(arguments.backbone, arguments.image_size) if "image" in data.inputs.values() else 0,
            max_tokens=arguments.max_tokens, times=True,
            fusion=arguments.fusion, dim=arguments.dim, rank=arguments.rank, glimpses=arguments.glimpses,
            backbone_widths=start.config.backbone_widths if start is not None and start.has("image") else None,
            **_channels(seen, start), masked=arguments.masked, heads=[one.told for one in heads],
            id2label=dict(enumerate(labels)), label2id={label: number for number, label in enumerate(labels)},
        )  # fmt: skip
        model = FusionModel(config)
        if "text" in model.encoders:
            check_text(model)
    except ValueError as error:
        raise ConfigError(f"the model cannot be built: {error}") from error
    if encoder is not None and "text" in model.encoders:
        text_encoder(model).load_state_dict(encoder.state_dict())
    if "image" in model.encoders and not (start is not None and start.has("image")):
        load_image_weights(model, arguments.image_weights)
        origins += _image_origin(arguments)
    held = _held(model, arguments, encoder is not None, start)
    begun = take(model, start) if start is not None else None
    tune(model, held, arguments.encoders, arguments.seed)
    model.to(device_of(arguments.device), memory_format=torch.channels_last)
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(config.max_tokens)
    backend.no_padding()
    return Built(model, tokenizer, Preprocessor(config, backend), origins, held, begun)


def _channels(data: Data, start: Start | None) -> dict[str, Any]:
    found = channels_of(data)
    return found if start is None else start.channels(found, data.inputs)


def _text(arguments: Namespace, data: Data, own: Start | None) -> tuple[Any, Any, tuple[str, ...]]:
    """Encoder and tokenizer, and where they come from; of one that begins with a model's own (`own`) no encoder."""
    if own is not None:
        return None, own.tokenizer, ()
    if arguments.text == SMALL or "text" not in data.inputs.values():
        return None, learn_vocabulary(texts_of(data, data.splits["train"]), VOCABULARY_SIZE), ()
    encoder, tokenizer = load_text_encoder(text_folder(arguments.text))
    licence = "MIT" if arguments.text == MINILM else "its own"
    return encoder, tokenizer, (f"text encoder {arguments.text} (licence: {licence})",)


def _text_config(encoder: Any, tokenizer: Any, own: Start | None) -> dict[str, Any]:
    if own is not None:
        return own.config.text
    return text_config(encoder) if encoder is not None else {**_SMALL_TEXT, "vocab_size": len(tokenizer)}


def _packages(arguments: Namespace, has_text: bool, own: Start | None) -> dict[str, dict[str, str]]:
    """Encoders that stay as their package has them, but for additions."""
    if own is not None:
        return own.config.packages if tuning_of(arguments.encoders, "text") != FULL else {}
    stays = has_text and arguments.text == MINILM and tuning_of(arguments.encoders, "text") != FULL
    return {"text": told_of(MINILM)} if stays else {}


def _text_view(arguments: Namespace, encoder: Any) -> int:
    """The middle layer of an encoder that is trained on: of what its last one knew, it keeps what labels need."""
    if encoder is None or tuning_of(arguments.encoders, "text") == FROZEN:
        return 0
    return int(encoder.config.num_hidden_layers) // 2


def _held(model: FusionModel, arguments: Namespace, has_text: bool, start: Start | None) -> tuple[str, ...]:
    """The encoders that begin with weights of their own."""
    has_image = arguments.image_weights is not None or arguments.backbone == EFFICIENTNET_LITE0
    if start is not None:
        has_image, has_text = has_image or start.has("image"), has_text or start.has("text")
    return tuple(name for name, has in (("image", has_image), ("text", has_text)) if has and name in model.encoders)


def _image_origin(arguments: Namespace) -> tuple[str, ...]:
    if arguments.image_weights is not None:
        return (f"image weights {arguments.image_weights.name} (licence: their own)",)
    return ("EfficientNet-Lite0, ImageNet (licence: Apache-2.0)",) if arguments.backbone == EFFICIENTNET_LITE0 else ()


def texts_of(data: Data, samples: list[Sample]) -> list[str]:
    """The texts of these samples, in their order."""
    names = [name for name, modality in data.inputs.items() if modality == "text"]
    found = []
    for sample in samples:
        for body in (body for name in names for body in sample.bodies.get(name, ())):
            try:
                found.append(text_of(*body[:3]))
            except Poison as error:
                raise ConfigError(f"{sample.place}: {error}") from error
    return found
