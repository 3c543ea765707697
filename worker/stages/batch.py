"""Aligned -> Fused: continuous micro-batches, prepared ahead of the model, in the order of arrival.

When the model is free it takes what is ready, up to `max_batch`; `max_delay` adds a wait only when fewer are ready,
counted from the oldest item. Decoding and tokenising run ahead in threads (both release the GIL). A model with several
lanes works on as many batches at once; what they give is put back into order.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from worker.errors import Poison, Retryable, blamed
from worker.ports import Model, Observer
from worker.records import Aligned, Event, Missing, Record, Rejected, Stage, Verdict

# A claim that Redis did not answer is made again after this long; meanwhile the anchor keeps its place in the order.
CLAIM_AGAIN_SECONDS = 0.1
# The verdict of an anchor that was shed: no label of the model's, no score.
SHED = Verdict("shed", 0.0, {})


@dataclass(frozen=True, slots=True)
class Fused:
    """One anchor's fate: a verdict or a rejection, with the context records that proved undecodable."""

    aligned: Aligned
    verdict: Verdict | None
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True, slots=True)
class _Prepared:
    aligned: Aligned
    item: Any  # None: the anchor itself was rejected or shed
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True, slots=True)
class _Ready:
    prepared: Future[_Prepared]
    since: float


class Batcher:
    """Feeds the model, a thread per lane, and hands each Fused on in the order in which they were submitted.

    Guarantees: one Fused per submitted Aligned; a verdict belongs to the item at its place; an item that fails its
    batch is found by halving and rejected alone.
    """

    def __init__(
        self,
        model: Model,
        claim: Callable[[Aligned, Event], bool],
        done: Callable[[Sequence[Fused]], None],
        failed: Callable[[BaseException], None],
        observer: Observer,
        *,
        max_batch: int,
        max_delay_seconds: float,
        threads: int,
        required: Collection[str] = (),
    ) -> None:
        """`claim(aligned, event)` says whether this anchor is the one that rejects this undecodable event; it may
        raise Retryable, and is then asked again. An anchor that misses one of the `required` streams has no result."""
        self._required = frozenset(required)
        self._model, self._claim, self._done, self._failed, self._observer = model, claim, done, failed, observer
        self._max_batch, self._max_delay = max_batch, max_delay_seconds
        self._queue: queue.SimpleQueue[_Ready | None] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(threads, "prepare")
        self._inside = 0
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._collecting = threading.Lock()
        self._tickets = itertools.count()
        self._handing = threading.Lock()
        self._due = 0
        self._fused: dict[int, list[Fused]] = {}
        self._lanes = [threading.Thread(target=self._run, name=f"model-{n}", daemon=True) for n in range(model.lanes)]
        for lane in self._lanes:
            lane.start()

    @property
    def inside(self) -> int:
        """How many items were submitted and are not done."""
        return self._inside

    def submit(self, aligned: Aligned) -> None:
        """Takes one item; never blocks. The caller bounds `inside`."""
        with self._lock:
            self._inside += 1
        self._queue.put(_Ready(self._pool.submit(self._prepare, aligned), time.monotonic()))

    def close(self) -> None:
        """Ends the threads once what is inside is done; what waits for Redis is left undone."""
        self._closing.set()
        self._queue.put(None)
        for lane in self._lanes:
            lane.join()
        self._pool.shutdown()

    def _run(self) -> None:
        try:
            while taken := self._take():
                ticket, batch = taken
                self._hand_on(ticket, self._fuse(batch))
        except BaseException as error:  # noqa: BLE001  the loop must hear of it, whatever it is
            self._failed(error)

    def _take(self) -> tuple[int, list[_Prepared]] | None:
        """The next batch and its place in the order; None at the end, which stays in the queue for the other lanes."""
        with self._collecting:
            first = self._queue.get()
            if first is None:
                self._queue.put(None)
                return None
            batch, last = self._collect(first)
            if last:
                self._queue.put(None)
            return next(self._tickets), batch

    def _hand_on(self, ticket: int, fused: list[Fused]) -> None:
        """Hands on this batch and those that were waiting for it; the lane itself never waits."""
        with self._handing:
            self._fused[ticket] = fused
            while self._due in self._fused:
                ready = self._fused.pop(self._due)
                self._done(ready)
                self._due += 1
                with self._lock:
                    self._inside -= len(ready)

    def _collect(self, first: _Ready) -> tuple[list[_Prepared], bool]:
        batch, last = [first.prepared.result()], False
        deadline = first.since + self._max_delay
        while len(batch) < self._max_batch:
            try:
                left = deadline - time.monotonic()
                ready = self._queue.get(timeout=left) if left > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if ready is None:
                last = True
                break
            batch.append(ready.prepared.result())
        return batch, last

    def _prepare(self, aligned: Aligned) -> _Prepared:
        started = time.perf_counter()
        rejected: list[Rejected] = []
        try:
            for stream, events in aligned.inputs.items():
                for event in events:
                    if event.fault is not None:
                        aligned = self._give_up(aligned, stream, (event,), event.fault, rejected)
            return self._decoded(aligned, rejected)
        finally:
            self._observer.observe("stage_seconds", time.perf_counter() - started, stage="decode")

    def _decoded(self, aligned: Aligned, rejected: list[Rejected]) -> _Prepared:
        while True:
            if absent := self._required & aligned.missing.keys():
                return _Prepared(aligned, None, (*rejected, without_required(aligned, min(absent))))
            if aligned.shed:
                return _Prepared(aligned, None, ())
            try:
                return _Prepared(aligned, self._model.prepare(aligned), tuple(rejected))
            except BaseException as error:  # noqa: BLE001  the boundary of one item
                poison = error if isinstance(error, Poison) else blamed(error, Stage.DECODE, "unexpected")
            stream = poison.stream
            if stream is None or stream not in aligned.inputs:
                rejected.append(reject(aligned.anchor.record, poison))
                return _Prepared(aligned, None, tuple(rejected))
            aligned = self._give_up(aligned, stream, undecodable(aligned, stream, poison), poison, rejected)

    def _give_up(
        self, aligned: Aligned, stream: str, bad: Sequence[Event], poison: Poison, rejected: list[Rejected]
    ) -> Aligned:
        rejected.extend(reject(event.record, poison) for event in bad if self._claimed(aligned, event))
        return without(aligned, stream, bad)

    def _claimed(self, aligned: Aligned, event: Event) -> bool:
        while True:
            try:
                return self._claim(aligned, event)
            except Retryable:
                if self._closing.wait(CLAIM_AGAIN_SECONDS):
                    raise

    def _fuse(self, batch: Sequence[_Prepared]) -> list[Fused]:
        started = time.perf_counter()
        usable = [prepared for prepared in batch if prepared.item is not None]
        verdicts = iter(self._infer([prepared.item for prepared in usable]))
        fused = []
        for prepared in batch:
            no_model = SHED if prepared.aligned.shed and not prepared.rejected else None
            verdict = next(verdicts) if prepared.item is not None else no_model
            if isinstance(verdict, Poison):
                rejected = (*prepared.rejected, reject(prepared.aligned.anchor.record, verdict))
                fused.append(Fused(prepared.aligned, None, rejected))
            else:
                fused.append(Fused(prepared.aligned, verdict, prepared.rejected))
        self._observer.observe("stage_seconds", time.perf_counter() - started, stage="model")
        self._observer.observe("batch_size", len(batch))
        return fused

    def _infer(self, items: Sequence[Any]) -> list[Verdict | Poison]:
        if not items:
            return []
        try:
            verdicts = self._model.infer(items)
        except Poison as poison:
            if len(items) == 1:
                return [poison]
            middle = len(items) // 2
            return self._infer(items[:middle]) + self._infer(items[middle:])
        if len(verdicts) != len(items):
            raise RuntimeError(f"the model gave {len(verdicts)} verdicts for {len(items)} items")
        return list(verdicts)


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
