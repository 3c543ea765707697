"""The command `train`: data, model, training, report; everything that needs torch."""

from __future__ import annotations

import shlex
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from transformers.utils.logging import disable_progress_bar

from worker.errors import ConfigError
from worker.model.confidence import Knowledge
from worker.model.config import FusionConfig
from worker.model.folder import CONFIG
from worker.model.fusion_model import FusionModel
from worker.model.heads import Heads
from worker.model.load import digest
from worker.model.served import serve
from worker.model.sums import write_sums
from worker.training import plots
from worker.training.build import Built, build
from worker.training.card import Trained, card
from worker.training.confidence import fit_knowledge, shown_of
from worker.training.data import Samples
from worker.training.encoders import rates_of, trained_share
from worker.training.evaluate import Measured, calibrate, first_of, measure
from worker.training.findings import Findings, Of, all_groupings, write_metrics
from worker.training.fit import Plan, kept_of
from worker.training.head_fitting import check_dev, fit_heads
from worker.training.head_measures import judge_of
from worker.training.learn import count_of, fitted, progress, rows_beside
from worker.training.losses import Weights, class_weights
from worker.training.old import Old, fall, with_old
from worker.training.presence import ALL, patterns
from worker.training.reference import write_reference
from worker.training.robust import MIDDLE
from worker.training.rows import Sample
from worker.training.samples import SPLITS
from worker.training.sources import Data, check_labels, read
from worker.training.spoiled import Asked, probed, spoiled_by_kind
from worker.training.start import opened


def train(arguments: Namespace) -> int:
    """Trains a model, writes it to `--out` and prints how well it does on the test split."""
    console = Console()
    began = time.monotonic()
    make_folder(arguments.out, arguments.overwrite or arguments.resume)
    torch.manual_seed(arguments.seed)
    data = data_to_train(arguments, console)
    start = opened(arguments)
    if (old := with_old(arguments, data, start)) is not None:
        data = old.data
        console.print(*old.told, sep="\n", highlight=False, markup=False, soft_wrap=True)
    beside = rows_beside(arguments, data, old.test if old is not None else (), console)
    built = build(arguments, data, beside, start)
    share = trained_share(built.model)
    splits = {split: samples_of(built, data, split) for split in data.splits}
    check_dev(Heads(built.model.config.heads), splits["dev"].targets)
    if arguments.blind:
        splits["train"].show_blind(arguments.seed)
    plan = plan_of_run(arguments, splits["train"], built)
    history, told = fitted(arguments, built, splits, _samples(built, data, beside), plan, console)
    calibrate(built.model, splits["dev"], plan.batch)
    fit_heads(built.model, splits["dev"], plan.batch)
    told += fallen(old, built, data, arguments, console)
    for samples in splits.values() if built.model.config.image_view else ():
        samples.forget_maps()
    names = list(data.inputs)
    knowledge = _knowledge(arguments, built, splits, console)
    measured = measure_all(built.model, splits["test"], names, plan.batch, console, knowledge)
    findings = _findings(arguments, built, splits["test"], measured, knowledge, console)
    minutes = (time.monotonic() - began) / 60
    _write(arguments, built, data, findings, splits["test"], share, minutes, told)
    knowledge.save(arguments.out, of := digest(arguments.out))
    dev = samples_of(built, data, "dev")
    console.print(write_reference(arguments.out, dev, lambda: serve(arguments.out, arguments.device, "fp32"), of))
    plots.draw_curves(history, judge_of(built.model.config), arguments.out / "curves.png")
    write_sums(arguments.out)
    console.print(_summary(arguments, built.model.config, history, minutes, share))
    console.print(findings.report(), highlight=False, markup=False, soft_wrap=True)
    return 0


def _summary(
    arguments: Namespace, config: FusionConfig, history: Sequence[dict[str, float]], minutes: float, share: float
) -> str:
    kept = kept_of(history)
    told = [f"dev {judge_of(config)} {kept['judged']:.3f}"]
    if config.has_label:
        told += [f"the label's macro F1 {kept['dev macro F1']:.3f}"] if config.heads else []
        told.append(f"accuracy {kept['dev accuracy']:.3f}")
    return (
        f"{', '.join(told)}, after {len(history)} epochs, "
        f"{minutes:.1f} min, {share:.0%} of the weights trained; "
        f"written to {arguments.out}; curves: tensorboard --logdir {arguments.out}/logs"
    )


def make_folder(out: Path, overwrite: bool) -> None:
    """Makes `--out`; raises ConfigError where it holds a model that may not go, or cannot be made."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: is a file; name a folder")
    if (out / CONFIG).exists() and not overwrite:
        raise ConfigError(f"--out {out}: holds a model already; name another folder, or give --overwrite")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be made: {error.strerror}") from error


def read_data(arguments: Namespace, splits: tuple[str, ...], console: Console) -> Data:
    """The splits of `--data`; what stands in it twice is printed."""
    with console.status("reading the data") as status:
        data = read(
            arguments.data, arguments.samples, arguments.seed, splits,
            lambda split: status.update(f"reading the {split} split and looking at its files"),
        )  # fmt: skip
    for warning in data.warnings:
        console.print(f"warning: {warning}", highlight=False, markup=False, soft_wrap=True)
    return data


def data_to_train(arguments: Namespace, console: Console) -> Data:
    """All splits, with the inputs that `--inputs` names; what is left must be enough to train on."""
    data = read_data(arguments, SPLITS, console)
    if not arguments.inputs:
        return data
    data = data.only(arguments.inputs)
    check_labels(data.splits)
    return data


def fallen(old: Old | None, built: Built, data: Data, arguments: Namespace, console: Console) -> list[str]:
    """How much of `--old-data` is forgotten, which is printed; raises Fatal where it is too much."""
    if old is None:
        return []
    after = measure(built.model, _samples(built, data, old.test), arguments.batch, ALL)
    told = fall(old, built.model.config, after, arguments.most_fall)
    console.print(told, highlight=False, markup=False, soft_wrap=True)
    return [*old.told, told]


def samples_of(built: Built, data: Data, split: str) -> Samples:
    """A split as the model's items."""
    return _samples(built, data, data.splits[split])


