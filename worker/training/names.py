"""Names of inputs and of heads that rows have and nothing knows: refused, and often misspelt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from worker.errors import ConfigError
from worker.model.config import FusionConfig
from worker.model.heads import Heads
from worker.training.rows import Sample


def check_names(splits: Mapping[str, Sequence[Sample]]) -> None:
    """An input that no row of train has would be noise to the model, and a head that none tells would not be measured.

    Raises:
        ConfigError: names the row, and the name of train that is nearest.
    """
    every = [sample for samples in splits.values() for sample in samples]
    inputs = list(dict.fromkeys(name for sample in splits["train"] for name in sample.bodies))
    heads = list(dict.fromkeys(name for sample in splits["train"] for name in sample.targets))
    for sample in every:
        _ensure_known(sample, sample.bodies, inputs, "input {!r} is in no row of train; {}", "train")
        _ensure_known(sample, sample.targets, heads, "targets.{}: is in no row of train; {}", "train")


def check_heads(config: FusionConfig, samples: Sequence[Sample]) -> None:
    """A target of a head that a model with heads has not would not be measured; a model without any is of the label.

    Raises:
        ConfigError: names the row, and the head of the model that is nearest.
    """
    heads = [head.name for head in Heads(config.heads).each]
    for sample in samples if heads else ():
        _ensure_known(sample, sample.targets, heads, "targets.{}: is no head of the model; {}", "it")


def _ensure_known(sample: Sample, names: Iterable[str], known: Sequence[str], said: str, of: str) -> None:
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"{of} has {', '.join(known) or 'none'}"
            raise ConfigError(f"{sample.place}: {said.format(name, hint)}")
