"""Aligned -> Prepared: bodies are decoded ahead of the model, in threads; one that cannot be costs itself alone.

A thread cannot be ended from outside. A body that takes too long is given up: another thread takes over the item,
without that body, and the stuck one ends when it comes back. Items of other keys never wait for it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from worker.errors import Fatal, Poison, Retryable, blamed
from worker.ports import Model, Observer
from worker.records import Aligned, Event, Missing, Record, Rejected, Stage, value

# A claim that Redis did not answer is made again after this long; meanwhile the anchor keeps its place in the order.
CLAIM_AGAIN_SECONDS = 0.1
# For one body. The largest that the limits allow takes a second or two, on a machine with too much to do some times
# that; with more, its key would wait longer for nothing.
DECODE_SECONDS = 10.0
# Each may hold a core and some hundreds of megabytes; with more of them the worker would only seem to work.
MOST_STUCK = 4
# Time is counted in turns of the watch, so that a process that was stopped and goes on gives nothing up.
_TURNS = 10


@value
class Prepared:
    """An item for the model; `item` is None when the anchor itself was rejected or shed."""

    aligned: Aligned
    item: Any
    rejected: tuple[Rejected, ...]


@dataclass(slots=True)
class _Place:
    """An item's place among those of its key."""

    since: float
    prepared: Prepared | None = None


@dataclass(slots=True, eq=False)
class _Job:
    """An item that is worked on. `now`: the stream and number of the body that is being decoded; None: none is."""

    aligned: Aligned
    place: _Place
    rejected: list[Rejected] = field(default_factory=list)
    poison: Poison | None = None
    now: tuple[str, int] | None = None
    turns: int = 0
    given_up: bool = False
    thread: threading.Thread | None = None

    def begins(self, stream: str, number: int) -> None:
        """Another body is decoded now."""
        self.turns, self.now = 0, (stream, number)


class _GivenUpError(Exception):
    """A thread has come back with what nobody waits for any more."""


