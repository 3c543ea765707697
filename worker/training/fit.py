"""Labelled samples -> the weights that do best on the dev split; can be cut off and resumed to the same numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from worker.errors import ConfigError
from worker.model.fusion_model import FusionModel
from worker.model.heads import Heads
from worker.model.items import on_device
from worker.training.augment import Augment
from worker.training.board import Board
from worker.training.data import Samples, told_batches
from worker.training.encoders import groups, steady
from worker.training.evaluate import Measured, measure
from worker.training.head_measures import judged_by
from worker.training.losses import Weights, heads_loss, joint_loss
from worker.training.presence import ALL, Presence

CHECKPOINT = "checkpoint.pt"
LOGS = "logs"
_ON_BOARD = {
    "loss": "loss/train", "judged": "judged/dev", "dev accuracy": "accuracy/dev", "dev macro F1": "macro F1/dev",
}  # fmt: skip
_NOT_FINITE = "--learning-rate {:g}: the loss is no longer finite; take a smaller one"


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train.

    Attributes:
        epochs: passes over the training split.
        batch: items per step.
        learning_rate: the highest of the one-cycle schedule.
        encoder_rate: the same, of the encoders that began with weights of their own: one for all, or by modality.
        held: the modalities of these encoders.
        dropout: modality dropout: how often a sample is shown with some of its inputs only.
        weights: of the losses.
        tuning: of the encoders, as `tuning_of` reads it.
        precision: fp32, or bf16: forward and loss in bf16 by autocast, weights in fp32.
        patience: epochs without a better macro-F1 on dev after which training ends; None: never.
        augment: the share of texts, readings and images that are corrupted, anew in each epoch.
        blind: the share of images that give way to one that shows nothing (blind.py).
        seed: of the order, of the modality dropout and of what is corrupted; the same seed gives the same weights on
            the same machine.
    """

    epochs: int = 4
    batch: int = 32
    learning_rate: float = 2e-3
    encoder_rate: float | Mapping[str, float] = 2e-5
    held: tuple[str, ...] = ()
    dropout: float = 0.3
    weights: Weights = field(default_factory=Weights)
    tuning: str = "full"
    precision: str = "fp32"
    patience: int | None = None
    augment: float = 0.0
    blind: float = 0.0
    seed: int = 0

    def slower(self, share: float) -> Plan:
        """The same at this share of its rates."""
        own = self.encoder_rate
        rate = {name: share * one for name, one in own.items()} if isinstance(own, Mapping) else share * own
        return replace(self, learning_rate=share * self.learning_rate, encoder_rate=rate)


def plan_of(told: Mapping[str, Any]) -> Plan:
    """The plan that `asdict` told, as a model's configuration keeps it; of a model from before, the defaults."""
    known = {one.name for one in fields(Plan)}
    given = {name: value for name, value in told.items() if name in known}
    weights = dict(given.pop("weights", {}))
    if weights.get("classes") is not None:
        weights["classes"] = tuple(weights["classes"])
    return Plan(**{**given, "weights": Weights(**weights), "held": tuple(given.get("held", ()))})


@dataclass
class _State:
    """What a cut-off run goes on from, beside the model's weights and the optimizer's."""

    epoch: int = 0
    best: float = -1.0  # As `judged_by` has it.
    best_epoch: int = -1
    history: list[dict[str, float]] = field(default_factory=list)


