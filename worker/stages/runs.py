"""Offsets -> runs: a set of whole numbers kept as intervals, as cheap as it has gaps."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator


class Runs:
    """Sorted, disjoint, never adjacent intervals [start, end)."""

    def __init__(self, runs: Iterable[tuple[int, int]] = ()) -> None:
        """`runs`: ascending, disjoint and not adjacent."""
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in runs:
            self._starts.append(start)
            self._ends.append(end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def __len__(self) -> int:
        """How many intervals."""
        return len(self._starts)

    def __contains__(self, number: int) -> bool:
        at = bisect.bisect_right(self._starts, number)
        return at > 0 and number < self._ends[at - 1]

    def add(self, number: int) -> None:
        """Adds one number; the runs beside it grow, or become one."""
        if number in self:
            return
        at = bisect.bisect_right(self._starts, number)
        joins_before = at > 0 and self._ends[at - 1] == number
        joins_after = at < len(self._starts) and self._starts[at] == number + 1
        if joins_before and joins_after:
            self._ends[at - 1] = self._ends.pop(at)
            del self._starts[at]
        elif joins_before:
            self._ends[at - 1] = number + 1
        elif joins_after:
            self._starts[at] = number
        else:
            self._starts.insert(at, number)
            self._ends.insert(at, number + 1)

    def drop_below(self, floor: int) -> None:
        """Forgets what is smaller than `floor`."""
        at = bisect.bisect_right(self._ends, floor)
        del self._starts[:at], self._ends[:at]
        if self._starts and self._starts[0] < floor:
            self._starts[0] = floor
