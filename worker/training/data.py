"""Labelled pairs of an image and a text -> batches for FusionModel.forward, with modality dropout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from worker.errors import ConfigError, Poison
from worker.feeds.junction import LABELS, scene
from worker.model.preprocess import decode_image
from worker.model.runtime import Item, collate

SPLITS = ("train", "dev", "test")
JUNCTION = "junction"

# The three splits of the junction are drawn from seeds that have nothing in common.
_SEED_OF = {"train": 1, "dev": 2, "test": 3}


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled moment; a modality that is None is missing. `place` names it in messages."""

    image: bytes | None
    text: str | None
    label: str
    place: str


@dataclass(frozen=True, slots=True)
class Presence:
    """How often each modality is hidden from the model; never both of one item."""

    without_image: float = 0.0
    without_text: float = 0.0


ALL = Presence()
IMAGE_ONLY = Presence(without_text=1.0)
TEXT_ONLY = Presence(without_image=1.0)


def junction_samples(split: str, count: int, seed: int) -> Iterator[Sample]:
    """Scenes of the junction, each label as often as the others."""
    rng = np.random.default_rng([seed, _SEED_OF[split]])
    for number in range(count):
        made = scene(rng, LABELS[number % len(LABELS)])
        yield Sample(made.image, made.text, made.label, f"junction/{split}/{number}")


def folder_samples(folder: Path, split: str) -> Iterator[Sample]:
    """Samples of `<split>.jsonl`, a row each: {"image": file below the folder, "text": ..., "label": ...}.

    Raises:
        ConfigError: names the row that cannot be used.
    """
    path = folder / f"{split}.jsonl"
    if not path.is_file():
        raise ConfigError(
            f"--data {folder}: no {split}.jsonl there; needed are {', '.join(f'{s}.jsonl' for s in SPLITS)}"
        )
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.strip():
            yield _row(folder, f"{path}:{number}", line)


def _row(folder: Path, place: str, line: str) -> Sample:
    try:
        row = json.loads(line)
        image, text, label = row.get("image"), row.get("text"), row["label"]
        body = (folder / image).read_bytes() if image is not None else None
    except (ValueError, AttributeError, TypeError) as error:
        raise ConfigError(f"{place}: must be a JSON object with label and image or text: {error}") from error
    except KeyError as error:
        raise ConfigError(f"{place}: has no label") from error
    except OSError as error:
        raise ConfigError(f"{place}: image {image!r}: {error.strerror}") from error
    if body is None and not text:
        raise ConfigError(f"{place}: has neither image nor text")
    return Sample(body, text, str(label), place)


class Samples(Dataset[tuple[Item, int]]):
    """Samples as the model's items and the numbers of their labels; images are decoded when they are asked for."""

    def __init__(self, samples: Sequence[Sample], labels: Sequence[str], tokenizer: Tokenizer, image_size: int) -> None:
        """Raises ConfigError for a label that is not one of `labels`."""
        numbers = {label: number for number, label in enumerate(labels)}
        for sample in samples:
            if sample.label not in numbers:
                raise ConfigError(
                    f"{sample.place}: label {sample.label!r} is not in the training data: {', '.join(labels)}"
                )
        self._samples, self._numbers, self._size = samples, numbers, image_size
        self._ids = [tuple(tokenizer.encode(s.text).ids) if s.text else None for s in samples]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> tuple[Item, int]:
        sample = self._samples[index]
        try:
            images = (decode_image(sample.image, self._size, "image"),) if sample.image is not None else ()
        except Poison as error:
            raise ConfigError(f"{sample.place}: {error}") from error
        return Item(images, self._ids[index]), self._numbers[sample.label]


def batches(
    samples: Samples, batch: int, max_tokens: int, image_size: int, presence: Presence, *, seed: int, shuffle: bool
) -> DataLoader[tuple[Item, int]]:
    """Batches of (arguments of FusionModel.forward, labels [B]); the same for the same seed."""
    rng = np.random.default_rng(seed)

    def collated(rows: Sequence[tuple[Item, int]]) -> tuple[dict[str, Tensor], Tensor]:
        items = [_hide(item, presence, rng.random()) for item, _ in rows]
        return collate(items, max_tokens, image_size), torch.tensor([label for _, label in rows])

    order = torch.Generator().manual_seed(seed)
    return DataLoader(samples, batch, shuffle=shuffle, drop_last=shuffle, collate_fn=collated, generator=order)


def _hide(item: Item, presence: Presence, chance: float) -> Item:
    if chance < presence.without_image and item.input_ids is not None:
        return Item((), item.input_ids)
    if chance >= 1 - presence.without_text and item.images:
        return Item(item.images, None)
    return item
