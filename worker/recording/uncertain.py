"""Anchors and their results -> those that are most worth a person's time: unsure, and unlike each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from worker.recording.gather import Anchor
    from worker.recording.told import Published

# So many times as many as are wanted are taken by their margins; of these the core-set takes what is unlike the others.
# With 1 there would be nothing to choose; with very many the sure ones would come in, of which a label tells little.
POOL = 5

Candidate = tuple["Anchor", "Published"]


def pick(candidates: Sequence[Candidate], labelled: Sequence[Published], number: int) -> tuple[list[Anchor], bool]:
    """So many anchors, the first the most worth it; and whether their embeddings were looked at.

    1. The candidates with the least margin between their first two scores, POOL times as many as are wanted.
    2. Of these, one after the other, the one that is farthest from all that have been taken and from all that are
       labelled (k-center greedy: Sener and Savarese, 2018), by Euclidean distance of their embeddings; where nothing is
       labelled the one with the least margin comes first.

    Where some of the pool has no embedding, or one of another length, as of two models, margins alone decide. Equals
    come in the order of their times, keys, ids and places: the same topics give the same rows.
    """
    ordered = sorted(
        candidates, key=lambda one: (one[1].margin, one[0].time_us, one[0].key, one[0].id, one[0].place)
    )  # fmt: skip
    pool = ordered[: POOL * number]
    shapes = {None if told.embedding is None else told.embedding.shape for _, told in pool}
    if len(shapes) != 1 or None in shapes:
        return [anchor for anchor, _ in pool[:number]], False
    known = [one.embedding for one in labelled if one.embedding is not None and one.embedding.shape in shapes]
    return [pool[at][0] for at in _centres(np.stack([told.embedding for _, told in pool]), known, number)], True


def _centres(points: Any, known: Sequence[Any], number: int) -> list[int]:
    """Which points, in the order in which they were taken."""
    distances = np.full(len(points), np.inf)
    for one in known:
        distances = np.minimum(distances, ((points - one) ** 2).sum(axis=1))
    taken: list[int] = []
    for _ in range(min(number, len(points))):
        at = int(distances.argmax())
        taken.append(at)
        distances = np.minimum(distances, ((points - points[at]) ** 2).sum(axis=1))
        distances[taken] = -1.0
    return taken
