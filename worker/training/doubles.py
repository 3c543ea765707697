"""Samples of a folder -> what stands in it twice, in sentences: it trains twice, or makes the test say too much."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from worker.training.rows import Sample

# A short text or a reading may well be the same twice in a split; two pictures or sounds are not, unless they are one.
_LARGE = ("image/", "audio/")


def doubles(splits: Mapping[str, Sequence[Sample]]) -> tuple[str, ...]:
    """Warnings, each with how many rows and the first; rows are the same when all their bodies are.

    A recording may hold them (a dark camera sends one frame all night), so they are told, not refused.
    """
    told: list[str] = []
    labels: list[tuple[Sample, Sample, str]]
    again: list[tuple[Sample, Sample, str]]
    rows: dict[bytes, tuple[str, Sample]] = {}
    files: dict[bytes, tuple[str, Sample]] = {}
    words: dict[bytes, tuple[str, Sample]] = {}
    for split, samples in splits.items():
        labels, again, leaked, shared = [], [], [], []
        alike: dict[str, list[tuple[Sample, Sample, str]]] = {}
        for sample in samples:
            other_split, other = rows.setdefault(_digest(sample), (split, sample))
            if other is not sample and other_split == split:
                (again if other.label == sample.label else labels).append((sample, other, split))
            elif other is not sample:
                leaked.append((sample, other, other_split))
            else:
                if (found := _shared_file(files, split, sample)) is not None:
                    shared.append((sample, found[1], found[0]))
                for name, first in _alike(words, split, sample):
                    alike.setdefault(name, []).append((sample, first[1], first[0]))
        told += _told(split, labels, "with two labels", "is {label!r}, the same as {other}, {other_label!r}")
        told += _told(split, again, "more than once", "is {other}")
        told += _told(split, leaked, "also in {other_split}, so that {split} says too much", "is {other}")
        told += _told(
            split, shared, "with a file of {other_split}, so that {split} says too much", "has one of {other}"
        )
        for name, some in sorted(alike.items()):
            what = f"with a body of {name} that {{other_split}} has, so that {{split}} may say too much"
            told += _told(split, some, what, "has that of {other}")
    return tuple(told)


def held_already(samples: Sequence[Sample], splits: Mapping[str, Sequence[Sample]]) -> dict[int, str]:
    """The numbers of those samples that a split holds, each with the first such split.

    Dev and test hold a sample also when they have one of its pictures or sounds, or each of its bodies somewhere: who
    learns from those would be measured on what was learned. Of train it is the whole row.
    """
    found: dict[int, str] = {}
    for split in sorted(splits, key=lambda one: one == "train"):
        rows = {_digest(sample) for sample in splits[split]}
        bodies = {key for sample in splits[split] for key, _ in _keys(sample)} if split != "train" else set()
        for number, sample in enumerate(samples):
            keys = _keys(sample)
            is_held = all(key in bodies for key, _ in keys) or any(large and key in bodies for key, large in keys)
            if is_held or _digest(sample) in rows:
                found.setdefault(number, split)
    return found


def _keys(sample: Sample) -> list[tuple[bytes, bool]]:
    """Of each body what stands for it, a text or a reading with its input's name, and whether it is large."""
    made = []
    for name, bodies in sample.bodies.items():
        for body in bodies:
            large = body.content_type.startswith(_LARGE)
            before = b"" if large else name.encode() + b"\0"
            made.append((hashlib.blake2b(before + body.payload, digest_size=16).digest(), large))
    return made


def _told(split: str, found: Sequence[tuple[Sample, Sample, str]], what: str, first: str) -> list[str]:
    if not found:
        return []
    sample, other, other_split = found[0]
    names = {
        "split": split, "other_split": other_split, "other": other.place, "label": sample.label,
        "other_label": other.label,
    }  # fmt: skip
    rows = "1 row" if len(found) == 1 else f"{len(found)} rows"
    return [f"{rows} of {split} {what.format(**names)}: {sample.place} {first.format(**names)}"]


def _shared_file(files: dict[bytes, tuple[str, Sample]], split: str, sample: Sample) -> tuple[str, Sample] | None:
    """Of a sample's pictures and sounds one that another split has too."""
    found = None
    for body in (body for bodies in sample.bodies.values() for body in bodies):
        if body.content_type.startswith(_LARGE):
            digest = hashlib.blake2b(body.payload, digest_size=16).digest()
            other = files.setdefault(digest, (split, sample))
            found = found or (other if other[0] != split else None)
    return found


def _alike(
    words: dict[bytes, tuple[str, Sample]], split: str, sample: Sample
) -> Iterator[tuple[str, tuple[str, Sample]]]:
    """Of a sample the inputs with a text or a reading that another split has too."""
    for name, bodies in sample.bodies.items():
        small = [body for body in bodies if not body.content_type.startswith(_LARGE)]
        keys = [hashlib.blake2b(name.encode() + b"\0" + body.payload, digest_size=16).digest() for body in small]
        others = [words.setdefault(key, (split, sample)) for key in keys]
        yield from [(name, other) for other in others if other[0] != split][:1]


def _digest(sample: Sample) -> bytes:
    made = hashlib.blake2b(digest_size=16)
    for name, bodies in sorted(sample.bodies.items()):
        for body in bodies:
            made.update(f"{name} {len(body.payload)} ".encode())
            made.update(body.payload)
    return made.digest()


def digest_of(samples: Sequence[Sample]) -> str:
    """Names what these samples hold, in their order."""
    made = hashlib.blake2b(digest_size=4)
    for sample in samples:
        seconds = [body.seconds for _, bodies in sorted(sample.bodies.items()) for body in bodies]
        targets = f" {sorted(sample.targets.items())}" if sample.targets else ""
        made.update(_digest(sample) + f"{sample.label} {seconds}{targets}\0".encode())
    return f"{len(samples)} samples {made.hexdigest()}"
