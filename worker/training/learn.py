"""A model that was built and its samples -> the trained one, with or without rows beside that have no labels."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from worker.errors import ConfigError
from worker.model.encoders import TextEncoder
from worker.training.build import Built
from worker.training.command import given_settings
from worker.training.data import Samples
from worker.training.encoders import image_encoder, is_frozen, merge
from worker.training.fit import Plan, fit
from worker.training.rounds import How, fit_beside
from worker.training.rows import Sample
from worker.training.sources import Data
from worker.training.taken import begin_labels
from worker.training.unlabelled import read_unlabelled

_ALONE = {"unlabelled_epochs", "rounds", "sure"}


def rows_beside(arguments: Namespace, data: Data, old: Sequence[Sample], console: Console) -> list[Sample]:
    """The rows of `--unlabelled`, none that dev, test or the `old` test split holds; what was left out is printed.

    Raises:
        ConfigError: as `read_unlabelled`; or an argument has no effect without it, or does not go with it.
    """
    if arguments.unlabelled is None:
        if alone := sorted(_ALONE & given_settings(arguments.given)):
            raise ConfigError(f"--{alone[0].replace('_', '-')}: has an effect with --unlabelled alone")
        return []
    if arguments.resume:
        raise ConfigError("--resume: a run with --unlabelled cannot be gone on with; begin anew without --resume")
    with console.status("reading the rows without labels"):
        found = read_unlabelled(arguments.unlabelled, data, arguments.inputs, old)
    for one in found.told:
        console.print(one, highlight=False, markup=False, soft_wrap=True)
    return found.samples


def fitted(
    arguments: Namespace, built: Built, splits: dict[str, Samples], beside: Samples, plan: Plan, console: Console
) -> tuple[list[dict[str, float]], list[str]]:
    """Trains the model, whose weights are plain ones then; returns the curves, and what to tell of rows `beside`."""
    keep(built, splits | {"unlabelled": beside} if len(beside) else splits, not arguments.augment, console)
    if built.begun is not None:
        console.print(*built.begun.table, sep="\n", highlight=False, markup=False, soft_wrap=True)
        begin_labels(built.model, splits["train"], built.begun.labels, plan.batch)
    train, dev, told = splits["train"], splits["dev"], list[str]()
    steps = plan.epochs * (len(train) // plan.batch + count_of(dev, plan.batch))
    epochs = arguments.epochs if arguments.unlabelled_epochs is None else arguments.unlabelled_epochs
    how = How(epochs, arguments.rounds, arguments.sure)
    if len(beside):
        steps = steps * (1 + how.rounds) + how.epochs * ((len(train) + len(beside)) // plan.batch)
    with progress(console, "train", steps) as step:
        if len(beside):
            history, told = fit_beside(built.model, train, dev, beside, plan, how, arguments.out, step)
        else:
            history = fit(built.model, train, dev, plan, arguments.out, step, resume=arguments.resume)
    for one in told:
        console.print(one, highlight=False, markup=False, soft_wrap=True)
    merge(built.model)
    built.model.config.training = asdict(plan)
    return history, told


def keep(built: Built, splits: dict[str, Samples], as_they_are: bool, console: Console) -> None:
    """What encoders say that stay as they are; of texts where none is corrupted."""
    texts = [one for one in built.model.encoders.values() if isinstance(one, TextEncoder) and is_frozen(one.encoder)]
    for text in texts if as_they_are else ():
        for split, samples in splits.items():
            with console.status(f"the text encoder, which stays as it is, reads the {split} split"):
                samples.keep_states(text)
    if "image" not in built.model.encoders or not is_frozen(image_encoder(built.model).backbone):
        return
    encoder = image_encoder(built.model)
    for split, samples in splits.items():
        with console.status(f"the backbone, which stays as it is, sees the images of the {split} split"):
            if not samples.keep_maps(encoder):
                return


def count_of(samples: Samples, batch: int) -> int:
    """Batches of all samples."""
    return -(-len(samples) // batch)


@contextmanager
def progress(console: Console, title: str, total: int) -> Iterator[Callable[[str, int], object]]:
    """A bar; what it gives takes a text and by how much to go on."""
    columns = (
        TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total)
        yield lambda text, steps: progress.update(task, advance=steps, description=text)
