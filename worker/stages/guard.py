"""Records read and rejected -> DeadLetterLimit, before a bad release drains a topic into the dead letters."""

from __future__ import annotations

from collections import deque

from worker.errors import DeadLetterLimit

# The contract names the window: the ratio is taken of the last 1,000 records.
WINDOW_RECORDS = 1_000


class DeadLetterGuard:
    """Counts dead letters in a row and among the last 1,000 records of one topic.

    Each topic has its own: the good frames between would hide that every text is refused.
    """

    def __init__(self, in_a_row: int, ratio: float) -> None:
        self._in_a_row = in_a_row
        self._ratio = ratio
        self._row = 0
        self._window: deque[bool] = deque(maxlen=WINDOW_RECORDS)
        self._rejected = 0

    def saw(self, rejected: bool, message: str = "") -> None:
        """Notes the fate of one record.

        Raises:
            DeadLetterLimit: a limit was hit; nothing of what was counted last may be committed.
        """
        if len(self._window) == WINDOW_RECORDS:
            self._rejected -= self._window[0]
        self._window.append(rejected)
        self._rejected += rejected
        self._row = self._row + 1 if rejected else 0
        if self._in_a_row and self._row >= self._in_a_row:
            raise DeadLetterLimit(
                f"{self._row} dead letters in a row (limits.dead_letters_in_a_row = {self._in_a_row}); "
                f"the last: {message}"
            )
        if self._ratio and self._rejected > self._ratio * WINDOW_RECORDS:
            raise DeadLetterLimit(
                f"{self._rejected} of the last {WINDOW_RECORDS} records were dead letters "
                f"(limits.dead_letter_ratio = {self._ratio}); the last: {message}"
            )
