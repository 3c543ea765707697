"""What the model sees and says, held against the data it was trained with: population stability per quantity.

PSI = sum over cells of (p - q) ln(p / q), p and q the shares of the reference and of now. Of samples of m and n from
one distribution it is about (cells - 1)(1 / m + 1 / n) by chance (Yurdakul, Statistical properties of the population
stability index, 2018), which is taken off: so that one threshold fits every window and every reference.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.errors import ConfigError
from worker.ports import Log, Observer

REFERENCE = "reference.json"
_OF = "weights"  # Beside the quantities, none of which is called so.
ABSENT = np.inf  # Where an item has not the input: not counted. NaN: it has the input, without this number.
# Of 10 cells and a reference of 800 the index varies by 0.005 over windows of 2,000 of one distribution; more would
# only be later to see a change. Over windows of 200 it varies by 0.018, a twelfth of what raises the alert; fewer say
# little.
WINDOW, LEAST = 2_000, 200
# A scrape looks every few seconds.
TELL_EVERY_SECONDS = 5.0
# Of a reference: so many in a cell keep its own chance below a tenth of what raises the alert.
_MOST_CELLS, _LEAST_IN_CELL = 10, 30
LEAST_REFERENCE = 100
# Added to each cell's count (Jeffreys): the logarithm of an empty one is finite, and its weight that of half a sample.
_UNSEEN = 0.5

Counts = NDArray[np.int64]


def psi(reference: Counts, now: Counts) -> float:
    """The index of two samples' counts, less what chance alone makes of it on average; never below 0."""
    used = (reference + now) > 0
    m, n = reference.sum(), now.sum()
    p, q = (_shares(counts[used]) for counts in (reference, now))
    index = float(((p - q) * np.log(p / q)).sum())
    return max(0.0, index - float((used.sum() - 1) * (1 / m + 1 / n)))


def _shares(counts: Counts) -> NDArray[np.float64]:
    raised = counts + _UNSEEN
    return np.asarray(raised / raised.sum())


