"""Configuration of a FusionModel, as `save_pretrained` writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PretrainedConfig

FUSIONS = ("attention",)


class FusionConfig(PretrainedConfig):  # type: ignore[misc]
    """What a FusionModel is made of.

    Attributes:
        name: told in every result as `model.name`.
        version: told as `model.version`; None: a digest of the weights.
        backbone: a torchvision model whose last map is 7x7 for `image_size` x `image_size` pixels.
        image_size: pixels per side that every image is resized to.
        image_mean, image_std: per channel, of pixels in 0..1.
        text: a transformers configuration with its `model_type`; the text encoder is made from it.
        max_tokens: T, the length that every text is padded or cut to.
        fusion: how the two meet; one of FUSIONS.
        dim: D, the size of the fused vector F.
        glimpses: attention maps of the fusion; each fuses D / glimpses numbers.
        dropout: before the head, while training.
    """

    model_type = "fusion"

    def __init__(
        self,
        name: str = "fusion",
        version: str | None = None,
        backbone: str = "mobilenet_v3_small",
        image_size: int = 224,
        image_mean: Sequence[float] = (0.485, 0.456, 0.406),
        image_std: Sequence[float] = (0.229, 0.224, 0.225),
        text: Mapping[str, Any] | None = None,
        max_tokens: int = 32,
        fusion: str = "attention",
        dim: int = 512,
        glimpses: int = 4,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        """Raises ValueError when `fusion` is unknown or `dim` cannot be divided into glimpses."""
        if fusion not in FUSIONS:
            raise ValueError(f"fusion = {fusion!r}: must be one of {', '.join(FUSIONS)}")
        if dim % glimpses:
            raise ValueError(f"dim = {dim}: must be a multiple of glimpses = {glimpses}")
        self.name = name
        self.version = version
        self.backbone = backbone
        self.image_size = image_size
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)
        self.text = dict(text) if text is not None else {"model_type": "bert"}
        self.max_tokens = max_tokens
        self.fusion = fusion
        self.dim = dim
        self.glimpses = glimpses
        self.dropout = dropout
        super().__init__(**kwargs)
