"""`--data` -> the inputs and the samples of each split: drawn junctions or homes, scanned digits, or a folder."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from worker.errors import ConfigError
from worker.feeds import home
from worker.feeds.household import household_events
from worker.feeds.junction import LABELS, scene
from worker.feeds.story import FeedEvent
from worker.feeds.sumo import events as sumo
from worker.feeds.wordings import worded_of
from worker.model.config import MODALITIES, FusionConfig
from worker.model.inputs import data_of_inputs
from worker.model.preprocess import Body
from worker.training.doubles import doubles
from worker.training.fields import told_of_fields
from worker.training.labels import check_kinds, told_of_labels
from worker.training.names import check_names
from worker.training.rows import NO_LABEL, Row, Sample
from worker.training.samples import SPLITS, check_folder, folder_rows

_DRAWN = ("junction", "wordings", "sumo", "home", "household", "digits")
JUNCTION, WORDINGS, SUMO, HOME, HOUSEHOLD, DIGITS = _DRAWN

_HOMES = 8  # Simulated at once.
# The splits of what is drawn come from seeds that have nothing in common.
_SEED_OF = {"train": 1, "dev": 2, "test": 3}
_PAIR = {"image": "image", "text": "text"}


@dataclass(frozen=True, slots=True)
class Data:
    """Labelled samples.

    Attributes:
        inputs: name -> modality of each input, in the order of the model's inputs.
        splits: the samples of train, dev and test.
        about: a sentence for the model card.
        warnings: what stands in the folder twice, or is probably not meant.
    """

    inputs: dict[str, str]
    splits: dict[str, list[Sample]]
    about: str
    warnings: tuple[str, ...] = ()

    @property
    def labels(self) -> list[str]:
        """The labels of the training split, sorted."""
        return sorted({sample.label for sample in self.splits["train"]})

    def only(self, names: Sequence[str]) -> Data:
        """With these inputs alone; a sample without any of them is left out.

        Raises:
            ConfigError: there is no such input.
        """
        if unknown := [name for name in names if name not in self.inputs]:
            raise ConfigError(f"--inputs {unknown[0]}: the data has {', '.join(self.inputs)}")
        splits = {}
        for split, samples in self.splits.items():
            cut = [replace(s, bodies={n: b for n, b in s.bodies.items() if n in names}) for s in samples]
            splits[split] = [sample for sample in cut if sample.bodies]
        inputs = {name: modality for name, modality in self.inputs.items() if name in names}
        return Data(inputs, splits, self.about, self.warnings)

    def seeing(self, samples: Sequence[Sample]) -> Data:
        """With these in the train split too, for what is learned without labels: words, mean and spread."""
        return replace(self, splits={**self.splits, "train": [*self.splits["train"], *samples]})

    def fitting(self, config: FusionConfig, what: str, *, more: bool = False) -> Data:
        """With the inputs of this model alone, in its order; arguments and error as `data_of_inputs` has them."""
        names = data_of_inputs(config, self.inputs, what=what, more=more)
        made = self.only(names) if more else self
        return Data({name: self.inputs[name] for name in names}, made.splits, self.about, self.warnings)


def read(
    data: str, samples: int, seed: int, splits: Sequence[str] = SPLITS, say: Callable[[str], object] = lambda _: None
) -> Data:
    """Reads the splits; `samples` counts what is drawn to train on, dev and test have an eighth of it each.

    Raises:
        ConfigError: names the row, split or label that cannot be used.
    """
    rows: dict[str, list[Row]] = {}
    problems: list[str] = []
    if data not in _DRAWN:
        check_folder(data, _DRAWN)
    for split in splits:
        say(split)
        try:
            rows[split] = _rows(data, split, samples, seed)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("; ".join(problems))
    check_kinds(rows)
    inputs = _inputs([row for found in rows.values() for row in found])
    made = {split: [row.sample for row in found] for split, found in rows.items()}
    if "train" in splits:
        check_labels(made)
        check_names(made)
    if data in _DRAWN:
        return Data(inputs, made, _about(data, seed))
    warnings = (*told_of_labels(rows), *told_of_fields(inputs, made), *doubles(made))
    return Data(inputs, made, _about(data, seed), warnings)


def _rows(data: str, split: str, samples: int, seed: int) -> list[Row]:
    count = samples if split == "train" else max(1, samples // 8)
    if data in (JUNCTION, WORDINGS):
        return [Row(one, _PAIR) for one in junction_samples(split, count, seed, many=data == WORDINGS)]
    if data == SUMO:
        return [Row(one, sumo.STREAMS) for one in sumo_samples(split, count, seed)]
    if data == HOME:
        return [Row(one, home.STREAMS) for one in home_samples(split, count, seed)]
    if data == HOUSEHOLD:
        return [Row(one, home.STREAMS) for one in household_samples(split, count, seed)]
    if data == DIGITS:
        return [Row(one, _PAIR) for one in digit_samples(split, seed)]
    rows = list(folder_rows(Path(data), split))
    if not rows:
        raise ConfigError(f"--data {data}: the {split} split is empty")
    return rows


def _about(data: str, seed: int) -> str:
    if data == JUNCTION:
        return f"drawn scenes of a road junction and reports about it (seed {seed})"
    if data == HOUSEHOLD:
        return f"homes simulated second by second: people, rooms, devices (seed {seed})"
    if data == HOME:
        return f"drawn moments of a home: sounds, readings, sentences (seed {seed})"
    if data == SUMO:
        return f"a junction simulated by SUMO: frames from above, loops and radar, reports (seed {seed})"
    if data == WORDINGS:
        return f"drawn scenes of a road junction and reports in many wordings (seed {seed})"
    if data == DIGITS:
        return f"scikit-learn's scanned digits (UCI optdigits, CC BY 4.0) and sums as text (seed {seed})"
    return f"the folder {Path(data).name}"


def _inputs(rows: Sequence[Row]) -> dict[str, str]:
    """Inputs, images first, as the model's default has it, then by name: the order of rows changes nothing."""
    found: dict[str, str] = {}
    for row in rows:
        for name, modality in row.modalities.items():
            if found.setdefault(name, modality) != modality:
                raise ConfigError(f"{row.sample.place}: {name} is {modality} here and {found[name]} before")
    return dict(sorted(found.items(), key=lambda pair: (MODALITIES.index(pair[1]), pair[0])))


