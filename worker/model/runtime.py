"""Aligned -> Verdict: a FusionModel that is served."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from worker.errors import Poison
from worker.model.config import FusionConfig
from worker.model.load import device_of, digest, for_serving, load, number_format
from worker.model.preprocess import decode_image, text_of
from worker.records import Aligned, Event, Verdict

SHIPPED = Path(__file__).parent / "junction"

# On a CPU two batches side by side on a thread each take two thirds of the time that both threads need for one after
# the other: small kernels scale badly and wait for each other. Many lanes make a lone batch slow.
_MOST_LANES = 4

# Scores are told to four places: more would be noise of the number format, and no one decides on it.
_PLACES = 4


@dataclass(frozen=True, slots=True)
class Item:
    """One anchor's inputs, ready for the model: `images` [3, S, S] each, `input_ids` [T] or None."""

    images: tuple[Tensor, ...]
    input_ids: tuple[int, ...] | None


class ModelRuntime:
    """worker.ports.Model on torch. Thread-safe; up to `lanes` calls of `infer` at once.

    Guarantees: a verdict depends on its own item alone, not on its neighbours or their number: texts are padded to the
    model's T and a batch of one is doubled, so that the same kernels see every item.
    """

    def __init__(
        self,
        *,
        path: str | None,
        device: str,
        precision: str,
        anchor: str,
        modalities: Mapping[str, str],
        embedding: bool,
    ) -> None:
        """Loads the model.

        Args:
            path: a from_pretrained directory; None: the junction model that ships with the package.
            modalities: of every stream, by its name.
            anchor: the stream whose own body, if it cannot be decoded, costs the anchor.

        Raises:
            ConfigError: the directory, device or precision does not fit.
        """
        folder = Path(path) if path is not None else SHIPPED
        self._device = device_of(device)
        self._dtype = number_format(precision, self._device)
        model, self._tokenizer = load(folder)
        self._config: FusionConfig = model.config
        self._model = for_serving(model, self._device, self._dtype)
        cores = len(os.sched_getaffinity(0))
        self.lanes = min(cores, _MOST_LANES) if self._device.type == "cpu" else 1
        self._threads = max(1, cores // self.lanes)
        self._lane = threading.local()
        self._anchor, self._modalities, self._embedding = anchor, dict(modalities), embedding
        self.labels = tuple(self._config.id2label[n] for n in range(self._config.num_labels))
        self._info = {
            "name": self._config.name,
            "version": self._config.version or digest(folder),
            "device": str(self._device),
            "precision": {torch.float32: "fp32", torch.bfloat16: "bf16"}[self._dtype],
        }

    @property
    def info(self) -> Mapping[str, str]:
        """name, version, device, precision."""
        return self._info

    def prepare(self, aligned: Aligned) -> Item:
        """Decodes and tokenises.

        Raises:
            Poison: stage DECODE; `stream` names the stream whose body cannot be decoded.
        """
        images: list[Tensor] = []
        texts: list[str] = []
        for name, modality in self._modalities.items():
            for event in self._events(aligned, name):
                if modality == "image":
                    images.append(decode_image(event.payload, self._config.image_size, name))
                else:
                    texts.append(text_of(event.payload, event.content_type, name))
        ids = tuple(self._tokenizer.encode("\n".join(texts)).ids) if texts else None
        return Item(tuple(images), ids)

    def _events(self, aligned: Aligned, stream: str) -> tuple[Event, ...]:
        return (aligned.anchor,) if stream == self._anchor else aligned.inputs.get(stream, ())

    def infer(self, batch: Sequence[Item]) -> list[Verdict]:
        """One verdict per item, in order.

        Raises:
            Poison: stage MODEL; some item gives scores that are not finite, or needs more memory than there is.
        """
        if not hasattr(self._lane, "ready"):
            # The number of threads that torch takes for an operation belongs to the thread that asks for it.
            torch.set_num_threads(self._threads)
            self._lane.ready = True
        items = [*batch, batch[0]] if len(batch) == 1 else batch
        try:
            with torch.inference_mode():
                out = self._model(**self._collate(items))
                scores = out.logits.float().softmax(dim=-1).cpu()  # [B, K]
                fused = out.fused.float().cpu() if self._embedding else None  # [B, D]
        except torch.OutOfMemoryError as error:
            raise Poison("MODEL", "out_of_memory", f"{len(batch)} items do not fit into memory: {error}") from error
        if not bool(scores.isfinite().all()):
            raise Poison("MODEL", "not_finite", "the model's scores are not finite")
        rows = scores[: len(batch)].tolist()
        vectors = fused[: len(batch)].tolist() if fused is not None else [None] * len(rows)
        return [self._verdict(row, vector) for row, vector in zip(rows, vectors, strict=True)]

    def _verdict(self, row: Sequence[float], vector: Sequence[float] | None) -> Verdict:
        scores = {label: round(score, _PLACES) for label, score in zip(self.labels, row, strict=True)}
        label = max(scores, key=scores.__getitem__)
        return Verdict(label, scores[label], scores, tuple(vector) if vector is not None else None)

    def _collate(self, items: Sequence[Item]) -> dict[str, Tensor]:
        return {
            name: tensor.to(self._device, non_blocking=True)
            for name, tensor in collate(items, self._config.max_tokens, self._config.image_size).items()
        }


def collate(items: Sequence[Item], max_tokens: int, image_size: int) -> dict[str, Tensor]:
    """The arguments of FusionModel.forward for these items."""
    images = [image for item in items for image in item.images]
    owners = [n for n, item in enumerate(items) for _ in item.images]
    ids = torch.zeros(len(items), max_tokens, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, item in enumerate(items):
        if item.input_ids is not None:
            ids[row, : len(item.input_ids)] = torch.tensor(item.input_ids)
            mask[row, : len(item.input_ids)] = 1
    return {
        "pixels": _stack(images) if images else torch.zeros(0, 3, image_size, image_size, dtype=torch.uint8),
        "image_of": torch.tensor(owners, dtype=torch.long),
        "input_ids": ids,
        "attention_mask": mask,
        "text_present": torch.tensor([item.input_ids is not None for item in items]),
    }


def _stack(images: Sequence[Tensor]) -> Tensor:
    """[3, S, S] each -> [M, 3, S, S] in channels_last, which is how a decoded image lies in memory."""
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)