def fit(
    model: FusionModel, train: Samples, dev: Samples, plan: Plan, folder: Path, step: Callable[[str, int], object],
    *, resume: bool = False, seen: Callable[[int, float], None] = lambda *_: None,
) -> list[dict[str, float]]:  # fmt: skip
    """Trains in place, leaves the weights of the epoch that does best on dev (`judged_by`), and returns the curves.

    1. A checkpoint is written after each epoch; with `resume` the run goes on from it, to the same numbers.
    2. Curves go to `folder`/logs for TensorBoard; `step(text, batches)` is called after each batch, for a bar.
    3. `seen(epoch, what dev is judged by)` is called after each epoch; what it raises ends the run.
    4. The checkpoint is taken away at the end.

    Raises:
        ConfigError: a batch has one item, or the training split is smaller than one; the loss is no longer finite; the
            checkpoint cannot be read, or is of a run with another plan, other data or another model.
    """
    if plan.batch < 2:
        raise ConfigError(f"--batch {plan.batch}: training compares the items of a step; must be 2 or more")
    if len(train) < plan.batch:
        raise ConfigError(f"--batch {plan.batch}: the training split has only {len(train)} samples")
    if plan.blind:
        train.show_blind(plan.seed)
    torch.manual_seed(plan.seed)
    steps = len(train) // plan.batch
    optimizer, schedule = one_cycle(model, plan, plan.epochs * steps)
    state, kept = _State(), copy.deepcopy(model.state_dict())
    path, run = folder / CHECKPOINT, _run_of(plan, model, train, dev)
    if resume:
        kept = _resumed(path, run, model, optimizer, schedule, state)
        step(f"from epoch {state.epoch}", state.epoch * (steps + -(-len(dev) // plan.batch)))
    with Board(folder / LOGS, asdict(plan)) as board:
        while state.epoch < plan.epochs and not _has_stopped(state, plan):
            loss = _epoch(model, train, optimizer, schedule, plan, state.epoch, step)
            found = measure(model, dev, plan.batch, ALL, lambda: step("dev", 1))
            judged = judged_by(model.config, found)
            state.history.append(_point(loss, found, judged))
            board.add({_ON_BOARD[name]: value for name, value in state.history[-1].items()}, state.epoch)
            if judged > state.best:
                state.best, state.best_epoch, kept = judged, state.epoch, copy.deepcopy(model.state_dict())
            seen(state.epoch, judged)
            state.epoch += 1
            _save(path, run, model, optimizer, schedule, state, kept)
    model.load_state_dict(kept)
    path.unlink(missing_ok=True)
    return state.history


def one_cycle(model: FusionModel, plan: Plan, steps: int) -> tuple[AdamW, OneCycleLR]:
    """What a model's weights are trained with in so many steps."""
    optimizer = AdamW(groups(model, plan.held, plan.learning_rate, plan.encoder_rate))
    return optimizer, OneCycleLR(optimizer, [group["lr"] for group in optimizer.param_groups], total_steps=steps)


def descend(model: FusionModel, loss: torch.Tensor, optimizer: AdamW, schedule: OneCycleLR, plan: Plan) -> float:
    """One step down the loss, which is given back.

    Raises:
        ConfigError: it is no longer finite.
    """
    if not bool(loss.isfinite()):
        raise ConfigError(_NOT_FINITE.format(plan.learning_rate))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    return loss.item()


def _point(loss: float, dev: Measured, judged: float) -> dict[str, float]:
    """Of an epoch's curves; of a model without a label nothing about it."""
    of_label = {"dev accuracy": dev.accuracy, "dev macro F1": dev.macro_f1} if dev.has_label else {}
    return {"loss": loss, "judged": judged, **of_label}


def kept_of(history: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """The epoch of a run's curves whose weights were kept."""
    return max(history, key=lambda point: point["judged"])


def _has_stopped(state: _State, plan: Plan) -> bool:
    return plan.patience is not None and state.epoch - 1 - state.best_epoch >= plan.patience and state.epoch > 0


def _epoch(
    model: FusionModel, train: Samples, optimizer: AdamW, schedule: OneCycleLR, plan: Plan, epoch: int,
    step: Callable[[str, int], object],
) -> float:  # fmt: skip
    model.train()
    steady(model)
    presence = Presence(dropout=plan.dropout)
    seed = plan.seed * 1000 + epoch
    corrupted = train.augmented(Augment(plan.augment, plan.blind), seed)
    total, count = 0.0, 0
    heads = Heads(model.config.heads)
    for arguments, labels, targets in told_batches(corrupted, plan.batch, presence, seed=seed, shuffle=True):
        with torch.autocast(model.device.type, torch.bfloat16, enabled=plan.precision == "bf16"):
            out = model(**on_device(arguments, model.device))
            loss = joint_loss(out, labels.to(model.device), plan.weights)
            if heads.each:
                loss = loss + plan.weights.heads * heads_loss(heads, out.heads, targets.to(model.device))
        total, count = total + descend(model, loss, optimizer, schedule, plan), count + 1
        step(f"loss {total / count:.3f}", 1)
    return total / count


def _run_of(plan: Plan, model: FusionModel, train: Samples, dev: Samples) -> dict[str, str]:
    """What a run must have in common with the one that it goes on from, by the names that a message tells."""
    config = model.config.to_dict()
    labels = ", ".join(model.config.id2label[number] for number in range(model.config.num_labels))
    told = {"labels": labels, "inputs": repr(config["inputs"]), "fusion": repr(config["fusion"])}
    told |= {"train": repr(train.digest), "dev": repr(dev.digest)}
    told |= {name: repr(value) for name, value in asdict(plan).items()}
    others = {name: repr(value) for name, value in sorted(config.items()) if name not in ("id2label", "label2id")}
    return told | {name: value for name, value in others.items() if name not in told}


def _save(
    path: Path, run: Mapping[str, str], model: FusionModel, optimizer: AdamW, schedule: OneCycleLR, state: _State,
    kept: Mapping[str, Any],
) -> None:  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    chance = {"cpu": torch.get_rng_state()}
    if model.device.type == "cuda":
        chance["cuda"] = torch.cuda.get_rng_state(model.device)
    saved = {
        "run": dict(run), "model": model.state_dict(), "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(), "state": asdict(state), "kept": dict(kept), "chance": chance,
    }  # fmt: skip
    torch.save(saved, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def _resumed(
    path: Path, run: Mapping[str, str], model: FusionModel, optimizer: AdamW, schedule: OneCycleLR, state: _State
) -> dict[str, Any]:
    saved = _loaded(path, model)
    of = saved["run"]
    for name in (*run, *of):
        if run.get(name) != of.get(name):
            raise ConfigError(
                f"--resume: {path} is of a run with {name} = {of.get(name)}, this one has {name} = {run.get(name)}; "
                "give what that run was given, or begin anew without --resume"
            )
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    schedule.load_state_dict(saved["schedule"])
    torch.set_rng_state(saved["chance"]["cpu"].cpu())
    if "cuda" in saved["chance"] and model.device.type == "cuda":
        torch.cuda.set_rng_state(saved["chance"]["cuda"].cpu(), model.device)
    for name, value in saved["state"].items():
        setattr(state, name, value)
    kept: dict[str, Any] = saved["kept"]
    return kept


def _loaded(path: Path, model: FusionModel) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"--resume: no {path.name} in {path.parent}; a run writes it after each epoch")
    try:
        saved = torch.load(path, weights_only=True, map_location=model.device)
    except (OSError, EOFError, RuntimeError, UnpicklingError) as error:
        told = f"{type(error).__name__}; begin anew without --resume"
        raise ConfigError(f"--resume: {path} is no checkpoint that can be read: {told}") from error
    if not isinstance(saved, dict) or not isinstance(saved.get("run"), dict) or not _is_judged(saved["state"]):
        raise ConfigError(f"--resume: {path} is no checkpoint of this version; begin anew without --resume")
    return saved


def _is_judged(state: Mapping[str, Any]) -> bool:
    return all("judged" in point for point in state["history"])
