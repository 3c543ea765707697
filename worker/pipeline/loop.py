"""Kafka -> verdicts: one loop calls the stages in order; model and commits run beside it in threads of their own."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from worker.errors import Full, NoRoom, Poison, Retryable, StaleMember, Uncertain
from worker.pipeline.anchors import Anchors
from worker.pipeline.budget import Budget
from worker.pipeline.contexts import Contexts
from worker.pipeline.leases import Leases
from worker.pipeline.outcomes import Outcomes
from worker.ports import Health, Log, Observer, Polled, Source
from worker.records import Event, Partition, Record
from worker.stages.batch import Batcher
from worker.stages.commit import Committer
from worker.stages.validate import Validator

# While anchors wait, their wake-ups come through Redis, which is looked at once a poll.
POLL_SECONDS_BUSY = 0.01
POLL_SECONDS_IDLE = 0.1


class Pipeline:
    """One worker's loop. `run` returns when `stop` was called and what was on the model is committed."""

    def __init__(
        self,
        source: Source,
        validator: Validator,
        contexts: Contexts,
        anchors: Anchors,
        outcomes: Outcomes,
        batcher: Batcher,
        committer: Committer,
        errors: queue.SimpleQueue[BaseException],
        budget: Budget,
        anchor_topic: str,
        observer: Observer,
        health: Health,
        log: Log,
        side_by_side: Callable[..., Iterable[Event | Poison]] = map,
    ) -> None:
        """`side_by_side`: `map`, or that of threads where reading a record takes long."""
        self._side_by_side = side_by_side
        self._source, self._validator = source, validator
        self._contexts, self._anchors, self._outcomes = contexts, anchors, outcomes
        self._batcher, self._committer, self._errors, self.budget = batcher, committer, errors, budget
        self._anchor_topic, self._observer, self._health, self._log = anchor_topic, observer, health, log
        self._stop = threading.Event()
        self._leases = Leases(source, contexts, committer, anchor_topic, health, log)
        self._wide: set[Partition] = set()
        self._redis_away = self._redis_full = False

    def stop(self) -> None:
        """Asks the loop to drain and return; from any thread or signal handler."""
        self._stop.set()

    def run(self) -> bool:
        """Turns until stopped; False when the drain took too long, and work was left.

        Raises:
            Fatal: the process must end; nothing uncommitted was published.
        """
        while not self._stop.is_set():
            self.turn()
        return self._drain()

    def turn(self) -> None:
        """One trip round the loop.

        1. Poll; end and begin leases as the group says.
        2. Validate; bad records become dead letters.
        3. Context events go to Redis; partitions' progress is exchanged.
        4. Anchors ask; those that are decided go on to the model.
        5. Pause what must not be read on.
        """
        self._health.beat()
        polled = self._poll()
        if polled.revoked:
            self._close(polled.revoked)
        self._leases.assign(polled.assigned)
        self._take(polled.records)
        self._leases.begin()
        self._with_redis(self._meet)
        self._throttle()
        self._react()
        self._send_commits()
        self.budget.measure()

    def _poll(self) -> Polled:
        busy = len(self._anchors) or self._batcher.inside or self._leases.opening
        started = time.perf_counter()
        try:
            polled = self._source.poll(POLL_SECONDS_BUSY if busy else POLL_SECONDS_IDLE)
        except Retryable as error:
            self._health.block("kafka", str(error))
            self._log.warning("kafka away", reason=str(error))
            return Polled()
        self._health.clear("kafka")
        self._observer.observe("stage_seconds", time.perf_counter() - started, stage="poll")
        return polled

    def _send_commits(self) -> None:
        try:
            self._source.send_commits()
        except Retryable as error:
            self._log.warning("commit failed", reason=str(error), action="the next one carries it")

    def _close(self, partitions: frozenset[Partition]) -> None:
        self._committer.forget(partitions)
        self._contexts.close(partitions)
        self._anchors.drop(partitions)
        self._leases.end(partitions)

    def _take(self, records: Sequence[Record]) -> None:
        """Validates what was polled, as far as its partitions are open and there is room."""
        fitting, again = self.budget.fitting(self._leases.readable(records))
        for partition, offset in again.items():
            self._source.seek(partition, offset)
        read = self._committer.read(fitting)
        found = list(self._side_by_side(self._validated, read))
        times_us = (one.time_us if isinstance(one, Event) else None for one in found)
        needs = self._committer.judge(zip(read, times_us, strict=True))
        good: Counter[str] = Counter()
        for record, one, needs_dead_letter in zip(read, found, needs, strict=True):
            if isinstance(one, Poison):
                if needs_dead_letter:
                    self._outcomes.invalid(self._validator.bare(record), one)
                continue
            good[one.stream] += 1
            if record.topic == self._anchor_topic:
                self._contexts.anchor_read(one)
                self._anchors.add(one)
            else:
                self._contexts.add(one)
        self._outcomes.accepted(good)

    def _validated(self, record: Record) -> Event | Poison:
        try:
            return self._validator.read(record)
        except Poison as poison:
            return poison

    def _meet(self) -> None:
        """What is decided goes on also while Redis is too full for more: only then can old events go."""
        refused = self._contexts.index(self._committer)
        late_us = self._contexts.progress.late.before_us
        unfinished_us = self._committer.unfinished_us(late_us, self._anchors.release())
        if self._contexts.exchange(unfinished_us) and not self._contexts.epochs.same():
            self._rebuild()
        if self._contexts.epochs.filled():
            self._anchors.align()
            self._anchors.dispatch(self.budget.inside())
        else:
            self._anchors.go_on(self.budget.inside())
        if refused is not None and not isinstance(refused, Full):
            raise refused
        self._tell_full(refused)

    def _tell_full(self, refused: Retryable | None) -> None:
        """While Redis is full, context is held; anchors go on, since what they leave behind is what makes room."""
        if refused is not None and not self._redis_full:
            self._log.warning("redis is full", reason=str(refused), action="raise its maxmemory, or lower horizon")
            self._health.block("redis_full", str(refused))
        elif refused is None and self._redis_full:
            self._log.info("redis takes events again")
            self._health.clear("redis_full")
        self._redis_full = refused is not None

    def _rebuild(self) -> None:
        cause = "it was emptied, restarted or failed over, or keys expired or were evicted"
        self._log.warning("redis lost context", cause=cause, action="context is read again from Kafka")
        for partition, ledger in self._contexts.epochs.lost().items():
            if ledger is None:
                self._leases.assign({partition: self._source.leases[partition]})
            else:
                self._committer.open(partition, ledger, context=True)
                self._source.seek(partition, ledger.start or 0)
        self._anchors.context_lost()

    def _with_redis(self, step: Callable[[], None]) -> None:
        """Runs a step that may be repeated whole; while Redis is away nothing is read and nothing is decided."""
        try:
            step()
        except Retryable as error:
            if not self._redis_away:
                what = "redis is full" if isinstance(error, NoRoom) else "a server is away"
                self._log.warning(what, reason=str(error))
            self._redis_away = True
            self._anchors.interrupted()
            self._health.block("redis", str(error))
        else:
            if self._redis_away:
                self._log.info("back")
            self._redis_away = False
            self._health.clear("redis")

    def _throttle(self) -> None:
        self._contexts.make_room()
        held = set(self._source.leases)
        stop = held if self._redis_away else self._contexts.full() & held | held.intersection(self._leases.opening)
        stop = stop | self.budget.stopped(held)
        wide = self._committer.too_wide() & held
        if wide - self._wide:
            self._log.warning(
                "reading pauses: finished offsets lie too far apart for a commit's metadata",
                partitions=sorted(f"{p.topic}/{p.number}" for p in wide),
                action="none: it goes on when the oldest unfinished records of these partitions are done",
            )
        self._wide, stop = wide, stop | wide
        paused = self._source.paused
        self._source.pause(stop - paused)
        self._source.resume(paused - stop)

    def _react(self) -> None:
        """Hears of the errors of the other threads."""
        while not self._errors.empty():
            error = self._errors.get()
            if isinstance(error, Uncertain):
                self._log.warning("transaction uncertain", reason=str(error), action="read the commits again")
                self._begin_again()
            elif isinstance(error, StaleMember):
                self._log.info("transaction refused", reason=str(error), action="repeat after the rebalance")
                if error.is_unknown and self._source.refused():
                    self._log.warning("evicted without a word", action="join the group anew")
            elif isinstance(error, Retryable):
                self._log.warning("transaction aborted", reason=str(error), action="repeat")
            else:
                raise error

    def _begin_again(self) -> None:
        """After a transaction whose result nobody knows: every lease ends and begins anew from what is committed."""
        self._close(frozenset(self._source.leases))
        for partition in self._source.leases:
            self._source.seek_to_start(partition)
        self._leases.assign(self._source.renew_leases())
        self._committer.uncertain = False

    def _drain(self) -> bool:
        """Finishes what is on the model and commits it; the rest stays uncommitted for the next owner. The group is
        followed meanwhile: it takes no transaction of a member that has not heard of a rebalance."""
        self._health.block("draining", "the worker is stopping")
        deadline, opening = time.monotonic() + self.budget.bounds.drain_timeout_seconds, set(self._leases.opening)
        self._source.pause(self._source.leases)
        while not (done := self._committed_all()) and time.monotonic() < deadline:
            self._health.beat()
            self._close(self._poll().revoked)
            self._react()
            self.budget.measure()
        self._react()
        # A lease that began anew has lost a transaction, and its outcomes with it.
        drained = done and opening.issuperset(self._leases.opening)
        self._send_commits()
        self.budget.measure()
        (self._log.info if drained else self._log.error)(
            "drained" if drained else "drain timed out", left=self.budget.left()
        )
        return drained

    def _committed_all(self) -> bool:
        return not self._batcher.inside and self._committer.drain(POLL_SECONDS_BUSY)