@dataclass(frozen=True, slots=True)
class Quantity:
    """How one number is spread in the reference.

    Attributes:
        edges: rising; a cell ends at each, and one lies beyond the last.
        counts: per cell, and at the end of those that have the input without this number.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, values: NDArray[np.float64], edges: Sequence[float] | None = None) -> Quantity:
        """Of these values; cells that hold alike many of them, where `edges` are not given."""
        if edges is None:
            edges = _quantiles(values[np.isfinite(values)])
        cells = cells_of(values[:, None], _padded([edges]))[:, 0]
        numbers = np.where(cells < 0, len(edges) + 1, cells)
        return cls(tuple(edges), tuple(np.bincount(numbers, minlength=len(edges) + 2).tolist()))


def _quantiles(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Inner edges. A value at which several fall has a cell of its own: below it and beyond it are others."""
    cells = min(_MOST_CELLS, len(values) // _LEAST_IN_CELL)
    if cells < 2:
        return ()
    found, times = np.unique(np.quantile(values, np.arange(1, cells) / cells, method="lower"), return_counts=True)
    edges = np.union1d(found, np.nextafter(found[times > 1], -np.inf))
    return tuple(edges.tolist())


def _padded(edges: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    wide = max((len(one) for one in edges), default=0)
    return np.array([[*one, *[np.inf] * (wide - len(one))] for one in edges]).reshape(len(edges), wide)


def cells_of(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """[B, Q] values, [Q, E] edges -> the cell of each, -1 of what is NaN."""
    cells = (values[:, :, None] > edges).sum(axis=2)
    return np.asarray(np.where(np.isnan(values), -1, cells))


@dataclass(frozen=True, slots=True)
class Reference:
    """The spread of each quantity in the data that the model was measured on, by its name."""

    quantities: Mapping[str, Quantity]

    @classmethod
    def of(cls, names: Sequence[str], values: NDArray[np.float64], edges: Mapping[str, Sequence[float]]) -> Reference:
        """Of values [N, Q]; one that fewer than 100 have is left out. `edges`: those that are known."""
        told = {}
        for number, name in enumerate(names):
            own = values[values[:, number] != ABSENT, number]
            if len(own) >= LEAST_REFERENCE:
                told[name] = Quantity.of(own, edges.get(name))
        return cls(told)

    def save(self, folder: Path, of: str) -> None:
        """Writes `reference.json`, a line a quantity, with the digest of the weights that it was made with."""
        lines = [
            f" {json.dumps(name)}: {json.dumps({'edges': one.edges, 'counts': one.counts})}"
            for name, one in self.quantities.items()
        ]
        (folder / REFERENCE).write_text("{\n" + ",\n".join([f' "{_OF}": "{of}"', *lines]) + "\n}\n", "utf-8")

    @classmethod
    def load(cls, folder: Path, of: str) -> Reference | None:
        """That of a model's folder, whose weights have the digest `of`; None where it has none.

        Raises:
            ConfigError: the file is not one that `save` writes, or was made with other weights.
        """
        if not (folder / REFERENCE).exists():
            return None
        try:
            read = json.loads((folder / REFERENCE).read_text("utf-8"))
            made_with = read.get(_OF, of)
            if made_with != of:
                raise ValueError(f"was made with the weights {made_with}, those beside it are {of}")
            return cls({name: _checked(name, **one) for name, one in read.items() if name != _OF})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            remedy = "it must be as `fusion-worker train` wrote it; without one drift is not watched"
            raise ConfigError(f"model.path = {str(folder)!r}: {REFERENCE}: {error}; {remedy}") from error


def _checked(name: str, edges: Sequence[float], counts: Sequence[int]) -> Quantity:
    if len(counts) != len(edges) + 2 or min(counts) < 0 or not sum(counts) or list(edges) != sorted(set(edges)):
        raise ValueError(f"{name}: edges must rise, and counts be two more than they, of samples")
    return Quantity(tuple(map(float, edges)), tuple(map(int, counts)))


class Drift:
    """The last verdicts against the reference. Thread-safe.

    Attributes:
        quantities: the names of what is held against it.
        told: hears each quantity's index every few seconds; NaN: too few of the window have it.
    """

    def __init__(self, reference: Reference, names: Sequence[str], window: int = WINDOW, least: int = LEAST) -> None:
        """`names`: of the columns of the values that will come.

        Raises:
            ConfigError: the reference has a quantity that the model has not.
        """
        if unknown := [name for name in reference.quantities if name not in names]:
            raise ConfigError(f"{REFERENCE}: {unknown[0]!r} is none of this model's: {', '.join(names)}")
        self.told: Callable[[str, float], object] | None = None
        self.quantities = tuple(reference.quantities)
        self._quantities, self._least = reference.quantities, least
        self._columns = [list(names).index(name) for name in self._quantities]
        self._edges = _padded([one.edges for one in self._quantities.values()])
        self._absent = self._edges.shape[1] + 1  # A cell behind all others.
        self._ring = np.full((window, len(self._columns)), self._absent)
        self._next, self._due = 0, 0.0
        self._lock = threading.Lock()

    def forget(self) -> None:
        """Empties the window."""
        with self._lock:
            self._ring[:], self._next = self._absent, 0

    def add(self, values: NDArray[np.float64]) -> None:
        """Values [B, Q] of verdicts."""
        chosen = values[:, self._columns]
        cells = np.where(chosen == ABSENT, self._absent, cells_of(chosen, self._edges))[-len(self._ring) :]
        with self._lock:
            self._ring[(self._next + np.arange(len(cells))) % len(self._ring)] = cells
            self._next += len(cells)
            is_due = self.told is not None and time.monotonic() >= self._due
            if is_due:
                self._due = time.monotonic() + TELL_EVERY_SECONDS
        if is_due:
            self.tell()

    def tell(self) -> None:
        """Tells each quantity's index."""
        for name, index in self.psi().items():
            if self.told is not None:
                self.told(name, index)

    def psi(self) -> dict[str, float]:
        """By quantity; NaN where fewer of the window have it than the least."""
        with self._lock:
            ring = self._ring.copy()
        found = {}
        for number, (name, one) in enumerate(self._quantities.items()):
            own = ring[ring[:, number] != self._absent, number]
            counts = np.bincount(np.where(own < 0, len(one.edges) + 1, own), minlength=len(one.counts))
            found[name] = psi(np.array(one.counts), counts) if len(own) >= self._least else np.nan
        return found


def watch(drift: Drift | None, observer: Observer, log: Log) -> None:
    """Tells the drift as a gauge, or once why there is none."""
    if drift is None:
        log.info("drift is not watched", reason=f"the model's folder has no {REFERENCE}, which `train` writes")
    else:
        drift.told = lambda quantity, index: observer.gauge("drift_psi", index, quantity=quantity)