class Decoder:
    """Prepares items in threads.

    Guarantees: `ready` hears of each item once, and of those of one key in the order in which they were submitted.
    """

    def __init__(
        self,
        model: Model,
        claim: Callable[[Aligned, Event], bool],
        ready: Callable[[Prepared, float], None],
        failed: Callable[[BaseException], None],
        observer: Observer,
        *,
        threads: int,
        required: Collection[str],
        seconds: float = DECODE_SECONDS,
    ) -> None:
        """`ready(prepared, since)` must not block; the others are as in Batcher. `seconds` may one body take."""
        self._model, self._claim, self._ready, self._failed, self._observer = model, claim, ready, failed, observer
        self._required, self._seconds = frozenset(required), seconds
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._keys: dict[str, deque[_Place]] = {}
        self._dead: set[str] = set()
        self._running: set[_Job] = set()
        self._unready = self._stuck = 0
        self._closing, self._closed = threading.Event(), threading.Event()
        self._threads: set[threading.Thread] = set()
        for _ in range(threads):
            self._start()
        threading.Thread(target=self._watch, name="decode-watch", daemon=True).start()

    @property
    def unready(self) -> int:
        """How many items were submitted and are not ready."""
        return self._unready

    def submit(self, aligned: Aligned) -> None:
        """Takes one item; never blocks."""
        place = _Place(time.monotonic())
        with self._changed:
            self._unready += 1
            if aligned.anchor.key not in self._dead:
                self._keys.setdefault(aligned.anchor.key, deque()).append(place)
        self._jobs.put(_Job(aligned, place))

    def close(self, timeout_seconds: float = 1.0) -> None:
        """Ends the threads once all is ready; what waits for Redis, or hangs, is left undone."""
        self._closing.set()
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            self._changed.wait_for(lambda: not self._unready, timeout_seconds)
            threads = list(self._threads)
        self._closed.set()
        for _ in threads:
            self._jobs.put(None)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name="prepare", daemon=True)
        with self._changed:
            self._threads.add(thread)
        thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            with self._changed:
                job.thread = threading.current_thread()
                self._running.add(job)
            try:
                self._finish(job, self._prepare(job))
            except _GivenUpError:
                with self._changed:
                    self._stuck -= 1
                return
            except BaseException as error:  # noqa: BLE001  the loop must hear of it, whatever it is
                self._leave_undone(job)
                self._failed(error)
            finally:
                with self._changed:
                    self._running.discard(job)

    def _finish(self, job: _Job, prepared: Prepared) -> None:
        """Hands on this item and those of its key that waited for it."""
        key = prepared.aligned.anchor.key
        with self._changed:
            job.place.prepared = prepared
            if key in self._dead:
                self._unready -= 1
            line = self._keys.get(key, deque())
            while line and line[0].prepared is not None:
                done = line.popleft()
                self._ready(done.prepared or prepared, done.since)
                self._unready -= 1
            if not line:
                self._keys.pop(key, None)
            self._changed.notify_all()

    def _leave_undone(self, job: _Job) -> None:
        """And with it what comes after it of its key, which may not be done before it."""
        key = job.aligned.anchor.key
        with self._changed:
            self._dead.add(key)
            line = self._keys.pop(key, deque())
            self._unready -= 1 + sum(place.prepared is not None for place in line)
            self._changed.notify_all()

    def _watch(self) -> None:
        """Gives up what takes too long."""
        while not self._closed.wait(self._seconds / _TURNS):
            slow: list[tuple[_Job, tuple[str, int]]] = []
            with self._changed:
                for job in self._running:
                    job.turns += 1
                    if job.now is not None and job.turns > _TURNS:
                        job.given_up = True
                        slow.append((job, job.now))
                        self._threads.discard(job.thread or threading.current_thread())
                self._stuck += len(slow)
                stuck = self._stuck
            for job, body in slow:
                self._take_over(job, *body)
            if slow and stuck > MOST_STUCK:
                told = f"{stuck} bodies have been decoded for over {self._seconds:g} s and are not done"
                self._failed(Fatal(f"{told}; their dead letters (reason too_slow) name them"))

    def _take_over(self, stuck: _Job, stream: str, number: int) -> None:
        """The item goes on in another thread; nothing of it changes in the one that is stuck."""
        poison = Poison(
            Stage.DECODE, "too_slow",
            f"stream {stream!r}: the body was not decoded within {self._seconds:g} s; send a simpler one", stream,
        )  # fmt: skip
        poison.number, poison.__cause__ = number, TimeoutError()
        with self._changed:
            self._running.discard(stuck)
        self._start()
        self._jobs.put(_Job(stuck.aligned, stuck.place, list(stuck.rejected), poison))

    def _prepare(self, job: _Job) -> Prepared:
        started = time.perf_counter()
        try:
            for stream, events in job.aligned.inputs.items():
                for event in events:
                    if event.fault is not None:
                        self._give_up(job, stream, (event,), event.fault)
            return self._decoded(job)
        finally:
            self._observer.observe("stage_seconds", time.perf_counter() - started, stage="decode")

    def _decoded(self, job: _Job) -> Prepared:
        poison = job.poison
        while True:
            if poison is not None:
                stream = poison.stream
                if stream is None or stream not in job.aligned.inputs:
                    job.rejected.append(reject(job.aligned.anchor.record, poison))
                    return Prepared(job.aligned, None, tuple(job.rejected))
                self._give_up(job, stream, undecodable(job.aligned, stream, poison), poison)
            if absent := self._required & job.aligned.missing.keys():
                return Prepared(job.aligned, None, (*job.rejected, without_required(job.aligned, min(absent))))
            if job.aligned.shed:
                return Prepared(job.aligned, None, ())
            item, poison = self._ask(job)
            if poison is None:
                return Prepared(job.aligned, item, tuple(job.rejected))

    def _ask(self, job: _Job) -> tuple[Any, Poison | None]:
        item, poison = None, None
        job.begins(job.aligned.anchor.stream, 0)
        try:
            item = self._model.prepare(job.aligned, job.begins)
        except BaseException as error:  # noqa: BLE001  the boundary of one item
            poison = error if isinstance(error, Poison) else blamed(error, Stage.DECODE, "unexpected")
        with self._changed:
            job.now = None
            if job.given_up:
                raise _GivenUpError
        return item, poison

    def _give_up(self, job: _Job, stream: str, bad: Sequence[Event], poison: Poison) -> None:
        job.rejected += [reject(event.record, poison) for event in bad if self._claimed(job.aligned, event)]
        job.aligned = without(job.aligned, stream, bad)

    def _claimed(self, aligned: Aligned, event: Event) -> bool:
        while True:
            try:
                return self._claim(aligned, event)
            except Retryable:
                if self._closing.wait(CLAIM_AGAIN_SECONDS):
                    raise


def reject(record: Record, poison: Poison) -> Rejected:
    """The dead letter that a Poison leads to."""
    return Rejected(record, Stage(poison.stage), poison.reason, str(poison), poison.exception)


def without_required(aligned: Aligned, stream: str) -> Rejected:
    """The dead letter of an anchor whose required stream has no match that can be used (CONTRACT section 5)."""
    reason = str(aligned.missing[stream])
    message = f"stream {stream!r} is required and has no match: {reason}"
    return Rejected(aligned.anchor.record, Stage.ALIGN, reason, message, "RequiredStreamMissing")


def undecodable(aligned: Aligned, stream: str, poison: Poison) -> Sequence[Event]:
    """The events of a stream that a Poison of stage DECODE is about: the one that it numbers, or all."""
    events = aligned.inputs[stream]
    return events if poison.number is None else events[poison.number : poison.number + 1]


def without(aligned: Aligned, stream: str, bad: Sequence[Event]) -> Aligned:
    """Of a window the others stay; a stream is missing once none is left."""
    inputs = dict(aligned.inputs)
    inputs[stream] = tuple(event for event in inputs[stream] if event not in bad)
    if inputs[stream]:
        return replace(aligned, inputs=inputs)
    del inputs[stream]
    return replace(aligned, inputs=inputs, missing={**aligned.missing, stream: Missing.UNDECODABLE})
