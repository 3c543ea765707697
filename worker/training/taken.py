"""A trained model's weights -> those of a new one that have the same meaning: by input, label and channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.errors import ConfigError
from worker.model.config import FusionConfig
from worker.model.fusion_model import FusionModel
from worker.model.heads import Head, Heads
from worker.model.items import on_device
from worker.model.kinds import NUMBER
from worker.training.data import Samples, batches
from worker.training.presence import ALL
from worker.training.start import Start, listed

# Of each fusion its lists of modules with one for each input.
_BY_INPUT = {
    "attention": ("query", "value"),
    "dense": ("gate", "out.norm"),
    "graph": ("out.norm",),
    "cross_attention": ("query", "key", "value", "norm", "out.norm"),
}
_READ_OUT = "fusion.out.inner.weight"  # [2D, inputs * D]
_FIRST_OF_SENSORS = "encoders.sensor.inner.weight"  # [D, 2C]: numbers, then marks of those that are missing


@dataclass(frozen=True, slots=True)
class Begun:
    """What a model began with.

    Attributes:
        labels: the numbers of those that the earlier model does not have.
        table: what was taken, what is new and what was left out, line by line.
    """

    labels: tuple[int, ...]
    table: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Matched:
    """Of each input, label, channel and further head's column of the new model its place in the earlier one; None: it
    is new."""

    inputs: list[int | None]
    labels: list[int | None]
    heads: list[int | None]
    channels: list[int | None]


@torch.no_grad()
def take(model: FusionModel, start: Start) -> Begun:
    """Copies into `model` what it has in common with the model that it begins from.

    1. What belongs to an input, a label or a sensor's channel goes by its name, in whatever order both have them.
    2. What a new input or channel adds is 0 at first, where the fusion has others, so that the others are understood as
       before.
    3. A weight of another shape stays new, and is told.
    4. A number that both tell is the same in its unit, whatever mean and spread either data has.

    Raises:
        ConfigError: they tell it in two units.
    """
    config, own = model.config, start.config
    _check_units(config, start)
    inputs = dict(zip(config.names, config.inputs, strict=True))
    earlier = {label: number for number, label in own.id2label.items()}
    told = {name: getattr(config, name) for name in ("channels", "channel_inputs", "channel_words")}
    matched = _Matched(
        start.matched(inputs),
        [earlier.get(config.id2label[number]) for number in range(config.num_labels)],
        _heads(config, own),
        start.places(told, inputs) if config.channels else [],
    )
    unfit: list[str] = []
    taken = 0
    state = model.state_dict()
    for name, wanted in state.items():
        made = _weight(name, wanted, start, matched, config.fusion)
        if made is not None and name.startswith("head.") and made.shape == wanted.shape:
            _keep_units(made, config, own, is_bias=name.endswith("bias"))
        if made is None:
            continue
        if made.shape != wanted.shape:
            unfit.append(name)
            continue
        wanted.copy_(made)
        taken += wanted.numel()
    if config.packages:
        model.additions = dict(start.model.additions)
    share = taken / sum(one.numel() for one in state.values())
    fresh = tuple(number for number, old in enumerate(matched.labels) if old is None)
    return Begun(fresh, tuple(_table(model, start, matched, unfit, share)))


def _weight(name: str, wanted: Tensor, start: Start, matched: _Matched, fusion: str) -> Tensor | None:
    """A weight as it begins; None: as it is."""
    held, some = start.state, any(old is not None for old in matched.inputs)
    if name in ("role", "missing"):
        return _rows(wanted, held[name], matched.inputs)
    if name.startswith("head."):
        return _rows(wanted, held[name], [*matched.labels, *matched.heads])
    if name == _FIRST_OF_SENSORS and name in held:
        count = len(start.config.channels)
        places = [*matched.channels, *(None if old is None else old + count for old in matched.channels)]
        return _rows(_blank(wanted) if any(old is not None for old in places) else wanted, held[name], places, dim=1)
    if name == _READ_OUT:
        blocks = [one for old in matched.inputs for one in _block(old, start.config.dim)]
        return _rows(_blank(wanted) if some else wanted, held[name], blocks, dim=1)
    for part in _BY_INPUT[fusion]:
        if name.startswith(f"fusion.{part}."):
            number, _, rest = name.removeprefix(f"fusion.{part}.").partition(".")
            if (old := matched.inputs[int(number)]) is not None:
                return held[f"fusion.{part}.{old}.{rest}"]
            # Of attention's products of pairs one alone would have nothing to be added to.
            is_silent = part == "value" and sum(old is not None for old in matched.inputs) > 1
            return _blank(wanted) if is_silent else None
    return held.get(name)


def _heads(config: FusionConfig, own: FusionConfig) -> list[int | None]:
    """Columns of further heads by head, kind and label; they lie behind those of the label."""
    earlier = {one: own.num_labels + place for place, one in enumerate(Heads(own.heads).columns)}
    return [earlier.get(one) for one in Heads(config.heads).columns]


def _check_units(config: FusionConfig, start: Start) -> None:
    units = {one.name: one.unit for one in Heads(start.config.heads).each if one.kind == NUMBER}
    for one in (one for one in Heads(config.heads).each if one.kind == NUMBER):
        if (unit := units.get(one.name)) is not None and one.unit is not None and unit != one.unit:
            raise ConfigError(
                f"--init {start.folder}: tells {one.name} in {unit}, --head {one.name}=number:{one.unit} asks for "
                f"another unit; give the values in {unit}, name the head otherwise, or train without --init"
            )


def _keep_units(made: Tensor, config: FusionConfig, own: FusionConfig, *, is_bias: bool) -> None:
    """Of numbers that both tell: mean + std * column is what it was, with the new mean and std."""
    earlier = {one.name: one for one in Heads(own.heads).each if one.kind == NUMBER}
    first = config.num_labels
    for one in Heads(config.heads).each:
        if one.kind == NUMBER and (was := earlier.get(one.name)) is not None:
            columns = made[first : first + one.width]
            columns *= was.std / one.std
            if is_bias:
                columns += (was.mean - one.mean) / one.std
        first += one.width


def _block(old: int | None, dim: int) -> list[int | None]:
    return [None] * dim if old is None else [*range(old * dim, (old + 1) * dim)]


def _blank(wanted: Tensor) -> Tensor:
    return torch.zeros_like(wanted)


def _rows(wanted: Tensor, held: Tensor, places: Sequence[int | None], dim: int = 0) -> Tensor:
    """`wanted` with those rows, or columns, that `held` has at these places; what has another size is `held`."""
    if held.shape[:dim] + held.shape[dim + 1 :] != wanted.shape[:dim] + wanted.shape[dim + 1 :]:
        return held
    made = wanted.clone()
    for new, old in enumerate(places):
        if old is not None:
            made.select(dim, new).copy_(held.select(dim, old))
    return made


def _table(model: FusionModel, start: Start, matched: _Matched, unfit: Sequence[str], share: float) -> list[str]:
    config, own = model.config, start.config
    channels = [f"{one} of {name}" for one, name in zip(config.channel_names, config.channel_inputs or (), strict=True)]
    # One without names of inputs has each channel for every sensor.
    of = own.channel_inputs or ["every sensor"] * len(own.channels)
    held = [f"{one} of {name}" for one, name in zip(own.channel_names, of, strict=True)]
    labels, known = ([one.id2label[number] for number in range(one.num_labels)] for one in (config, own))
    rows = [
        ("", "taken", "new", "left out"),
        ("inputs", *_split(config.names, own.names, matched.inputs)),
        ("encoders", *_split([*model.encoders], encoders := [*dict.fromkeys(own.inputs)], [
            encoders.index(one) if one in encoders else None for one in model.encoders])),
        ("labels", *_split(labels, known, matched.labels)),
        *([("heads", *_heads_split(config, own))] if config.heads or own.heads else []),
        *([("channels", *_split(channels, held, matched.channels))] if channels or held else []),
    ]  # fmt: skip
    wide = [max(len(row[place]) for row in rows) for place in range(4)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, wide, strict=True)).rstrip() for row in rows]
    head = f"begins from {own.name} ({start.digest}), dim {own.dim}, {own.fusion}: {share:.1%} of the weights are its"
    told = [f"of another shape, and new: {', '.join(unfit)}"] if unfit else []
    return [head, *lines, *told]


def _heads_split(config: FusionConfig, own: FusionConfig) -> tuple[str, str, str]:
    heads, earlier = (Heads(each.heads).each for each in (config, own))
    kinds = [(one.name, one.kind) for one in earlier]
    places = [kinds.index((one.name, one.kind)) if (one.name, one.kind) in kinds else None for one in heads]
    return _split(_shown(heads), _shown(earlier), places)


def _shown(heads: Sequence[Head]) -> list[str]:
    """With the unit, so that one that is told on one side alone is seen."""
    return [f"{one.name} ({one.kind}{f' in {one.unit}' if one.unit else ''})" for one in heads]


def _split(names: Sequence[str], held: Sequence[str], places: Sequence[int | None]) -> tuple[str, str, str]:
    """Names that were taken (with what they were called, where that was another), new ones, and those left out."""
    pairs = list(zip(names, places, strict=True))
    taken = [name if held[old] == name else f"{name} (was {held[old]})" for name, old in pairs if old is not None]
    left = [name for number, name in enumerate(held) if number not in places]
    return listed(taken), listed([name for name, old in pairs if old is None]), listed(left)


@torch.no_grad()
def begin_labels(model: FusionModel, train: Samples, labels: Sequence[int], batch: int) -> None:
    """New labels begin as the mean of their samples in F, as long as the head's other rows are and, at the mean of all
    samples, as likely as these are on average."""
    if not labels:
        return
    model.eval()
    fused, truth = [], []
    for arguments, numbers in batches(train, batch, ALL, seed=0, shuffle=False):
        fused.append(model(**on_device(arguments, model.device)).fused.float())
        truth.append(numbers)
    seen, known = torch.cat(fused), torch.cat(truth).to(model.device)
    middle, head = seen.mean(dim=0), model.head
    others = [number for number in range(model.config.num_labels) if number not in labels] or [*labels]
    length = head.weight[others].norm(dim=1).mean()
    usual = (head.weight[others] @ middle + head.bias[others]).mean()
    for label in labels:
        own = seen[known == label]
        if len(own):
            apart = own.mean(dim=0) - middle
            head.weight[label] = apart * length / apart.norm().clamp_min(1e-6)
            head.bias[label] = usual - head.weight[label] @ middle