def check_labels(splits: Mapping[str, Sequence[Sample]]) -> None:
    """Raises ConfigError for labels that cannot be learned: fewer than two, one seen once, one that train has not."""
    counts = Counter(sample.label for sample in splits["train"])
    if len(counts) < 2 and not _has_targets_alone(splits):
        raise ConfigError(f"--data: the train split has 1 label ({next(iter(counts))}); needed are two or more")
    for sample in splits["train"]:
        if counts[sample.label] == 1:
            raise ConfigError(
                f"{sample.place}: is the only sample with label {sample.label!r} in the train split; "
                "needed are two or more: add some, or leave the label out"
            )
    for samples in splits.values():
        check_known(samples, sorted(counts))


def _has_targets_alone(splits: Mapping[str, Sequence[Sample]]) -> bool:
    """Whether no row has a label, and further heads are all that there is to learn."""
    return all(sample.label == NO_LABEL and sample.targets for samples in splits.values() for sample in samples)


def check_known(samples: Sequence[Sample], labels: Sequence[str]) -> None:
    """Raises ConfigError for a label that is not one of `labels`."""
    known = set(labels)
    for sample in samples:
        if sample.label == NO_LABEL and sample.targets and NO_LABEL not in known:
            raise ConfigError(f"{sample.place}: has no label, and the model has: {', '.join(labels)}")
        if sample.label not in known:
            raise ConfigError(
                f"{sample.place}: label {sample.label!r} is not in the training data: {', '.join(labels)}"
            )


def junction_samples(split: str, count: int, seed: int, *, many: bool = False) -> Iterator[Sample]:
    """Scenes of the junction, each label as often as the others; reports in the feed's few wordings, or in many."""
    rng = np.random.default_rng([seed, _SEED_OF[split]])
    for number in range(count):
        made = scene(rng, LABELS[number % len(LABELS)])
        attributes, text = {"light": made.light}, made.text
        if many:
            worded = worded_of(rng, made.label, split)
            text, attributes = worded.text, {**attributes, "report": worded.kind, "hand": worded.hand}
        one = _pair(made.image, "image/jpeg", text, made.label, f"junction/{split}/{number}")
        yield replace(one, attributes=attributes)


