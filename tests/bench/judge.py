"""Results of one contender -> its figures; each result is held against the oracle's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.bench.backlog import Expected
from tests.bench.measure import Sample, spent_between

Amiss = tuple[int, int, int]  # texts lost, texts doubled, results that are not the oracle's


class Result(NamedTuple):
    """One result as a read_committed reader found it; `at` is when the broker took it, in seconds."""

    at: float
    text: str
    frame: str | None
    score: float


@dataclass(frozen=True)
class Figures:
    """What one contender did in one round.

    Attributes:
        pairs_per_second, pair_us, redis_us, broker_us: between 10 % and 90 % of the results; processor time of the
            contender and its Redis, of Redis alone, and of the broker beside, per pair.
        event_us: `pair_us` shared among the text and its frames.
        right: part of the texts that have one result, the right one.
    """

    pairs_per_second: float
    pair_us: float
    event_us: float
    redis_us: float
    broker_us: float
    peak_bytes: int
    right: float


def right(results: Sequence[Result], oracle: Mapping[str, Expected], scores: bool) -> float:
    """The part of all texts that have exactly one result, with the oracle's frame (and score, where it tells it)."""
    counts = Counter(result.text for result in results)
    found = {result.text: result for result in results}
    good = sum(
        counts[text] == 1
        and found[text].frame == one.frame
        and (not scores or abs(found[text].score - one.score) < 1e-9)
        for text, one in oracle.items()
    )
    strangers = sum(text not in oracle for text in counts)
    return good / (len(oracle) + strangers)


def amiss(results: Sequence[Result], oracle: Mapping[str, Expected]) -> Amiss:
    """How many texts have no result, how many have more than one, and how many results are not the oracle's."""
    counts = Counter(result.text for result in results)
    wrong = sum(
        (one := oracle.get(result.text)) is None or result.frame != one.frame or abs(result.score - one.score) > 1e-9
        for result in results
    )
    return sum(text not in counts for text in oracle), sum(count > 1 for count in counts.values()), wrong


def marks(times: Sequence[float]) -> tuple[float, float, int]:
    """When a tenth and nine tenths of the results were there, and how many came in between."""
    ordered = sorted(times)
    first, last = len(ordered) // 10, len(ordered) * 9 // 10
    return ordered[first], ordered[last], last - first


def judged(
    results: Sequence[Result], samples: Sequence[Sample], peak_bytes: int, oracle: Mapping[str, Expected],
    mix: int, scores: bool,
) -> Figures:  # fmt: skip
    """The figures of one run; `samples` are of the contender, "redis" and "broker"."""
    begin, end, pairs = marks([result.at for result in results])
    seconds = max(end - begin, 0.001)  # the broker's clock has milliseconds
    spent = {name: spent_between(samples, name, begin, end) / pairs * 1e6 for name in samples[0].spent}
    own = spent["contender"] + spent.get("redis", 0.0)
    return Figures(
        pairs / seconds, own, own / (1 + mix), spent.get("redis", 0.0), spent.get("broker", 0.0), peak_bytes,
        right(results, oracle, scores),
    )  # fmt: skip
