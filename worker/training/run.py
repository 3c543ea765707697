"""The commands `train` and `evaluate`: data, model, training, report; everything that needs torch."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers.utils.logging import disable_progress_bar

from worker.errors import ConfigError
from worker.model.config import FusionConfig
from worker.model.fusion_model import FusionModel
from worker.model.load import device_of, load
from worker.training.data import JUNCTION, Sample, Samples, folder_samples, junction_samples
from worker.training.evaluate import PATTERNS, Measured, measure, tell
from worker.training.fit import Plan, fit
from worker.training.vocabulary import learn_vocabulary

VOCABULARY_SIZE = 1000
# Small on purpose: reports are short, and the weights of the shipped model live in the repository.
TEXT_ENCODER = {
    "model_type": "bert",
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "max_position_embeddings": 64,
}


def train(arguments: Namespace) -> int:
    """Trains a model, writes it to `--out` and prints how well it does on the test split."""
    console = Console()
    torch.manual_seed(arguments.seed)
    raw = {split: _read(arguments, split, console) for split in ("train", "dev", "test")}
    labels = _labels(raw["train"])
    tokenizer = learn_vocabulary((s.text for s in raw["train"] if s.text), VOCABULARY_SIZE)
    backend = tokenizer.backend_tokenizer
    model = FusionModel(
        FusionConfig(
            name=arguments.name,
            backbone=arguments.backbone,
            text={**TEXT_ENCODER, "vocab_size": len(tokenizer)},
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
        )
    ).to(device_of(arguments.device), memory_format=torch.channels_last)
    backend.enable_truncation(model.config.max_tokens)
    data = {split: Samples(rows, labels, backend, model.config.image_size) for split, rows in raw.items()}
    plan = Plan(arguments.epochs, arguments.batch, arguments.learning_rate, seed=arguments.seed)
    steps = plan.epochs * (len(data["train"]) // plan.batch + _count(data["dev"], plan.batch))
    with _progress(console, "train", steps) as step:
        best = fit(model, data["train"], data["dev"], plan, arguments.out / "logs", step)
    disable_progress_bar()
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)
    console.print(
        f"dev accuracy {best:.3f}; written to {arguments.out}; curves: tensorboard --logdir {arguments.out}/logs"
    )
    console.print(tell(_measure_all(model, data["test"], plan.batch, console)), highlight=False)
    return 0


def evaluate(arguments: Namespace) -> int:
    """Prints how well a model does on the test split under each presence pattern."""
    console = Console()
    model, tokenizer = load(arguments.model)
    model.to(device_of(arguments.device), memory_format=torch.channels_last)
    labels = [model.config.id2label[number] for number in range(model.config.num_labels)]
    samples = Samples(_read(arguments, "test", console), labels, tokenizer, model.config.image_size)
    console.print(tell(_measure_all(model, samples, arguments.batch, console)), highlight=False)
    return 0


def _read(arguments: Namespace, split: str, console: Console) -> list[Sample]:
    with console.status(f"reading the {split} split"):
        if arguments.data != JUNCTION:
            if samples := list(folder_samples(Path(arguments.data), split)):
                return samples
            raise ConfigError(f"--data {arguments.data}: {split}.jsonl is empty")
        count = arguments.samples if split == "train" else max(1, arguments.samples // 8)
        return list(junction_samples(split, count, arguments.seed))


def _labels(samples: list[Sample]) -> list[str]:
    labels = list(dict.fromkeys(sample.label for sample in samples))
    if len(labels) < 2:
        raise ConfigError(
            f"--data: the training split has {len(labels)} labels ({', '.join(labels)}); needed are two or more"
        )
    return sorted(labels)


def _measure_all(model: FusionModel, samples: Samples, batch: int, console: Console) -> Iterator[tuple[str, Measured]]:
    with _progress(console, "test", len(PATTERNS) * _count(samples, batch)) as step:
        for name, presence in PATTERNS.items():
            yield name, measure(model, samples, batch, presence, lambda name=name: step(name))  # type: ignore[misc]


def _count(samples: Samples, batch: int) -> int:
    return -(-len(samples) // batch)


@contextmanager
def _progress(console: Console, title: str, total: int) -> Iterator[Callable[[str], object]]:
    columns = (
        TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total)
        yield lambda text: progress.update(task, advance=1, description=text)
