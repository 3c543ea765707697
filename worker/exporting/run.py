"""The command `export`: make each kind beside the destination, measure it, and let it in if it does as well."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from worker.errors import ConfigError
from worker.exporting.card import card
from worker.exporting.gate import Labelled, asked_of, measured_of, refuse_a_fall, refuse_a_fall_of_heads
from worker.exporting.make import Source, make, weights_digest
from worker.exporting.race import Row, race, table
from worker.model.confidence import Knowledge
from worker.model.folder import CONFIDENCE, INT8, INT8_LINEAR
from worker.model.items import Item
from worker.model.load import digest, load
from worker.model.preprocess import Preprocessor
from worker.model.runtime import runtime_of
from worker.model.served import Served, serve
from worker.model.sums import SIGNATURE, verified, write_sums
from worker.training.data import Samples
from worker.training.evaluate import Measured, first_of, labels_of
from worker.training.head_measures import HeadMeasured, of_verdicts
from worker.training.names import check_heads
from worker.training.presence import Presence, patterns
from worker.training.reference import write_reference
from worker.training.sources import Data, read


def export(arguments: Namespace) -> int:
    """Writes the model in each kind that was asked for.

    1. Each kind is made in a folder beside `--out` and opened as a worker would open it.
    2. One that does worse than `gate` allows, on the dev split or then on test, ends the command: nothing is written.
    3. All are timed in turn, the table goes into their cards, and they are put into place.

    Raises:
        ConfigError: `--out` is taken, or the model, the data or a kind do not fit each other.
        Fatal: a figure falls by more than `--max-drop`, or the calibration error rises by more than `--max-ece-rise`.
    """
    console = Console(width=200)
    out = arguments.out = _out_of(arguments)
    with verified(arguments.model):
        source = _source(arguments, console)
        models = {"original": serve(arguments.model, "cpu", "fp32")}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as beside:
        folders = {"original": arguments.model}
        shown = patterns(list(source.data.inputs))
        original = {
            split: _done(models["original"], source, split, labelled, shown)
            for split, labelled in (("dev", source.chosen), ("test", source.tested))
        }
        tested = {"original": original["test"][0]}
        for kind in arguments.to:
            folders[kind] = Path(beside) / kind
            with console.status(f"making {kind}"):
                models[kind] = make(kind, source, folders[kind], arguments)
            for split, labelled in (("dev", source.chosen), ("test", source.tested)):
                with console.status(f"asking {kind} on {split}"):
                    found, heads = _done(models[kind], source, split, labelled, shown)
                refuse_a_fall(kind, split, original[split][0], found, arguments.max_drop, arguments.max_ece_rise)
                refuse_a_fall_of_heads(kind, split, original[split][1], heads, arguments.max_drop)
            tested[kind] = found
            of = weights_digest(kind, arguments.model, folders[kind])
            write_reference(folders[kind], source.chosen, lambda kind=kind: models[kind], of)  # type: ignore[misc]
        rows = _timed(models, folders, tested, source, arguments.rounds, console)
        lines = table(rows)
        for kind in arguments.to:
            (folders[kind] / "README.md").write_text(
                card(arguments, kind, models[kind], source, lines, _command(arguments))
            )
        _put_into_place(arguments, folders)
        _list(arguments, console)
    console.print("\n".join(lines), highlight=False)
    console.print(f"{len(source.tested)} test samples, {arguments.rounds} rounds; written to {out}", highlight=False)
    return 0


def _done(
    model: Served, source: Source, split: str, labelled: Labelled, shown: Mapping[str, Presence]
) -> tuple[dict[str, Measured], dict[str, list[HeadMeasured]]]:
    """How well a model does on a split, per presence pattern: its label, and its further heads."""
    asked, targets = asked_of(model, labelled, shown), source.samples[split].targets.numpy()
    heads = {name: of_verdicts(model.config, told, targets[list(places)]) for name, (places, told) in asked.items()}
    return measured_of(model, labelled, asked), heads


def _out_of(arguments: Namespace) -> Path:
    out: Path | None = arguments.out
    if out is None:
        if arguments.to not in ([INT8], [INT8_LINEAR]):
            raise ConfigError(
                f"--out: must be given, but for --to {INT8} or {INT8_LINEAR}; it names a folder that is new or empty"
            )
        out = arguments.model / INT8
    elif INT8_LINEAR in arguments.to:
        raise ConfigError(f"--to {INT8_LINEAR}: has no weights of its own, so it goes into the model's folder, alone "
                          "and without --out")  # fmt: skip
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out}: is there already; name a folder that is new or empty")
    return out


def _source(arguments: Namespace, console: Console) -> Source:
    model, tokenizer = load(arguments.model)
    splits = ("train", "dev", "test") if "pruned" in arguments.to else ("dev", "test")
    with console.status("reading the data"):
        data: Data = read(arguments.data, arguments.samples, arguments.seed, splits)
    for warning in data.warnings:
        console.print(f"warning: {warning}", highlight=False, markup=False, soft_wrap=True)
    data = data.fitting(model.config, f"--model {arguments.model}")
    for rows in data.splits.values():
        check_heads(model.config, rows)
    labels, preprocessor = labels_of(model.config), Preprocessor(model.config, tokenizer)
    made = {
        split: Samples(rows, list(data.inputs), labels, model.config, preprocessor)
        for split, rows in data.splits.items()
    }
    with console.status("decoding the dev and the test split"):
        chosen, tested = ([made[split][n] for n in range(len(made[split]))] for split in ("dev", "test"))
    version = serve(arguments.model, "cpu", "fp32").version
    knowledge = Knowledge.load(arguments.model, model.config, digest(arguments.model))
    return Source(arguments.model, model, tokenizer, version, data, made, chosen, tested, knowledge)


def _timed(
    models: Mapping[str, Served], folders: Mapping[str, Path], tested: Mapping[str, Mapping[str, Measured]],
    source: Source, rounds: int, console: Console,
) -> list[Row]:  # fmt: skip
    items: list[Item] = [item for item, _ in source.tested]
    with console.status("timing all in turn"):
        times = race({name: runtime_of(model) for name, model in models.items()}, items, rounds, lambda: None)
    sizes = {name: _weights_bytes(folder) or _weights_bytes(source.folder) for name, folder in folders.items()}
    return [Row(name, sizes[name], times[name], _figures(tested[name])) for name in models]


def _figures(measured: Mapping[str, Measured]) -> dict[str, float]:
    """For the table: the accuracy under each pattern, and of all inputs the rest; nothing without a label."""
    whole = first_of(measured)
    if not whole.has_label:
        return {}
    told = {name: one.accuracy for name, one in measured.items()}
    return {**told, "macro F1": whole.macro_f1, "ECE": whole.calibration_error}


def _weights_bytes(folder: Path) -> int:
    held = [file for file in folder.iterdir() if file.suffix in {".safetensors", ".onnx", ".pt2"}]
    return sum(file.stat().st_size for file in held if file.name != CONFIDENCE)


def _command(arguments: Namespace) -> str:
    """What was given, with no folder of this machine in it."""
    given = [Path(one).name if one.startswith("/") else one for one in arguments.given]
    return shlex.join(["fusion-worker", "export", *given])


def _list(arguments: Namespace, console: Console) -> None:
    """The files of each folder that was made; of the model's own, anew, where they lie in it."""
    out: Path = arguments.out
    made = [out / kind for kind in arguments.to] if len(arguments.to) > 1 else [out]
    if out.resolve().is_relative_to(arguments.model.resolve()):
        made = [arguments.model]
    for folder in made:
        if write_sums(folder):
            console.print(f"{SIGNATURE} in {folder} was of the model as it was, and is gone; sign it anew")


def _put_into_place(arguments: Namespace, folders: Mapping[str, Path]) -> None:
    out: Path = arguments.out
    several = len(arguments.to) > 1
    if several or not out.exists():
        out.mkdir(exist_ok=True)
    for kind in arguments.to:
        if several:
            shutil.move(folders[kind], out / kind)
        else:
            out.rmdir()
            shutil.move(folders[kind], out)
