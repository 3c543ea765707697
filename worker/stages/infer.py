"""Prepared items -> verdicts: a batch that fails is halved until the item that fails it is found.

An exception that nobody foresaw is blamed on its item only while the model answers others: one that fails on
everything would make dead letters of all anchors. So an item that had a verdict before is asked again, and where that
fails too the worker stops, with nothing lost. Before the first verdict there is no such item; then a few may fail.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from worker.errors import Fatal, Poison, blamed
from worker.ports import Model
from worker.records import Stage, Verdict

# Of a worker's first items. With fewer some bad ones at the start would keep it from ever starting; each that is not
# bad is an anchor without a result.
MOST_BEFORE_A_VERDICT = 10


class Asker:
    """Asks the model. Thread-safe."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._answered: Any = None
        self._lock = threading.Lock()
        self._in_a_row = 0

    def infer(self, items: Sequence[Any]) -> list[Verdict | Poison]:
        """A verdict or a Poison of stage MODEL for each item, in order.

        Raises:
            Fatal: the model fails on whatever it is asked.
        """
        if not items:
            return []
        try:
            verdicts = self._model.infer(items)
        except BaseException as error:  # noqa: BLE001  the boundary of one item
            poison = error if isinstance(error, Poison) else blamed(error, Stage.MODEL, "unexpected")
            if len(items) > 1:
                middle = len(items) // 2
                return self.infer(items[:middle]) + self.infer(items[middle:])
            if poison is not error:
                self._check_model(poison)
            return [poison]
        if len(verdicts) != len(items):
            raise Fatal(f"the model gave {len(verdicts)} verdicts for {len(items)} items")
        self._answered = items[-1]
        return list(verdicts)

    def _check_model(self, poison: Poison) -> None:
        if self._answered is not None:
            try:
                self._model.infer([self._answered])
            except BaseException as error:
                failed = blamed(error, Stage.MODEL, "unexpected", what="the model fails on what it has answered before")
                raise Fatal(f"{failed}; see its device and memory, then start again") from error
            return
        with self._lock:
            self._in_a_row += 1
            if self._in_a_row >= MOST_BEFORE_A_VERDICT:
                raise Fatal(f"the model fails on each of the first {self._in_a_row} items: {poison}") from poison
