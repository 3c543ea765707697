"""Anchors -> decided ones: each asks its context streams, waits, and leaves in the order of its key."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping

from worker.pipeline.epochs import Epochs
from worker.pipeline.leaving import Leaving
from worker.pipeline.progress import Progress
from worker.ports import Index, Log, Observer
from worker.records import Event, MatchRule, Partition, Record
from worker.stages.align import WaitingRoom
from worker.stages.backlog import Load
from worker.stages.clock import WaitClock

# Questions asked of Redis in one pipeline; more would hold the loop for longer than a poll should wait.
MOST_QUESTIONS = 1_000
# Servers away for longer leave a backlog of context, which is read and not timed out (CONTRACT 4.5). With less
# a Redis that fails now and then would keep every wait from ending; more would end waits whose context lies unread.
BRIEF_SECONDS = 1.0


class Anchors:
    """The anchor side of one worker. Nothing is decided while Redis is away or not whole."""

    def __init__(
        self,
        index: Index,
        epochs: Epochs,
        progress: Progress,
        leaving: Leaving,
        rules: Mapping[str, MatchRule],
        observer: Observer,
        log: Log,
    ) -> None:
        self._index, self._epochs, self._progress, self._leaving = index, epochs, progress, leaving
        self._observer, self._log = observer, log
        self._split_keys_told = False
        self._room = WaitingRoom(rules)
        self._clocks = {name: WaitClock(rule) for name, rule in rules.items()}
        self._ask: dict[str, None] = {}
        self._expired: defaultdict[str, set[str]] = defaultdict(set)
        self._interrupted: float | None = None  # monotonic time since when a server has been away

    def __len__(self) -> int:
        return len(self._room) + len(self._leaving)

    @property
    def bytes(self) -> int:
        """Of the waiting anchors, and of the bodies that Redis has given."""
        return self._room.bytes + self._leaving.bytes

    @property
    def decided(self) -> int:
        """How many wait for no context any more, and are not on the model yet."""
        return self._room.decided + len(self._leaving)

    @property
    def busy(self) -> bool:
        """True while some wait for the model alone, and for no context."""
        return bool(self._room.ready or self._leaving.ready)

    def add(self, anchor: Event) -> None:
        """A valid anchor was read."""
        waiting = self._room.add(anchor, time.monotonic())
        self._ask[waiting.token] = None
        for clock in self._clocks.values():
            clock.add(waiting.token, anchor.time_us, self._progress.now_us())

    def drop(self, partitions: Collection[Partition]) -> None:
        """Forgets the anchors of partitions whose lease is over."""
        gone = self._room.drop(partitions)
        for token in gone:
            self._ask.pop(token, None)
            self._expired.pop(token, None)
        for clock in self._clocks.values():
            clock.remove(gone)
        self._leaving.drop(partitions)

    def ask_all_again(self) -> None:
        """Redis has forgotten who waits; the waits begin anew, but those that were just being ended."""
        self._ask = dict.fromkeys(self._room.tokens())
        for clock in self._clocks.values():
            clock.begin_again(self._progress.now_us())

    def context_lost(self) -> None:
        """Every wait begins anew, and what is decided and does not know where its bodies lie asks as well."""
        self._expired.clear()
        for waiting in self._room.reopen(self._leaving.give_up()):
            for clock in self._clocks.values():
                clock.add(waiting.token, waiting.anchor.time_us, self._progress.now_us())
        self.ask_all_again()

    def release(self) -> list[Record]:
        """Anchors that hold context back no longer: undecided ones for which it has stood longer than a wait may last,
        and decided ones whose bodies lie on a partition of which nothing comes."""
        held_us = self._progress.late.held_us
        stands = held_us is not None and held_us > self._progress.late.before_us
        return [*(self._room.release(held_us or 0) if stands else ()), *self._leaving.release()]

    def interrupted(self) -> None:
        """A server is away; with its answer wake-ups may be lost."""
        if self._interrupted is None:
            self._interrupted = time.monotonic()

    def _go_on(self, interrupted: float) -> None:
        self._interrupted = None
        if time.monotonic() - interrupted > BRIEF_SECONDS:
            self.ask_all_again()
        else:
            self._ask.update(dict.fromkeys(self._room.tokens()))

    def align(self) -> None:
        """Asks for those that are new, woken or out of time, and notes what is decided."""
        started = time.perf_counter()
        self._ask.update(dict.fromkeys(self._index.woken()))
        if self._interrupted is not None:
            self._go_on(self._interrupted)
        self._end_waits()
        if not self._ask:
            return
        tokens = list(self._ask)[:MOST_QUESTIONS]
        queries = self._room.queries(tokens, self._expired)
        matches = self._index.match(queries)
        if not self._epochs.same():
            return
        for query, match in zip(queries, matches, strict=True):
            if match.elsewhere is not None and not self._split_keys_told:
                self._tell_split_key(query.token, match.elsewhere)
            if self._room.decide(query, match, expired=query.last):
                self._clocks[query.stream].remove((query.token,))
                if match.bound is not None:
                    self._observer.count("bound_hits_total", bound=match.bound)
        for token in tokens:
            self._ask.pop(token, None)
            self._expired.pop(token, None)
        self._observer.observe("stage_seconds", time.perf_counter() - started, stage="align")

    def _end_waits(self) -> None:
        """Those whose `max_wait` is over ask once more; what an absent partition may have cost them is counted."""
        for name, clock in self._clocks.items():
            flows, counted_us = self._progress.partitions(name), self._progress.counted_us(name)
            for token in clock.tick(self._progress.now_us(), flows, counted_us):
                self._expired[token].add(name)
                self._ask[token] = None
                if self._progress.absent(name):
                    self._observer.count("bound_hits_total", bound="absent_partition")

    def dispatch(self, room: Load) -> None:
        """Sends up to `room` decided anchors on to the model, each key in its order."""
        most = room.count - self._leaving.ready if room.bytes > 0 else 0
        self._leaving.go(self._room.leave(most), room)

    def go_on(self, room: Load) -> None:
        """Sends on to the model those alone that know where their bodies lie: they need nothing of Redis, and while it
        is filled again what comes into it waits for them."""
        self._leaving.go((), room)

    def _tell_split_key(self, anchor: str, other_partition: int) -> None:
        self._split_keys_told = True
        self._log.warning(
            "a key lies on two partitions of the anchor topic", anchor=anchor, other_partition=other_partition,
            lost="results of such keys may come out of order", action="let all producers use one partitioner",
        )  # fmt: skip

    def oldest_seconds(self) -> float:
        """How long the longest waiting anchor has waited."""
        known = [one for one in (self._room.oldest_since(), self._leaving.oldest_since()) if one is not None]
        return time.monotonic() - min(known) if known else 0.0
