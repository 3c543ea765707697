"""Another model is asked what the one that serves was asked, to see where the two differ; no result waits for it.

It has a thread of its own, which Linux runs when nobody else wants the processor. That thread shares no lock with those
that serve: one that is not run while it holds a lock would hold them up.
"""

from __future__ import annotations

import math
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from worker.model.models import Ready, Servable
from worker.ports import Log, Observer, told_of
from worker.records import Event, Verdict, value

# Two that wait keep it busy; more would only be older.
MOST_BATCHES = 2
MOST_BYTES = 64 * 2**20
# Of batches of which not one item was answered. One may be the items' fault.
MOST_FAILED = 3
HANG_SECONDS = 60.0
PRIORITY = 19  # The least that Linux has.


@value
class _Batch:
    ready: Sequence[Ready]
    verdicts: Sequence[Verdict]
    size: int


class Shadow:
    """Guarantees: `offer` neither waits nor raises. What it has no room for is dropped and counted; a model that cannot
    be loaded, hangs, or fails on whatever it is asked is off until the worker starts again, which is told once."""

    def __init__(
        self,
        load: Callable[[], Servable],
        differ: Callable[[Event, Verdict, Verdict], None],
        observer: Observer,
        log: Log,
        *,
        share: float = 1.0,
        hang_seconds: float = HANG_SECONDS,
    ) -> None:
        """`differ(anchor, verdict, shadow's)` hears of disagreements in the shadow's thread; `share`: of the batches
        that are offered, 0 to 1; one that takes longer than `hang_seconds` is not waited for."""
        self._load, self._differ, self._observer, self._log = load, differ, observer, log
        self._share, self._hang = share, hang_seconds
        self._queue: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # Among those that offer.
        self._due = 0.0
        self._offered = self._taken = 0  # bytes
        self._looked, self._begun, self._stood = time.monotonic(), 0, 0.0
        self._asking = 0  # the batch that it is asked about; 0: none
        self._batches = self._in_a_row = 0
        self._off = self._untold = False
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, ready: Sequence[Ready], verdicts: Sequence[Verdict]) -> None:
        """What the model that serves was asked, and has said."""
        if self._off:
            return
        with self._lock:
            self._look()
            self._due += self._share
            if self._due < 1:
                return
            self._due -= 1
            size = sum(map(_size, ready))
            has_room = self._queue.qsize() < MOST_BATCHES and self._offered - self._taken + size <= MOST_BYTES
            if has_room and not self._off:
                self._offered += size
                self._queue.put(_Batch(ready, verdicts, size))
                return
        self._observer.count("shadow_items_total", len(ready), outcome="dropped")

    def _look(self) -> None:
        """Adds up how long it has been at one batch. A pause of the whole process counts for a second."""
        now, asking = time.monotonic(), self._asking
        self._stood = self._stood + min(1.0, now - self._looked) if asking and asking == self._begun else 0.0
        self._looked, self._begun = now, asking
        if self._stood > self._hang and not self._off:
            self._end(f"no answer for {self._hang:g} s")

    def close(self, timeout_seconds: float = 1.0) -> None:
        """Ends the thread; what it is at is not waited for longer than this."""
        self._off = True
        self._queue.put(None)
        self._thread.join(timeout_seconds)

    def _end(self, reason: str) -> None:
        if not self._off:
            self._off = True
            self._observer.gauge("shadow_off", 1)
            self._log.warning("shadow model is off", reason=reason, action="results go on without it")

    def _run(self) -> None:
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), PRIORITY)
        try:
            model = self._load()
            self._log.info("shadow model is asked", share=self._share, **model.info)
            # Off, it ends at once, and the model's memory is free again.
            while not self._off and (batch := self._queue.get()) is not None:
                self._taken += batch.size
                self._compare(model, batch)
        except BaseException as error:  # noqa: BLE001  whatever it does, results go on
            self._end(_told(error))

    def _compare(self, model: Servable, batch: _Batch) -> None:
        self._batches += 1
        self._asking = self._batches
        answers, error = _ask(model, batch.ready)
        told = told_of(model)
        self._asking = 0
        if self._off:
            return
        for ready, verdict, answer in zip(batch.ready, batch.verdicts, answers, strict=True):
            self._tell(ready, verdict, replace(answer, model=told) if answer is not None else None)
        self._in_a_row = 0 if any(answers) else self._in_a_row + 1
        if self._in_a_row == MOST_FAILED:
            self._end(f"it answered nothing of {MOST_FAILED} batches in a row: {_told(error)}")

    def _tell(self, ready: Ready, verdict: Verdict, answer: Verdict | None) -> None:
        if answer is None or answer.label == verdict.label:
            self._observer.count("shadow_items_total", outcome="failed" if answer is None else "agreed")
            return
        self._observer.count("shadow_items_total", outcome="disagreed")
        self._observer.count("shadow_disagreements_total", label=verdict.label, shadow=answer.label)
        try:
            self._differ(ready.aligned.anchor, verdict, answer)
            self._untold = False
        except Exception as error:  # noqa: BLE001  whatever the topic does
            if not self._untold:
                self._log.warning("a disagreement was not published", reason=_told(error), action="it is counted")
            self._untold = True


def _size(ready: Ready) -> int:
    events = (event for found in ready.aligned.inputs.values() for event in found)
    return ready.nbytes + ready.aligned.anchor.size + sum(event.size for event in events)


def _ask(model: Servable, batch: Sequence[Ready]) -> tuple[list[Verdict | None], BaseException | None]:
    """A verdict or None for each, and what was raised last: of a batch that fails each item is asked alone."""
    try:
        items = [
            one.item if one.model.prepares == model.prepares else model.prepare(one.aligned, lambda *_: None)
            for one in batch
        ]
        return list(_checked(model.infer(items), len(batch))), None
    except BaseException as error:  # noqa: BLE001  whatever it does, results go on
        if len(batch) == 1:
            return [None], error
        alone = [_ask(model, [one]) for one in batch]
        return [answers[0] for answers, _ in alone], next((each for _, each in reversed(alone) if each), error)


def _checked(verdicts: Sequence[Verdict], number: int) -> Sequence[Verdict]:
    if len(verdicts) != number:
        raise ValueError(f"{len(verdicts)} verdicts for {number} items")
    if not all(math.isfinite(score) for one in verdicts for score in (one.score, *one.scores.values())):
        raise ValueError("its scores are not finite")
    return verdicts


def _told(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}"
