"""A trained model -> a directory of each kind, and what answers from it."""

from __future__ import annotations

import hashlib
import shutil
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from worker.errors import ConfigError
from worker.exporting.program import program_of, quiet
from worker.exporting.prune import pruned
from worker.model.confidence import Knowledge
from worker.model.folder import INT8_LINEAR, ONNX, WEIGHTS
from worker.model.fusion_model import FusionModel, FusionOutput
from worker.model.items import Item, collate
from worker.model.load import digest, for_serving, load
from worker.model.served import Served, computed_in_int8, serve
from worker.training.confidence import fit_again, fit_knowledge
from worker.training.data import Samples
from worker.training.encoders import merge, tune
from worker.training.evaluate import calibrate
from worker.training.fit import fit, plan_of
from worker.training.head_fitting import fit_heads
from worker.training.sources import Data

PROGRAM = "model.pt2"
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
# Enough for the largest and smallest number that an activation takes; of the model that ships 64 found the same.
_CALIBRATED_ON = 256
_EXAMPLE = 8
# Of the rates that trained the whole: what is left already means something.
_RATE = 0.1


@dataclass(frozen=True, slots=True)
class Source:
    """What is exported, and the data that it is calibrated, trained on and tested with.

    Attributes:
        samples: per split.
        chosen, tested: the dev and the test split, decoded, with the number of each label.
        knowledge: of its verdicts; None of a model without it.
    """

    folder: Path
    model: FusionModel
    tokenizer: Tokenizer
    version: str
    data: Data
    samples: Mapping[str, Samples]
    chosen: Sequence[tuple[Item, int]]
    tested: Sequence[tuple[Item, int]]
    knowledge: Knowledge | None


def make(kind: str, source: Source, folder: Path, arguments: Namespace) -> Served:
    """The model of this kind, in a directory that is made, opened.

    What it knows of its verdicts is fitted anew to its own answers: int8 adds noise of its own to F.

    Raises:
        ConfigError: the model or the data do not fit the kind.
    """
    folder.mkdir()
    made = _made(kind, source, folder, arguments)
    if made.knowledge is None:
        return made
    knowledge = fit_again(made.ask, made.config, made.knowledge, source.chosen)
    knowledge.save(folder, weights_digest(kind, source.folder, folder))
    return replace(made, knowledge=knowledge)


def weights_digest(kind: str, source: Path, folder: Path) -> str:
    """Of what a form of this kind computes with: its own weights, or its original's."""
    if kind == INT8_LINEAR:
        return digest(source)
    return digest(folder, next(name for name in (WEIGHTS, ONNX, PROGRAM) if (folder / name).is_file()))


def _made(kind: str, source: Source, folder: Path, arguments: Namespace) -> Served:
    if kind == INT8_LINEAR:
        computed = computed_in_int8(source.folder)
        computed.config.version = computed.version
        computed.config.save_pretrained(folder)
        return replace(computed, knowledge=source.knowledge)
    for name in _TOKENIZER:
        if (source.folder / name).is_file():
            shutil.copy(source.folder / name, folder)
    if kind == "bf16":
        return _weights(kind, load(source.folder)[0].bfloat16(), source, folder)
    if kind == "pruned":
        return _weights(kind, *_trained(source, folder, arguments), folder)
    ready = for_serving(load(source.folder)[0].float(), torch.device("cpu"), torch.float32)
    calibration = _calibration(source)
    if kind == "torch-export":
        return _program(ready, calibration[:_EXAMPLE], source, folder)
    try:
        from worker.exporting import graph
    except ImportError as error:
        raise ConfigError(f"--to {kind}: needs ONNX and ONNX Runtime; install fusion-worker[onnx]") from error
    graph.write_onnx(ready, calibration[:_EXAMPLE], folder / ONNX)
    if kind == "int8":
        graph.write_int8(folder / ONNX, ready, calibration, folder / ONNX)
    return _configured(kind, ready, source, folder, ONNX)