def home_samples(split: str, count: int, seed: int) -> Iterator[Sample]:
    """Moments of the home, each label as often as the others, with the times of what was matched."""
    rng = np.random.default_rng([seed, _SEED_OF[split]])
    for number in range(count):
        made = home.moment(rng, home.LABELS[number % len(home.LABELS)])
        bodies: dict[str, tuple[Body, ...]] = {"sounds": (Body(made.sound, "audio/wav", "sounds", 0.0),)}
        bodies["sensors"] = tuple(Body(one, "application/json", "sensors", at / 1e6) for at, one in made.readings)
        if made.text is not None:
            bodies["texts"] = (Body(made.text[1], "text/plain", "texts", made.text[0] / 1e6),)
        yield Sample(bodies, made.label, f"home/{split}/{number}")


def household_samples(split: str, count: int, seed: int) -> Iterator[Sample]:
    """Sounds of simulated homes with the readings and the sentence that the rules of docs/examples/home.toml match."""
    seconds = home.MEMORY_US / 1e6 + (count / _HOMES + 2) / home.SOUNDS_PER_SECOND
    before: dict[tuple[str, str], list[FeedEvent]] = {}
    made = 0
    for event in household_events(seed * len(_SEED_OF) + _SEED_OF[split], _HOMES, seconds):
        if event.stream != "sounds":
            before.setdefault((event.key, event.stream), []).append(event)
        elif event.time_us >= home.MEMORY_US and made < count:
            readings = [r for r in before[event.key, "sensors"] if r.time_us >= event.time_us - home.WINDOW_US]
            said = [t for t in before.get((event.key, "texts"), ()) if t.time_us >= event.time_us - home.MEMORY_US]
            found = {"sounds": [event], "sensors": readings, "texts": said[-1:]}
            bodies = {name: tuple(_body(one, event) for one in some) for name, some in found.items() if some}
            made += 1
            yield Sample(bodies, event.label, f"household/{split}/{made}", key=event.key)


def sumo_samples(split: str, count: int, seed: int) -> Iterator[Sample]:
    """Reports about a simulated junction with frame and readings, labels as often as they are true."""
    for number, made in enumerate(sumo.moments([seed, _SEED_OF[split]], count, split)):
        bodies = {
            "frames": (Body(made.frame[1], "image/jpeg", "frames", made.frame[0] / 1e6),),
            "loops": tuple(Body(one, "application/json", "loops", at / 1e6) for at, one in made.readings),
            "texts": (Body(made.text, "text/plain", "texts", 0.0),),
        }
        yield Sample(bodies, made.label, f"sumo/{split}/{number}")


_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SUMS = ("add {n}", "plus {n}", "{n} more", "count {n} further", "move {n} steps up", "increase it by {n}")
# Every scan is shown with several sums: alone neither the scan nor the sum tells the label.
_SUMS_A_SCAN = {"train": 4, "dev": 2, "test": 2}


def digit_samples(split: str, seed: int) -> Iterator[Sample]:
    """A scanned digit d and a text that says n; the label is the last digit of d + n.

    The 1,797 scans are divided 70 : 15 : 15, so that no scan is in two splits.
    """
    from sklearn.datasets import load_digits

    scans = load_digits()
    order = np.random.default_rng([seed, 0]).permutation(len(scans.target))
    first, second = int(0.7 * len(order)), int(0.85 * len(order))
    part = {"train": order[:first], "dev": order[first:second], "test": order[second:]}[split]
    rng = np.random.default_rng([seed, _SEED_OF[split]])
    for number in part:
        body = _png(scans.images[number])
        for _ in range(_SUMS_A_SCAN[split]):
            n = int(rng.integers(10))
            text = _SUMS[int(rng.integers(len(_SUMS)))].format(n=_WORDS[n])
            label = str((int(scans.target[number]) + n) % 10)
            yield _pair(body, "image/png", text, label, f"digits/{split}/{number}")


def _body(event: FeedEvent, anchor: FeedEvent) -> Body:
    return Body(event.body, event.content_type, event.stream, (event.time_us - anchor.time_us) / 1e6)


def _png(scan: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> bytes:
    out = io.BytesIO()
    Image.fromarray((scan * 255 / 16).astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC).save(out, "PNG")
    return out.getvalue()


def _pair(image: bytes, content_type: str, text: str, label: str, place: str) -> Sample:
    bodies = {"image": (Body(image, content_type, "image"),), "text": (Body(text.encode(), "text/plain", "text"),)}
    return Sample(bodies, label, place)
