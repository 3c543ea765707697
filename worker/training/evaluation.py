"""The command `evaluate`: a model and a split -> what is told of it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

import torch
from rich.console import Console

from worker.errors import ConfigError
from worker.model.confidence import Knowledge
from worker.model.config import FusionConfig
from worker.model.heads import Heads
from worker.model.load import device_of, digest, load
from worker.model.preprocess import Preprocessor
from worker.model.sums import UNLISTED, verified
from worker.training.against import against
from worker.training.data import Samples
from worker.training.evaluate import Measured, first_of, labels_of, measure
from worker.training.findings import Findings, Of, groupings, write_metrics
from worker.training.groups import names_of
from worker.training.names import check_heads
from worker.training.presence import Presence
from worker.training.rows import Sample
from worker.training.run import draw, measure_all, read_data
from worker.training.spoiled import Asked, probed, spoiled_by_kind


def evaluate(arguments: Namespace) -> int:
    """Prints how well a model does on a split under each presence pattern, by group, and on spoiled inputs."""
    console = Console()
    with verified(arguments.model) as sums:
        model, tokenizer = load(arguments.model)
        knowledge = Knowledge.load(arguments.model, model.config, of := digest(arguments.model))
    if sums is None:
        console.print(f"warning: --model {arguments.model}: {UNLISTED}", markup=False, soft_wrap=True)
    _check_label(arguments, model.config)
    model.to(device_of(arguments.device), memory_format=torch.channels_last)
    data = read_data(arguments, (arguments.split,), console)
    data = data.fitting(model.config, f"--model {arguments.model}")
    preprocessor = Preprocessor(model.config, tokenizer)
    names, labels = list(data.inputs), labels_of(model.config)
    check_heads(model.config, rows := data.splits[arguments.split])
    samples = Samples(rows, names, labels, model.config, preprocessor)
    known = knowledge.to(model.device) if knowledge is not None else None
    _check_groups(arguments, rows, samples.names, labels)
    measured = measure_all(model, samples, names, arguments.batch, console, known)
    first = first_of(measured)
    spoiled, probe = [], None
    if arguments.robust:
        asked = Asked(model, samples, first, known, arguments.batch, arguments.seed)
        spoiled, probe = spoiled_by_kind(asked, console), probed(asked, console)
    groups = groupings(samples, first, arguments.by, arguments.positive)
    findings = Findings(model.config, measured, groups, spoiled, probe)
    console.print(findings.report(), highlight=False, markup=False, soft_wrap=True)
    _write(arguments, findings, Of(of, arguments.data, arguments.split, arguments.seed, samples))
    if arguments.against:

        def own(shown: Sequence[int]) -> Measured:
            return measure(model, samples, arguments.batch, Presence(tuple(shown)))

        told = against(arguments.against, data, arguments.split, arguments.batch, arguments.device, own)
        console.print(*told, sep="\n", highlight=False, soft_wrap=True)
    return 0


def _check_label(arguments: Namespace, config: FusionConfig) -> None:
    """Before anything is read: some options have nothing to tell of a model without a label."""
    if config.has_label:
        return
    for option in ("positive", "by", "robust", "plots", "against"):
        if getattr(arguments, option):
            heads = ", ".join(head.name for head in Heads(config.heads).each)
            raise ConfigError(f"--{option}: is about the label, which this model has not; its heads are {heads}")


def _check_groups(arguments: Namespace, rows: Sequence[Sample], names: Sequence[str], labels: Sequence[str]) -> None:
    """Before anything is measured."""
    for by in arguments.by:
        names_of(rows, by, names)
    if arguments.positive is not None and not arguments.by:
        raise ConfigError("--positive: has an effect with --by alone")
    if arguments.positive is not None and arguments.positive not in labels:
        raise ConfigError(f"--positive {arguments.positive}: must be one of {', '.join(labels)}")


def _write(arguments: Namespace, findings: Findings, of: Of) -> None:
    for option in ("plots", "report"):
        folder = getattr(arguments, option)
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--{option} {folder}: cannot be made: {error.strerror}") from error
    if arguments.plots is not None:
        draw(first_of(findings.measured), arguments.plots)
    if arguments.report is not None:
        (arguments.report / "report.txt").write_text(findings.report(), "utf-8")
        write_metrics(arguments.report, findings, of)
