"""Models without an image encoder, which are made in milliseconds, served without a folder; and what they are asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from worker.model.config import FusionConfig
from worker.model.drift import Reference
from worker.model.fusion_model import FusionModel
from worker.model.runtime import ModelRuntime
from worker.model.served import Served
from worker.records import Aligned, Event, Record
from worker.training.vocabulary import learn_vocabulary

TOKENIZER = learn_vocabulary([f"word{n} lane is blocked" for n in range(40)], 300)
TEXT = {
    "model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64,
    "vocab_size": len(TOKENIZER),
}  # fmt: skip
SECOND_US = 1_000_000


def model_of(**settings: Any) -> FusionModel:
    """An untrained model; the same for the same settings."""
    torch.manual_seed(1)
    made: FusionModel = FusionModel(FusionConfig(dim=32, text=TEXT, num_labels=3, **settings)).eval()
    return made


def runtime_of(
    model: FusionModel, streams: Mapping[str, str], anchor: str, mapped: Mapping[str, str] | None = None, *,
    evidence: bool = False, reference: Reference | None = None,
) -> ModelRuntime:  # fmt: skip
    """The model as a worker asks it."""
    tokenizer = TOKENIZER.backend_tokenizer
    tokenizer.enable_truncation(model.config.max_tokens)
    tokenizer.no_padding()
    served = Served(model, model.config, tokenizer, torch.device("cpu"), "fp32", "1", reference)
    return ModelRuntime(
        path=None, device="cpu", precision="fp32", anchor=anchor, modalities=streams, inputs=mapped, embedding=True,
        evidence=evidence, served=served,
    )  # fmt: skip


def event(stream: str, payload: str, seconds: float = 0.0) -> Event:
    """An event at so many seconds from the anchor."""
    kind = "application/json" if payload.startswith("{") else "text/plain"
    time_us = 1_000 * SECOND_US + round(seconds * SECOND_US)
    record = Record(stream, 0, 0, time_us // 1000, b"k", payload.encode())
    return Event(stream, "k", f"{stream}{seconds}", "s", time_us, kind, payload.encode(), record)


def aligned(anchor: Event, **inputs: Sequence[Event]) -> Aligned:
    """The anchor with what was matched to it."""
    return Aligned(anchor, {name: tuple(events) for name, events in inputs.items()}, {}, True)
