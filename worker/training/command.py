"""Arguments of `train` and `evaluate`; torch is imported when they run, so that `--help` is quick."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

_DATA = (
    "'junction' (drawn from the seed), or a folder with train.jsonl, dev.jsonl, test.jsonl: image, text, label a row"
)


def add_train_arguments(parser: ArgumentParser) -> None:
    """What `train` takes."""
    _add_common(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model; it is made")
    parser.add_argument("--name", default="fusion", help="told in every result as model.name")
    parser.add_argument("--backbone", default="mobilenet_v3_small", help="a torchvision model with a 7x7 map")
    parser.add_argument("--epochs", type=_positive, default=4, help="passes over the training split (default 4)")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="highest rate of the cycle (default 0.002)")


def add_evaluate_arguments(parser: ArgumentParser) -> None:
    """What `evaluate` takes."""
    _add_common(parser)
    shipped = Path(__file__).parent.parent / "model" / "junction"
    parser.add_argument("--model", type=Path, default=shipped, help="model folder (default: the one that ships)")


def _add_common(parser: ArgumentParser) -> None:
    parser.add_argument("--data", default="junction", help=f"{_DATA} (default junction)")
    parser.add_argument(
        "--samples", type=_positive, default=6400, help="junction: training scenes; an eighth for dev and test each"
    )
    parser.add_argument("--seed", type=int, default=0, help="of data, weights and order (default 0)")
    parser.add_argument("--batch", type=_positive, default=32, help="items per step (default 32)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r}: must be a whole number of at least 1")
    return int(text)


def train(arguments: Namespace) -> int:
    """Trains; 0 when done."""
    from worker.training.run import train as run

    return run(arguments)


def evaluate(arguments: Namespace) -> int:
    """Evaluates; 0 when done."""
    from worker.training.run import evaluate as run

    return run(arguments)
