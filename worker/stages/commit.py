"""Outcomes -> committed: results, dead letters and offsets in one transaction, overlapped with the next batch.

A transaction takes all that is finished when it begins, so it grows by itself when Kafka is slow; when it begins
`worker.stages.pace` says.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from worker.errors import Retryable, TooLarge, Uncertain
from worker.ports import UNTRACED, Observer, Sink, Traces
from worker.records import Outcome, Partition, Record
from worker.stages.backlog import Backlog, Load, offsets_of, places_of
from worker.stages.guard import DeadLetterGuard, judged_of
from worker.stages.ledger import Ledger
from worker.stages.ledgers import Books, Ledgers
from worker.stages.pace import Pace

# Enough to make a transaction's fixed cost (10-20 ms) small, few enough that it ends within transaction_timeout.
MOST_OUTCOMES = 500
# The producer holds all of a transaction once more, without a bound of its own; more would make none cheaper.
MOST_BYTES = 2**24
# Positions of context streams have no outcome to travel with; after this long they are committed alone.
POSITIONS_EVERY_SECONDS = 1.0
# A refused transaction is tried again after this long, or at once when the membership has changed.
RETRY_SECONDS = 0.1


class Committer:
    """Owns the ledgers and the transaction thread.

    Guarantees: an outcome whose lease is over is never published; when `forget` returns, no transaction that carries
    the forgotten partitions is under way; after Uncertain `failed` hears of it once the transaction can commit no more,
    and nothing is published until the commits were read again (`uncertain` is False again).
    """

    def __init__(
        self,
        sink: Callable[[], Sink],
        membership: Callable[[], Any],
        describe: Callable[[Partition, str, int], str],
        committed: Callable[[Sequence[Outcome]], None],
        failed: Callable[[BaseException], None],
        observer: Observer,
        smaller: Callable[[Outcome, Collection[int], str], Outcome],
        guard: DeadLetterGuard,
        pace: Pace | None = None,
        traces: Traces = UNTRACED,
    ) -> None:
        """`sink` gives the producer of now; `describe` the metadata of a context position, from its ledger's note and
        up to where it is settled; `smaller` an outcome some of whose records, by number, are too large, and why;
        without a `pace` transactions begin as soon as there is something."""
        self._sink, self._membership, self._smaller = sink, membership, smaller
        self._committed, self._failed, self._observer, self._guard = committed, failed, observer, guard
        self._ledgers, self._traces = Ledgers(describe), traces
        self._queue = Backlog()
        self._tried: list[Outcome] = []  # the outcomes of the transaction under way, or of the last
        self._gate = threading.Lock()  # held through a transaction; `forget` waits for it
        self._lock = threading.Lock()  # guards ledgers and queue; held for moments only
        self._wake = threading.Event()
        self._stop = False
        self._pace = pace or Pace()
        self.uncertain = False
        self._unknown: Uncertain | None = None
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        self._thread.start()

    def open(self, partition: Partition, ledger: Ledger, *, context: bool) -> None:
        """Begins a lease, or reads a context again under the same one."""
        with self._lock:
            self._ledgers.open(partition, ledger, context=context)

    def resume(self, partition: Partition, metadata: str) -> None:
        """The dead letters of its topic are counted on from what was committed with the partition."""
        with self._lock:
            self._guard.resume(partition.topic, metadata)

    def forget(self, partitions: Collection[Partition]) -> None:
        """Ends leases: waits for the transaction under way; what was not in it is not ours any more."""
        with self._gate, self._lock:
            self._ledgers.forget(partitions)
            self._queue.keep(lambda outcome: self._ledgers.of(outcome.record) is not None)

    def read(self, records: Iterable[Record]) -> list[Record]:
        """Registers records that were read; gives back those that are ours and not finished already."""
        with self._lock:
            return [record for record in records if self._ledgers.read(record)]

    def judge(self, read: Iterable[tuple[Record, int | None]]) -> list[bool]:
        """Notes of records that were read, in that order, their event times, or None of those that are bad; of each
        whether it needs a dead letter now."""
        with self._lock:
            return [self._ledgers.judge(record, time_us) for record, time_us in read]

    def unfinished_us(self, late_us: int, released: Iterable[Record] = ()) -> dict[Partition, int]:
        """Per anchor partition the earliest event time whose outcome is not committed; what lies before `late_us`, and
        the `released`, are not counted, now or later."""
        with self._lock:
            return self._ledgers.unfinished_us(late_us, released)

    def finish(self, outcomes: Iterable[Outcome]) -> None:
        """Queues outcomes for the next transaction, in this order."""
        with self._lock:
            self._queue.extend(outcomes)
            if len(self._queue) >= MOST_OUTCOMES:
                self._pace.hurry()
        self._wake.set()

    def indexed(self, records: Iterable[Record]) -> None:
        """Context records that Redis holds now: their offsets may be committed."""
        with self._lock:
            self._ledgers.indexed(records)

    def unfinished(self) -> int:
        """Anchors that were read and whose outcome is not committed."""
        return self.books().pending

    def books(self) -> Books:
        """What became of the anchors so far, all of one moment."""
        with self._lock:
            return self._ledgers.books()

    def queued(self, topic: str) -> Load:
        """How much of this topic's records waits for its transaction."""
        with self._lock:
            return self._queue.load(topic)

    def queued_beside(self, topic: str) -> Load:
        """How much of all other topics' records waits for its transaction."""
        with self._lock:
            return self._queue.load_beside(topic)

    def too_wide(self) -> set[Partition]:
        """Anchor partitions whose finished offsets are too scattered to read on."""
        with self._lock:
            return self._ledgers.too_wide()

    def drain(self, timeout_seconds: float) -> bool:
        """Waits until all that was queued is committed, and where contexts are read; False when it took too long, or
        the thread has failed."""
        deadline = time.monotonic() + timeout_seconds
        self._last = 0.0
        self._pace.stop()
        while (left := bool(self._queue or self._ledgers.moved)) and not self.uncertain and time.monotonic() < deadline:
            if not self._thread.is_alive():
                break
            self._wake.set()
            time.sleep(0.005)
        return not left

    def close(self, timeout_seconds: float = 1.0) -> None:
        """Stops the thread after the transaction under way; one that hangs is ended by its slot's next owner."""
        self._stop = True
        self._pace.stop()
        self._wake.set()
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        try:
            while not self._stop:
                if self._unknown is not None:
                    self._fence(self._unknown)
                    continue
                due = self._ledgers.moved and time.monotonic() - self._last >= POSITIONS_EVERY_SECONDS
                if self.uncertain or not (self._queue or due):
                    self._wake.wait(0.05)
                    self._wake.clear()
                    continue
                with self._lock:
                    first = next(iter(self._queue), None)
                self._pace.gather(first.record if first else None, len(self._queue) >= MOST_OUTCOMES)
                self._turn()
        except BaseException as error:  # noqa: BLE001  the loop must hear of it, whatever it is
            self._failed(error)

    def _turn(self) -> None:
        try:
            with self._gate:
                progress = self._transact()
            if not progress:
                self._wake.clear()
                self._wake.wait(0.05)
        except TooLarge as error:
            self._shrink(error)
        except Uncertain as error:
            self.uncertain, self._unknown = True, error
            self._observer.count("transactions_total", outcome="uncertain")
        except Retryable as error:
            self._observer.count("transactions_total", outcome="aborted")
            self._failed(error)
            self._wake.clear()
            self._wake.wait(RETRY_SECONDS)

    def _fence(self, error: Uncertain) -> None:
        """Commits that are read before the transaction has ended may be moved by it afterwards."""
        try:
            self._sink().fence()
        except Retryable:
            self._wake.clear()
            self._wake.wait(RETRY_SECONDS)
        else:
            self._unknown = None
            self._failed(error)

    def _transact(self) -> bool:
        """One transaction; False when nothing could be committed.

        1. Take what is queued and still ours; a partition's ledger previews its offset with them finished.
        2. Count what becomes of the records: past a limit on dead letters none of it is committed.
        3. Publish records and offsets together, under the membership captured when records were polled.
        4. Only then the ledgers and the counts move.
        """
        started = time.perf_counter()
        with self._lock:
            moved = set(self._ledgers.moved)
            live, finished = self._take()
            self._tried = live
            every = {**{partition: set[int]() for partition in moved}, **finished}
            settled = self._ledgers.settled(every)
            tallies = self._guard.after(judged_of(live, {p: self._ledgers[p].judged(s) for p, s in settled.items()}))
            offsets = self._ledgers.preview(every, tallies)
        if offsets:
            outgoing = [out for outcome in live for out in outcome.outgoing]
            with self._traces.settle(live):
                self._sink().publish(outgoing, offsets, self._membership())
        with self._lock:
            for partition, done in finished.items():
                self._ledgers[partition].finish(done)
            self._ledgers.done(live)
            for partition, offset in settled.items():
                self._ledgers[partition].counted(offset)
            self._guard.keep(tallies)
            self._queue.keep(lambda outcome: not self._is_done(outcome, finished))
            self._ledgers.moved -= {
                p for p in moved if self._ledgers.preview({p: set()}, tallies) == {p: offsets.get(p)}
            }
        if not offsets:
            return False
        self._last = time.monotonic()
        self._observer.observe("stage_seconds", time.perf_counter() - started, stage="commit")
        self._observer.count("transactions_total", outcome="committed")
        self._committed(live)
        return True

    def _take(self) -> tuple[list[Outcome], dict[Partition, set[int]]]:
        """The next transaction's outcomes, and their offsets: the first in the queue, and of a partition where these
        would not fit into the commit's metadata the lowest that do, wherever they are in the queue."""
        live = [o for o in self._queue.first(MOST_OUTCOMES, MOST_BYTES) if self._ledgers.of(o.record) is not None]
        finished = offsets_of(live)
        narrow = {
            p for p, done in finished.items() if not self._ledgers.is_context(p) and not self._ledgers[p].fits(done)
        }
        if not narrow:
            return live, finished
        every = offsets_of(o for o in self._queue if self._ledgers.of(o.record) is not None)
        for partition in narrow:
            finished[partition] = self._ledgers[partition].fitting(sorted(every[partition])[:MOST_OUTCOMES])
        finished = {partition: done for partition, done in finished.items() if done}
        return [o for o in self._queue if self._ledgers.of(o.record) and self._is_done(o, finished)], finished

    def _is_done(self, outcome: Outcome, finished: Mapping[Partition, set[int]]) -> bool:
        """True for one that is in the transaction, and for one that is not ours any more."""
        mine = self._ledgers.of(outcome.record) is not None
        return not mine or outcome.record.offset in finished.get(outcome.record.lies_on, ())

    def _shrink(self, error: TooLarge) -> None:
        """The records that their topic does not take are replaced; those beside them stay as they are."""
        refused = places_of(self._tried, error.places)

        def smaller(outcome: Outcome) -> Outcome:
            places = refused.get(id(outcome))
            return self._smaller(outcome, places, str(error)) if places else outcome

        with self._lock:
            self._queue.replace(smaller)
