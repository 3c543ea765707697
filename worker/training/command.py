"""Arguments of `train` and `evaluate`; torch is imported when they run, so that `--help` is quick."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace, _ArgumentGroup
from collections.abc import Sequence
from pathlib import Path

from worker.model.folder import SHIPPED, folder_of
from worker.numbers import count, count_or_none, learning_rate, level, seconds_of_sound, seed, share, weight, whole
from worker.training.asked import Asked

_DATA = (
    "'junction', 'wordings', 'sumo', 'home', 'household' or 'digits' (drawn from the seed), or a folder with "
    "train, dev, test as .jsonl or .parquet: image, text, sensor, audio, label a row, or as `fusion-worker record` "
    "writes it"
)
# With more some bands hold no frequency.
_MELS = whole(1, 128)
# Beyond them a matrix or a batch is larger than the memory of any machine that is meant.
_WIDTH, _SIDE, _STEPS = whole(1, 16_384), whole(1, 4096), whole(1, 100_000)
# A tokenizer's own are two, at the ends.
_TOKENS = whole(2)
_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3})?", re.ASCII)
_FUSIONS = ("attention", "dense", "graph", "cross_attention")


def add_train_arguments(parser: ArgumentParser) -> None:
    """What `train` takes."""
    _add_training(parser)
    parser.add_argument("--resume", action="store_true", help="go on from the last epoch of a run that was cut off")
    _add_fewer_arguments(parser.add_argument_group("fewer labels"))


def _add_training(parser: ArgumentParser) -> None:
    _add_common(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model; it is made")
    parser.add_argument("--overwrite", action="store_true", help="--out may hold a model, which goes")
    parser.add_argument("--name", default="fusion", help="told in every result as model.name")
    parser.add_argument("--license", default="apache-2.0", help="of the weights, for the model card")
    parser.add_argument(
        "--masked", action="store_true",
        help="the data's bodies are masked, as `record` writes them with [privacy]: the card tells, `check` compares",
    )  # fmt: skip
    _add_model_arguments(parser.add_argument_group("model"))
    _add_plan_arguments(parser.add_argument_group("training"))


def add_tune_arguments(parser: ArgumentParser) -> None:
    """What `tune` takes: what `train` does, and how to search."""
    _add_training(parser)
    parser.set_defaults(
        resume=False, init=None, old_data=None, unlabelled=None, unlabelled_epochs=None, rounds=0, sure=0.95
    )
    group = parser.add_argument_group("search")
    group.add_argument("--trials", type=count, default=20, help="how many, those before a cut included (default 20)")
    group.add_argument(
        "--weigh", type=_weighed, metavar="PATTERN=WEIGHT,...",
        help="what each presence pattern counts, such as 'all=2,radar only=1' (default: those `train` reports, alike)",
    )  # fmt: skip


def trial_settings() -> set[str]:
    """The names of what makes another model or another training, which all trials of one search share."""
    parser = ArgumentParser(add_help=False)
    _add_model_arguments(parser.add_argument_group())
    _add_plan_arguments(parser.add_argument_group())
    return set(vars(parser.parse_args([])))


def given_settings(given: Sequence[str]) -> set[str]:
    """The names of those arguments of `train` that were given, not left at their defaults."""
    parser = ArgumentParser(add_help=False)
    add_train_arguments(parser)
    names = [action.dest for action in parser._actions]
    untold: list[object] = []  # What may be given several times is appended to a copy of it.
    parser.set_defaults(**dict.fromkeys(names, untold))
    told, _ = parser.parse_known_args(given)
    return {name for name, value in vars(told).items() if value is not untold}


def _add_fewer_arguments(group: _ArgumentGroup) -> None:
    group.add_argument(
        "--init", type=folder_of, metavar="DIR",
        help="begin with the weights of this trained model, or shipped:home; labels, inputs and sensors' fields are "
        "found by name, and may be new",
    )  # fmt: skip
    group.add_argument(
        "--old-data", metavar="FOLDER",
        help="what the model of --init was trained on, as --data: some of it is trained on again, old labels and "
        "inputs stay, and its test split is measured before and after",
    )  # fmt: skip
    group.add_argument(
        "--most-fall", type=share, default=0.02,
        help="the accuracy on that test split, or a head's, may fall by so much; else no model (exit 1; 0.02)",
    )  # fmt: skip
    group.add_argument(
        "--unlabelled", type=Path, metavar="FOLDER", help="rows of these inputs, whose labels are not known"
    )
    group.add_argument(
        "--unlabelled-epochs",
        type=count_or_none,
        metavar="N",
        help="passes that bring a row's inputs together (--epochs)",
    )
    group.add_argument(
        "--rounds", type=count_or_none, default=2, help="how often these rows get labels, at most (default 2)"
    )
    group.add_argument(
        "--sure", type=level, default=0.95, help="how often dev must be right at a score that gives labels (0.95)"
    )


def _add_model_arguments(group: _ArgumentGroup) -> None:
    group.add_argument("--fusion", choices=_FUSIONS, default="attention", help="how the inputs meet")
    group.add_argument("--dim", type=_WIDTH, default=512, help="D, the size of the fused vector (default 512)")
    group.add_argument("--glimpses", type=count, default=4, help="attention maps or heads (default 4)")
    group.add_argument("--rank", type=count, help="of attention; less than --dim makes it low-rank")
    group.add_argument("--inputs", type=_names, help="only these inputs of the data, separated by commas")
    group.add_argument(
        "--backbone", default="mobilenet_v3_small", help="a torchvision model with a 7x7 map, or efficientnet_lite0"
    )
    group.add_argument("--image-weights", type=Path, metavar="FILE", help="the backbone's weights, safetensors")
    group.add_argument(
        "--text", default="small", help="small (from nothing), minilm, or a transformers from_pretrained directory"
    )
    group.add_argument(
        "--head", type=_head, action="append", default=[], metavar="NAME=KIND",
        help="of a name in `targets`: label, labels or number, and number:UNIT (default: as its values are)",
    )  # fmt: skip
    group.add_argument("--max-tokens", type=_TOKENS, default=32, help="T, to which texts are cut (default 32)")
    group.add_argument(
        "--image-size", type=_SIDE, default=224, metavar="S", help="pixels a side; the backbone makes it 7x7 (224)"
    )
    group.add_argument("--max-steps", type=_STEPS, default=16, help="last steps of a reading's series (default 16)")
    group.add_argument("--audio-seconds", type=seconds_of_sound, default=2.0, help="of a sound's end (default 2)")
    group.add_argument("--mels", type=_MELS, default=64, help="bands of a sound's spectrogram (default 64)")
    group.add_argument("--dropout", type=share, default=0.1, help="of F before the head, while training (default 0.1)")
    group.add_argument(
        "--encoders", type=_tunings, default="full", metavar="HOW",
        help="how much of those with weights of their own is trained: full, frozen or lora, or each its own way, as "
        "image=frozen,text=lora (default full)",
    )  # fmt: skip


def _add_plan_arguments(group: _ArgumentGroup) -> None:
    group.add_argument("--epochs", type=count, default=4, help="passes over the training split (default 4)")
    group.add_argument(
        "--learning-rate", type=learning_rate, default=2e-3, help="highest rate of the cycle (default 0.002)"
    )
    group.add_argument(
        "--encoder-rate", type=weight, metavar="RATE",
        help="that of encoders with weights of their own (default: a hundredth of --learning-rate, of lora a tenth)",
    )  # fmt: skip
    group.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16: mixed, weights stay fp32")
    group.add_argument("--patience", type=count, help="stop after so many epochs without a better macro-F1 on dev")
    group.add_argument("--modality-dropout", type=share, default=0.3, help="how often inputs are hidden (default 0.3)")
    group.add_argument(
        "--augment", type=share, default=0.5,
        help="how often a text, a reading or an image is corrupted: typos, gaps, noise, blur, dark, rotated, of random "
        "strength; images of a frozen backbone are not (default 0.5)",
    )  # fmt: skip
    group.add_argument(
        "--blind", type=share, default=0.0,
        help="how often an image gives way to one of a camera that sees nothing, so that the other inputs decide "
        "(default 0)",
    )  # fmt: skip
    group.add_argument("--cross-entropy", type=weight, default=1.0, help="weight of this loss (default 1)")
    group.add_argument("--triplet", type=weight, default=0.2, help="weight of this loss (default 0.2)")
    group.add_argument("--contrastive", type=weight, default=0.0, help="weight of this loss (default 0)")
    group.add_argument("--head-weight", type=weight, default=1.0, help="weight of each further head's loss (default 1)")
    group.add_argument("--label-smoothing", type=share, default=0.0, help="of the cross-entropy (default 0)")
    group.add_argument(
        "--level",
        type=level,
        default=0.9,
        help="how often `confidence.set` shall have the right label, and a number's band the number (default 0.9)",
    )
    group.add_argument("--class-weights", action="store_true", help="rare labels count as much as common ones")


def add_evaluate_arguments(parser: ArgumentParser) -> None:
    """What `evaluate` takes."""
    _add_common(parser)
    parser.add_argument(
        "--model", type=folder_of, default=SHIPPED,
        help="model folder, or shipped:home (default: the junction's that ships)",
    )  # fmt: skip
    parser.add_argument("--split", choices=("train", "dev", "test"), default="test", help="default test")
    parser.add_argument(
        "--by", action="append", default=[], metavar="ATTRIBUTE",
        help="also by group: key, missing (which inputs are), or an attribute of the rows; repeatable",
    )  # fmt: skip
    parser.add_argument("--positive", metavar="LABEL", help="with --by: how often each group is said to have it")
    parser.add_argument(
        "--robust", action="store_true",
        help="also on inputs that are spoiled, each way at three strengths, and after an adversarial step of the image",
    )  # fmt: skip
    parser.add_argument("--report", type=Path, metavar="DIR", help="write report.txt and metrics.json there")
    parser.add_argument(
        "--against", type=folder_of, nargs="+", metavar="DIR",
        help="other models, such as those trained with --inputs on some of the inputs: each is held against this one, "
        "which is shown the inputs that the other takes",
    )  # fmt: skip
    parser.add_argument(
        "--plots", type=Path, metavar="DIR", help="write confusion.png, reliability.png and ranking.png there"
    )


def _add_common(parser: ArgumentParser) -> None:
    parser.add_argument("--data", default="junction", help=f"{_DATA} (default junction)")
    parser.add_argument(
        "--samples", type=count, default=6400, help="junction, home: to train on; an eighth for dev and test each"
    )
    parser.add_argument("--seed", type=seed, default=0, help="of data, weights and order (default 0)")
    parser.add_argument("--batch", type=count, default=32, help="items per step (default 32)")
    parser.add_argument("--device", type=_device, default="auto", help="auto, cpu, cuda or cuda:N")


def _weighed(text: str) -> dict[str, float]:
    return {name.strip(): weight(told.strip()) for name, _, told in (one.partition("=") for one in text.split(","))}


def _device(text: str) -> str:
    if _DEVICE.fullmatch(text):
        return text
    raise ArgumentTypeError(f"{text!r} is not auto, cpu, cuda or cuda:N")


def _head(text: str) -> Asked:
    try:
        return Asked.of(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def _tunings(text: str) -> str:
    named = [one.partition("=") for one in text.split(",")]
    all_named = all(mark and name in ("image", "text") for name, mark, _ in named)
    ways = {way for _, _, way in named} if all_named else {text}
    if ways - {"full", "frozen", "lora"}:
        raise ArgumentTypeError(f"{text!r}: must be full, frozen or lora, or such as image=frozen,text=lora")
    return text


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def train(arguments: Namespace) -> int:
    """Trains; 0 when done."""
    from worker.training.run import train as run

    return run(arguments)


def tune(arguments: Namespace) -> int:
    """Searches for settings and trains with the best; 0 when done."""
    from worker.training.tune import tune as run

    return run(arguments)


def evaluate(arguments: Namespace) -> int:
    """Evaluates; 0 when done."""
    from worker.training.evaluation import evaluate as run

    return run(arguments)
