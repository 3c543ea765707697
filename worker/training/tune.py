"""The command `tune`: trials of settings that are judged on dev, and a model that is trained with the best of them."""

from __future__ import annotations

import shlex
import shutil
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from worker.errors import ConfigError
from worker.model.fusion_model import FusionModel
from worker.training import plots
from worker.training.build import build
from worker.training.command import trial_settings
from worker.training.data import Samples
from worker.training.doubles import digest_of
from worker.training.encoders import merge
from worker.training.evaluate import measure
from worker.training.fit import fit
from worker.training.head_measures import judged_by
from worker.training.learn import progress
from worker.training.presence import patterns
from worker.training.run import data_to_train, make_folder, plan_of_run, samples_of, train
from worker.training.sources import Data

if TYPE_CHECKING:
    from optuna import Study, Trial

STORAGE = "tune.db"
_STUDY = "tune"
_FUSIONS = ("attention", "dense", "graph", "cross_attention")
_WIDTHS = (64, 128, 256, 512)
_RATES = (3e-4, 1e-2)
_SEARCHED = ("fusion", "dim", "learning_rate", "modality_dropout", "augment", "label_smoothing")
_SHOWN = 10
_AS_GIVEN = "as given"
# What a trial is judged by, kept where it is more than the label's macro-F1.
_JUDGED, _OF_LABEL, _OF_HEADS = "judged by", "macro-F1", "macro-F1 of label and heads, of numbers R2,"
# What counts as a trial; one that was cut off (RUNNING, FAIL) does not.
_DONE = ("COMPLETE", "PRUNED")
# Trials drawn at random before a model of what does well chooses; and before a bad one is ended early.
_AT_RANDOM = 6


def tune(arguments: Namespace) -> int:
    """Searches, prints a table, and trains the model of the best trial into `--out`.

    1. The first trial has the settings as given, so that the best is none that does worse on dev.
    2. Trials are kept in `--out`/tune.db; a run that was cut off goes on from them.
    3. A trial's value is what an epoch is judged by (`judged_by`), on dev, averaged over the presence patterns as
       `--weigh` weighs them.

    Raises:
        ConfigError: optuna is not installed; `--out` holds a model, or the trials of other data or arguments.
    """
    console = Console()
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("tune: needs optuna; install fusion-worker[tune]") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    make_folder(arguments.out, arguments.overwrite)
    data = data_to_train(arguments, console)
    weights = _weights(arguments.weigh, list(data.inputs))
    study = _study(arguments, data)
    left = max(0, arguments.trials - sum(trial.state.name in _DONE for trial in study.trials))
    with progress(console, "tune", left) as step:

        def asked(trial: Trial) -> float:
            value = _value(_with(arguments, _suggested(trial, arguments)), data, weights, trial)
            step(f"best {max(value, _best(study)):.3f}", 1)
            return value

        study.optimize(asked, n_trials=left, callbacks=[_ended(step)])
    ended = [(t.number, t.value, t.params) for t in study.trials if t.state.name == "COMPLETE"]
    if not ended:
        raise ConfigError("--trials: none came to its end, the loss of each was no longer finite; see --learning-rate")
    plots.draw_trials(ended, arguments.out / "trials.png")
    chosen = _with(arguments, study.best_params)
    console.print(*_table(study), sep="\n", highlight=False, soft_wrap=True)
    chosen.given = _given(arguments, study.best_params)
    console.print(f"best: {shlex.join(['fusion-worker', 'train', *chosen.given])}", highlight=False, soft_wrap=True)
    return train(chosen)


def _study(arguments: Namespace, data: Data) -> Study:
    from optuna import create_study
    from optuna.pruners import MedianPruner
    from optuna.samplers import TPESampler

    path = (arguments.out / STORAGE).resolve()
    study = create_study(
        study_name=_STUDY, storage=f"sqlite:///{path}", direction="maximize", load_if_exists=True,
        pruner=MedianPruner(n_startup_trials=_AT_RANDOM, n_warmup_steps=1),
    )  # fmt: skip
    # Going on with the same seed would draw the same trials again.
    study.sampler = TPESampler(seed=arguments.seed + 1000 * len(study.trials), n_startup_trials=_AT_RANDOM)
    run = _run(arguments, data)
    before = study.user_attrs.get("run", run)
    if others := [name for name in run if before.get(name) != run[name]]:
        told = ", ".join(f"{name} = {before.get(name)}" for name in others)
        own = ", ".join(f"{name} = {run[name]}" for name in others)
        raise ConfigError(
            f"--out {arguments.out}: {STORAGE} holds trials with {told}; this run has {own}; "
            "give what they were given, or name another folder"
        )
    study.set_user_attr("run", before)
    if not any(_is_as_given(trial) and trial.state.name in (*_DONE, "WAITING") for trial in study.trials):
        study.enqueue_trial({name: getattr(arguments, name) for name in _SEARCHED}, {_AS_GIVEN: True})
    return study


def _is_as_given(trial: Any) -> bool:
    return _AS_GIVEN in trial.user_attrs or (not trial.number and trial.state.name in _DONE)


def _run(arguments: Namespace, data: Data) -> dict[str, str]:
    """What makes trials comparable: the settings of models and training, of how they are judged, and the data."""
    names = {*trial_settings(), "batch", "seed", "weigh"} - {*_SEARCHED, "level"}
    run = {name: str(getattr(arguments, name)) for name in sorted(names)}
    if any(sample.targets for sample in data.splits["train"]):
        run[_JUDGED] = _OF_HEADS
    return run | {split: digest_of(samples) for split, samples in data.splits.items()}