def _samples(built: Built, data: Data, rows: Sequence[Sample]) -> Samples:
    return Samples(rows, list(data.inputs), data.labels, built.model.config, built.preprocessor)


def plan_of_run(arguments: Namespace, samples: Samples, built: Built) -> Plan:
    """How the arguments ask to train."""
    classes = class_weights(samples.classes, built.model.config.num_labels) if arguments.class_weights else None
    weights = Weights(
        arguments.cross_entropy, arguments.triplet, arguments.contrastive, arguments.label_smoothing, classes,
        arguments.head_weight,
    )  # fmt: skip
    return Plan(
        epochs=arguments.epochs, batch=arguments.batch, learning_rate=arguments.learning_rate,
        encoder_rate=_encoder_rate(arguments, built.held), held=built.held,
        dropout=arguments.modality_dropout, weights=weights, tuning=arguments.encoders,
        precision=arguments.precision, patience=arguments.patience, augment=arguments.augment,
        blind=arguments.blind, seed=arguments.seed,
    )  # fmt: skip


def _encoder_rate(arguments: Namespace, held: Sequence[str]) -> float | dict[str, float]:
    if arguments.encoder_rate is not None:
        return float(arguments.encoder_rate)
    return rates_of(held, arguments.encoders, arguments.learning_rate)


def _write(
    arguments: Namespace, built: Built, data: Data, findings: Findings, test: Samples, share: float, minutes: float,
    told: Sequence[str],
) -> None:  # fmt: skip
    disable_progress_bar()
    built.model.save_pretrained(arguments.out)
    built.tokenizer.save_pretrained(arguments.out)
    if findings.has_label:
        draw(first_of(findings.measured), arguments.out)
    trained = Trained(
        command=shlex.join(["fusion-worker", "train", *_without_folders(arguments)]),
        counts={split: len(samples) for split, samples in data.splits.items()}, about=data.about,
        license=arguments.license, seed=arguments.seed, origins=built.origins, share=share, minutes=minutes,
        notes=told,
    )  # fmt: skip
    (arguments.out / "README.md").write_text(card(trained, findings))
    of = Of(digest(arguments.out), arguments.data, "test", arguments.seed, test)
    write_metrics(arguments.out, findings, of)


def _without_folders(arguments: Namespace) -> list[str]:
    """What was given, with no folder of this machine in it."""
    return [Path(one).name if one.startswith("/") else one for one in arguments.given]


def draw(measured: Measured, folder: Path) -> None:
    """Writes the plots of one row."""
    plots.draw_confusion(measured, folder / "confusion.png")
    plots.draw_reliability(measured, folder / "reliability.png")
    plots.draw_ranking(measured, folder / "ranking.png")


def _knowledge(arguments: Namespace, built: Built, splits: dict[str, Samples], console: Console) -> Knowledge:
    with progress(console, "confidence", 2 * len(shown_of(built.model.config))) as step:
        return fit_knowledge(
            built.model, splits["train"], splits["dev"], arguments.level, arguments.batch, arguments.seed,
            lambda: step("", 1),
        )  # fmt: skip


def measure_all(
    model: FusionModel, samples: Samples, names: list[str], batch: int, console: Console, knowledge: Knowledge | None
) -> dict[str, Measured]:
    """Under each presence pattern, the first of the samples as they come."""
    found = patterns(names)
    if len(samples.having(range(len(names)))) < len(samples):
        found = {"as they come": ALL, **found}
    with progress(console, "test", len(found) * count_of(samples, batch)) as step:
        return {
            name: measure(model, samples, batch, presence, lambda name=name: step(name, 1), knowledge)  # type: ignore[misc]
            for name, presence in found.items()
        }


def _findings(
    arguments: Namespace, built: Built, test: Samples, measured: dict[str, Measured], knowledge: Knowledge,
    console: Console,
) -> Findings:  # fmt: skip
    """With all groups that the rows tell; where training spoils inputs, each way at its middle strength as well. Of a
    model without a label neither, since both are about it."""
    first = first_of(measured)
    if not first.has_label:
        return Findings(built.model.config, measured)
    groups = all_groupings(test, first)
    if not arguments.augment:
        return Findings(built.model.config, measured, groups)
    asked = Asked(built.model, test, first, knowledge, arguments.batch, arguments.seed)
    spoiled = spoiled_by_kind(asked, console, (MIDDLE,))
    return Findings(built.model.config, measured, groups, spoiled, probed(asked, console))
