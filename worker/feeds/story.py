"""What every feed's story is made of: events with their truth, at the times of devices that are nearly steady."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One event to be produced. `time_us` counts from the feed's start; `label` is the truth, for checks only;
    `due_us` is when it is sent, where that is not at its time."""

    time_us: int
    stream: str
    key: str
    id: str
    type: str
    content_type: str
    body: bytes
    label: str
    due_us: int | None = None

    @property
    def sent_us(self) -> int:
        """When it is sent, from the feed's start."""
        return self.time_us if self.due_us is None else self.due_us


def times(rng: np.random.Generator, end_us: int, per_second: float) -> NDArray[np.int64]:
    """Times of a steady device that jitters by a fifth of its period, in milliseconds."""
    period = 1e6 / per_second
    steady = np.arange(rng.uniform(0, period), end_us, period)
    jittered = steady + rng.uniform(-0.1, 0.1, len(steady)) * period
    return (np.clip(jittered, 0, end_us) / 1000).astype(np.int64) * 1000


def one_of(rng: np.random.Generator, choices: Sequence[str]) -> str:
    """Any of them, each as likely."""
    return choices[int(rng.integers(len(choices)))]


def with_a_letter_lost(rng: np.random.Generator, text: str) -> str:
    """As typed in haste."""
    at = int(rng.integers(len(text)))
    return text[:at] + text[at + 1 :]