def _weights(kind: str, model: FusionModel, source: Source, folder: Path) -> Served:
    model.save_pretrained(folder)
    return _configured(kind, model, source, folder, WEIGHTS)


def _configured(kind: str, model: FusionModel, source: Source, folder: Path, weights: str) -> Served:
    """Its configuration, with a version that tells the original's, the kind and these very weights."""
    with (folder / weights).open("rb") as file:
        model.config.version = f"{source.version}+{kind}.{hashlib.file_digest(file, 'sha256').hexdigest()[:6]}"
    model.config.save_pretrained(folder)
    if weights == PROGRAM:
        return Served(model, model.config, source.tokenizer, torch.device("cpu"), "fp32", model.config.version)
    if source.knowledge is not None:
        source.knowledge.save(folder, digest(folder, weights))
    return serve(folder, "cpu", "auto")


def _calibration(source: Source) -> list[Item]:
    """Of the dev split, every fourth with one of its inputs alone, as a stream that is away would leave it."""
    items = [item for item, _ in source.chosen[:_CALIBRATED_ON]]
    inputs = len(source.data.inputs)
    made = [item.only([n // 4 % inputs]) if n % 4 == 3 else item for n, item in enumerate(items)]
    short = [name for m, name in enumerate(source.data.inputs) if sum(bool(i.bodies[m]) for i in made[:_EXAMPLE]) < 2]
    if short:
        raise ConfigError(f"--data: two of the first {_EXAMPLE} samples of the dev split must have {short[0]}")
    return made


def _trained(source: Source, folder: Path, arguments: Namespace) -> tuple[FusionModel, Source]:
    """Trained on as the original was: its losses, what it was shown, which encoders were held; and the source with what
    this model knows, whose features are others."""
    model = pruned(source.model.float(), arguments.prune)
    plan = plan_of(source.model.config.training).slower(_RATE)
    plan = replace(plan, epochs=arguments.epochs, seed=arguments.seed, patience=None)
    tune(model, plan.held, plan.tuning, plan.seed)
    fit(model, source.samples["train"], source.samples["dev"], plan, folder, lambda *_: None)
    merge(model)
    shutil.rmtree(folder / "logs", ignore_errors=True)
    calibrate(model, source.samples["dev"], plan.batch)
    fit_heads(model, source.samples["dev"], plan.batch)
    known = source.knowledge
    if known is not None:
        splits = source.samples["train"], source.samples["dev"]
        known = fit_knowledge(model, *splits, known.level, plan.batch, plan.seed, lambda: None)
    return model, replace(source, knowledge=known)


def _program(model: FusionModel, example: Sequence[Item], source: Source, folder: Path) -> Served:
    program = program_of(model, example, evidence=False)
    with quiet():
        torch.export.save(program, folder / PROGRAM)
    opened = _configured("torch-export", model, source, folder, PROGRAM)
    return replace(opened, ask=_Program(program.module(), model))


class _Program:
    """A torch.export program, asked as the model itself.

    It takes two bodies of an input or more: of an input that no item has it is given two that belong to one item more,
    whose answer is not looked at.
    """

    def __init__(self, asked: Any, model: FusionModel) -> None:
        self._asked, self._config = asked, model.config

    def __call__(
        self, bodies: Sequence[Tensor], item_of: Sequence[Tensor], items: int, evidence: bool = False,
        when: Sequence[Tensor] = (),
    ) -> FusionOutput:  # fmt: skip
        empty = collate([], self._config)["bodies"]
        given = [
            one if len(one) else none.new_zeros(2, *none.shape[1:]) for one, none in zip(bodies, empty, strict=True)
        ]
        owners = [one if len(one) else torch.full((2,), items) for one in item_of]
        times = [one if len(one) else one.new_zeros(2, 2) for one in when]
        logits, fused, *heads = (
            one[:items] for one in self._asked(given, owners, torch.zeros(items + 1, dtype=torch.bool), times)
        )
        return FusionOutput(logits=logits, fused=fused, heads=heads[0] if heads else None)
