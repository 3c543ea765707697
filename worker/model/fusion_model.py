"""Images and texts, some of them missing -> logits [B, K] and the fused vector F [B, D]."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from worker.model.config import FusionConfig
from worker.model.encoders import MAP_SIDE, ImageEncoder, TextEncoder
from worker.model.fusion.attention import AttentionFusion


@dataclass
class FusionOutput(ModelOutput):  # type: ignore[misc]
    """What the model says.

    Attributes:
        logits: [B, K].
        fused: F, [B, D].
        attention: A, [B, G, 49, T].
    """

    logits: Tensor | None = None
    fused: Tensor | None = None
    attention: Tensor | None = None


class FusionModel(PreTrainedModel):  # type: ignore[misc]
    """Visual encoder to a 7x7 map, text encoder, fusion by attention, a linear head.

    A missing modality is one learned token with the rest of its places masked; training with modality dropout gives
    it its meaning. Several images of one item are averaged cell by cell.
    """

    config_class = FusionConfig
    base_model_prefix = "fusion"
    _no_split_modules: list[str] = []  # noqa: RUF012  the name and kind that transformers asks for

    def __init__(self, config: FusionConfig) -> None:
        super().__init__(config)
        size, dim = config.image_size, config.dim
        self.image = ImageEncoder(config.backbone, size, config.image_mean, config.image_std, dim)
        self.text = TextEncoder(config.text, dim)
        self.no_image = nn.Parameter(torch.zeros(dim))
        self.no_text = nn.Parameter(torch.zeros(dim))
        self.fusion = AttentionFusion(dim, config.glimpses)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(dim, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Backbone and text encoder keep the start that their own authors gave them; the rest has torch's."""
        if module is self:
            nn.init.normal_(self.no_image, std=0.5)
            nn.init.normal_(self.no_text, std=0.5)

    def forward(
        self, pixels: Tensor, image_of: Tensor, input_ids: Tensor, attention_mask: Tensor, text_present: Tensor
    ) -> FusionOutput:
        """Fuses a batch of B items that together have M images.

        Args:
            pixels: [M, 3, H, W], uint8, RGB; M may be 0.
            image_of: [M], the item that each image belongs to; an item without one has no image.
            input_ids: [B, T].
            attention_mask: [B, T], 1 where there is a token.
            text_present: [B], False where there is no text; the item's row of `input_ids` is then not looked at.
        """
        cells, cell_mask = self._cells(pixels, image_of, len(input_ids))
        tokens, token_mask = self._tokens(input_ids, attention_mask, text_present)
        fused, attention = self.fusion(cells, tokens, cell_mask, token_mask)
        fused = self.norm(fused)
        return FusionOutput(logits=self.head(self.dropout(fused)), fused=fused, attention=attention)

    def _cells(self, pixels: Tensor, image_of: Tensor, items: int) -> tuple[Tensor, Tensor]:
        absent = self.no_image.expand(items, MAP_SIDE * MAP_SIDE, -1)  # [B, 49, D]
        first = torch.arange(MAP_SIDE * MAP_SIDE, device=absent.device) == 0
        if not len(pixels):
            return absent, first.expand(items, -1)
        cells = self.image(pixels)  # [M, 49, D]
        count = torch.bincount(image_of, minlength=items)  # [B]
        total = torch.zeros_like(absent).index_add(0, image_of, cells)
        present = (count > 0)[:, None]  # [B, 1]
        mean = total / count.clamp(min=1).to(cells.dtype)[:, None, None]
        return torch.where(present[:, :, None], mean, absent), present | first

    def _tokens(self, input_ids: Tensor, attention_mask: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        first = torch.arange(input_ids.shape[1], device=input_ids.device) == 0
        # An absent text keeps one token, so that no row of the encoder's attention is empty.
        mask = torch.where(present[:, None], attention_mask.bool(), first)  # [B, T]
        tokens = self.text(input_ids, mask.long())
        return torch.where(present[:, None, None], tokens, self.no_text), mask
