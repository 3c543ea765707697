"""Arguments of `export`; torch is imported when it runs, so that `--help` is quick."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

from worker.model.folder import INT8_LINEAR, SHIPPED, folder_of
from worker.numbers import count, seed, share

KINDS = {
    "int8": "ONNX, its large matrix products in int8",
    INT8_LINEAR: "computed from the model's own weights, the linear layers of text and fusion in int8",
    "bf16": "safetensors in bf16",
    "onnx": "ONNX in fp32",
    "pruned": "safetensors with fewer channels, trained on",
    "torch-export": "a torch.export program, for other programs than this worker",
}


def add_export_arguments(parser: ArgumentParser) -> None:
    """What `export` takes."""
    parser.add_argument(
        "--model", type=folder_of, default=SHIPPED,
        help="model folder, or shipped:home (default: the junction's that ships)",
    )  # fmt: skip
    parser.add_argument(
        "--to", type=_kinds, default=["int8"], metavar="KIND[,KIND...]",
        help="; ".join(f"{name}: {what}" for name, what in KINDS.items()) + " (default int8)",
    )  # fmt: skip
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for the model, or of several kinds for a folder each; it is made (default, of int8 or "
        "int8-linear: the folder int8 inside the model's own, where precision = auto finds it)",
    )
    parser.add_argument(
        "--max-drop", type=share, default=0.005, metavar="SHARE",
        help="write nothing if accuracy or macro-F1 fall by more, on dev or test, all inputs present or some (default "
        "0.005: half a point)",
    )  # fmt: skip
    parser.add_argument(
        "--max-ece-rise", type=share, default=0.02, metavar="SHARE",
        help="write nothing if the calibration error rises by more (default 0.02)",
    )  # fmt: skip
    parser.add_argument(
        "--prune", type=share, default=0.3, metavar="SHARE", help="pruned: so many channels less (default 0.3)"
    )
    parser.add_argument("--epochs", type=count, default=2, help="pruned: passes over the train split (default 2)")
    parser.add_argument(
        "--data", default="junction",
        help="as `train` takes it; dev calibrates, test tells the accuracy, train trains (default junction)",
    )  # fmt: skip
    parser.add_argument(
        "--samples", type=count, default=6400, help="junction: training scenes; an eighth for dev and test each"
    )
    parser.add_argument("--seed", type=seed, default=0, help="of data and order (default 0)")
    parser.add_argument("--rounds", type=count, default=10, help="in which the models are timed in turn (default 10)")


def _kinds(text: str) -> list[str]:
    chosen = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in chosen if name not in KINDS]:
        raise ArgumentTypeError(f"{unknown[0]!r}: must be one of {', '.join(KINDS)}")
    if not chosen:
        raise ArgumentTypeError(f"names no kind; must be one or more of {', '.join(KINDS)}")
    return list(dict.fromkeys(chosen))


def export(arguments: Namespace) -> int:
    """Exports; 0 when done."""
    from worker.exporting.run import export as run

    return run(arguments)