def _suggested(trial: Trial, given: Namespace) -> dict[str, Any]:
    """What is searched; every range holds what was given."""

    def number(name: str, low: float, high: float, log: bool = False) -> float:
        own = float(getattr(given, name))
        return float(trial.suggest_float(name, min(low, own), max(high, own), log=log))

    widths = [width for width in _WIDTHS if not width % given.glimpses]
    return {
        "fusion": trial.suggest_categorical("fusion", _FUSIONS),
        "dim": trial.suggest_categorical("dim", sorted({given.dim, *widths})),
        "learning_rate": number("learning_rate", *_RATES, log=True),
        "modality_dropout": number("modality_dropout", 0.0, 0.9),
        "augment": number("augment", 0.0, 0.8),
        "label_smoothing": number("label_smoothing", 0.0, 0.2),
    }


def _with(arguments: Namespace, chosen: Mapping[str, Any]) -> Namespace:
    return Namespace(**{**vars(arguments), **chosen})


def _value(arguments: Namespace, data: Data, weights: Mapping[str, float], trial: Trial) -> float:
    """Trains one model and judges it.

    Raises:
        TrialPruned: its value after some epoch lies below the median of the others', or its loss was no longer finite.
    """
    from optuna import TrialPruned

    folder: Path = arguments.out / f"trial-{trial.number}"
    torch.manual_seed(arguments.seed)
    built = build(arguments, data)
    splits = {split: samples_of(built, data, split) for split in ("train", "dev")}
    plan, names = plan_of_run(arguments, splits["train"], built), list(data.inputs)

    def seen(epoch: int, _: float) -> None:
        trial.report(_weighed(built.model, splits["dev"], plan.batch, weights, names)[0], epoch)
        if trial.should_prune():
            raise TrialPruned

    try:
        fit(built.model, splits["train"], splits["dev"], plan, folder, lambda *_: None, seen=seen)
    except ConfigError as error:
        if "no longer finite" not in str(error):
            raise
        raise TrialPruned from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    merge(built.model)
    value, told = _weighed(built.model, splits["dev"], plan.batch, weights, names)
    trial.set_user_attr("patterns", told)
    return value


def _weighed(
    model: FusionModel, dev: Samples, batch: int, weights: Mapping[str, float], names: list[str]
) -> tuple[float, dict[str, float]]:
    """A trial's value, and what dev is judged by under each pattern that it is made of."""
    shown = patterns(names)
    measured = {name: measure(model, dev, batch, shown[name]) for name in weights}
    told = {name: judged_by(model.config, one) for name, one in measured.items() if len(one.truth)}
    return sum(weights[name] * value for name, value in told.items()) / sum(weights[name] for name in told), told


def _ended(step: Callable[[str, int], object]) -> Callable[[Study, Any], None]:
    """Counts a trial that was ended early too."""

    def ended(study: Study, trial: Any) -> None:
        if trial.value is None or trial.state.name == "PRUNED":
            step(f"best {_best(study):.3f}", 1)

    return ended


def _best(study: Study) -> float:
    return max((t.value for t in study.trials if t.state.name == "COMPLETE" and t.value is not None), default=0.0)


def _weights(given: Mapping[str, float] | None, names: list[str]) -> dict[str, float]:
    known = patterns(names)
    if given is None:
        return dict.fromkeys(known, 1.0)
    if unknown := [name for name in given if name not in known]:
        raise ConfigError(f"--weigh {unknown[0]!r}: must be one of {', '.join(map(repr, known))}")
    if not any(given.values()):
        raise ConfigError("--weigh: one pattern or more must weigh more than 0")
    return {name: weight for name, weight in given.items() if weight}


def _table(study: Study) -> list[str]:
    """The best trials, the first one (the settings as given) among them."""
    done = sorted((t for t in study.trials if t.state.name == "COMPLETE"), key=lambda t: -(t.value or 0.0))
    judged = study.user_attrs["run"].get(_JUDGED, _OF_LABEL)
    shown = done[:_SHOWN] + [t for t in done[_SHOWN:] if _is_as_given(t)]
    rows = [f"{'trial':>5}  value  {'fusion':<15}  dim    rate  m.drop  augment  smooth  {judged} on dev by pattern"]
    for t in shown:
        p, by = t.params, ", ".join(f"{name} {value:.3f}" for name, value in t.user_attrs["patterns"].items())
        rows.append(
            f"{t.number:>5}  {t.value:.3f}  {p['fusion']:<15}  {p['dim']:>3}  {p['learning_rate']:.4f}  "
            f"{p['modality_dropout']:6.2f}  {p['augment']:7.2f}  {p['label_smoothing']:6.2f}  {by}"
        )
    early = sum(t.state.name == "PRUNED" for t in study.trials)
    first = "".join(f"; trial {t.number} has the settings as given" for t in done if _is_as_given(t))
    return [*rows, f"{len(done)} trials to their end, {early} ended early{first}"]


def _given(arguments: Namespace, best: Mapping[str, Any]) -> list[str]:
    """What makes the same model with `train`: what was given to `tune`, with the best settings after it."""
    kept, skip = [], False
    for one in arguments.given:
        name = one.split("=")[0]
        # Abbreviated too, as argparse takes them; what two begin with it has refused.
        is_own = len(name) > len("--") and any(full.startswith(name) for full in ("--trials", "--weigh"))
        if not skip and not is_own:
            kept.append(one)
        skip = not skip and is_own and "=" not in one
    return [*kept, *(word for name, value in best.items() for word in (f"--{name.replace('_', '-')}", str(value)))]
