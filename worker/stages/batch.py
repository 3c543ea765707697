"""Aligned -> Fused: continuous micro-batches, prepared ahead of the model, each key in the order of arrival.

When the model is free it takes what is ready, up to `max_batch`; `max_delay` adds a wait only when fewer are ready,
counted from the oldest item. Decoding and tokenising run ahead in threads (both release the GIL). A model with several
lanes works on as many batches at once; what they give is put back into order.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from worker.errors import Poison
from worker.ports import UNTRACED, Model, Observer, Traces, told_of
from worker.records import Aligned, Event, Rejected, Verdict, value
from worker.stages.decode import DECODE_SECONDS, Decoder, Prepared, reject
from worker.stages.infer import Asker
from worker.trace import Trace

# A batch waits so long for items that are being decoded: one or two frames, so that a fast model does not get them one
# by one. While a slow one works they gather by themselves, and a longer wait makes its batches, and all waits, longer.
LINGER_SECONDS = 0.005
# What is inside is finished for so long; after a drain nothing is, and after an error nobody waits for it.
CLOSE_SECONDS = 1.0
# The verdict of an anchor that was shed: no label of the model's, no score.
SHED = Verdict("shed", 0.0, {})


@value
class Fused:
    """What became of one anchor: a verdict or a rejection, with the context records that proved undecodable."""

    aligned: Aligned
    verdict: Verdict | None
    rejected: tuple[Rejected, ...] = ()
    trace: Trace | None = None


@value
class _Ready:
    prepared: Prepared
    since: float


class Batcher:
    """Feeds the model, a thread per lane, and hands each Fused on, those of one key in the order of their submission.

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
        decode_seconds: float = DECODE_SECONDS,
        traces: Traces = UNTRACED,
    ) -> None:
        """`claim(aligned, event)` says whether this anchor is the one that rejects this undecodable event; it may
        raise Retryable, and is then asked again. An anchor that misses one of the `required` streams has no result."""
        self._model = model
        self._traces = traces
        self._asker, self._done, self._failed, self._observer = Asker(model), done, failed, observer
        self._max_batch, self._max_delay = max_batch, max_delay_seconds
        self._queue: queue.SimpleQueue[_Ready | None] = queue.SimpleQueue()
        self._decoder = Decoder(
            model, claim, self._put, failed, observer, threads=threads, required=required, seconds=decode_seconds
        )
        self._inside = self._bytes = 0
        self._sizes: dict[int, int] = {}  # of what is inside, by its anchor's id
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

    @property
    def bytes(self) -> int:
        """Of their anchors, their bodies, and what the model has prepared of these."""
        return self._bytes

    def submit(self, aligned: Aligned) -> None:
        """Takes one item; never blocks. The caller bounds `inside` and `bytes`."""
        events = (event for found in aligned.inputs.values() for event in found)
        with self._lock:
            self._inside += 1
            self._weigh(aligned, aligned.anchor.size + sum(event.size for event in events))
        self._decoder.submit(aligned)

    def _weigh(self, aligned: Aligned, size: int) -> None:
        """It takes so much more."""
        self._sizes[id(aligned.anchor)] = self._sizes.get(id(aligned.anchor), 0) + size
        self._bytes += size

    def _put(self, prepared: Prepared, since: float) -> None:
        with self._lock:
            self._weigh(prepared.aligned, getattr(prepared.item, "nbytes", 0))
        self._queue.put(_Ready(prepared, since))

    def close(self) -> None:
        """Ends the threads once what is inside is done; what waits for Redis, or hangs, is left undone."""
        self._decoder.close()
        self._queue.put(None)
        deadline = time.monotonic() + CLOSE_SECONDS
        for lane in self._lanes:
            lane.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        try:
            while taken := self._take():
                ticket, batch = taken
                with self._traces.process(batch) as trace:
                    fused = self._fuse(batch, trace)
                self._hand_on(ticket, fused)
        except BaseException as error:  # noqa: BLE001  the loop must hear of it, whatever it is
            self._failed(error)

    def _take(self) -> tuple[int, list[Prepared]] | None:
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
                    self._bytes -= sum(self._sizes.pop(id(one.aligned.anchor)) for one in ready)

    def _collect(self, first: _Ready) -> tuple[list[Prepared], bool]:
        batch, last = [first.prepared], False
        delayed, lingered = first.since + self._max_delay, time.monotonic() + LINGER_SECONDS
        while len(batch) < self._max_batch:
            left = max(delayed, lingered if self._decoder.unready else 0.0) - time.monotonic()
            try:
                ready = self._queue.get(timeout=left) if left > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if ready is None:
                last = True
                break
            batch.append(ready.prepared)
        return batch, last

    def _fuse(self, batch: Sequence[Prepared], trace: Trace | None) -> list[Fused]:
        started = time.perf_counter()
        usable = [prepared for prepared in batch if prepared.item is not None]
        verdicts = iter(self._asker.infer([prepared.item for prepared in usable]))
        fused = []
        for prepared in batch:
            verdict = next(verdicts) if prepared.item is not None else self._without_model(prepared)
            if isinstance(verdict, Poison):
                rejected = (*prepared.rejected, reject(prepared.aligned.anchor.record, verdict))
                fused.append(Fused(prepared.aligned, None, rejected, trace))
            else:
                fused.append(Fused(prepared.aligned, verdict, prepared.rejected, trace))
                if verdict is not None and prepared.item is not None:
                    self._observer.observe("verdict_score", verdict.score)
                    if verdict.confidence is not None:
                        self._observer.observe("verdict_familiar", verdict.confidence.familiar)
                    for head, said in (verdict.heads or {}).items():
                        self._tell_head(head, said)
                for bound in verdict.truncated.values() if verdict is not None else ():
                    self._observer.count("bound_hits_total", bound=bound)
        self._observer.observe("stage_seconds", time.perf_counter() - started, stage="model")
        self._observer.observe("batch_size", len(batch))
        return fused

    def _tell_head(self, head: str, said: Mapping[str, Any]) -> None:
        if "number" in said:
            self._observer.gauge("head_number", said["number"], head=head)
            self._observer.gauge("head_band_width", said["high"] - said["low"], head=head)
        for label in said.get("labels", [said["label"]] if "label" in said else []):
            self._observer.count("head_labels_total", head=head, label=label)

    def _without_model(self, prepared: Prepared) -> Verdict | None:
        shed = prepared.aligned.shed and not prepared.rejected
        return replace(SHED, model=told_of(self._model)) if shed else None
