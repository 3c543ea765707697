"""Anchors -> the model: each asks its context streams, waits, and leaves in the order of its key."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise

from worker.errors import Poison
from worker.pipeline.contexts import Contexts
from worker.ports import ContextStore, Log, Observer
from worker.records import Aligned, Event, Match, MatchRule, Missing, Partition, Record, Reference
from worker.stages.align import Waiting, WaitingRoom, reason_missing, wanted
from worker.stages.batch import Batcher
from worker.stages.clock import WaitClock
from worker.stages.doctor import ClockDoctor, Diagnosis
from worker.stages.validate import Validator

# The bound that took a body after it was matched, and before it was fetched, is not known.
TRIMMED_SINCE = "trimmed_since"
# Questions asked of Redis in one pipeline; more would hold the loop for longer than a poll should wait.
MOST_QUESTIONS = 1_000
# Servers away for longer leave a backlog of context, which is read and not timed out (CONTRACT 4.5). With less
# a Redis that fails now and then would keep every wait from ending; more would end waits whose context lies unread.
BRIEF_SECONDS = 1.0


class Anchors:
    """The anchor side of one worker. Nothing is decided while Redis is away or not whole."""

    def __init__(
        self,
        store: ContextStore,
        contexts: Contexts,
        batcher: Batcher,
        rules: Mapping[str, MatchRule],
        validator: Validator,
        is_stale: Callable[[Record], bool],
        observer: Observer,
        log: Log,
    ) -> None:
        """`is_stale` says whether an anchor is shed when its turn comes."""
        self._store, self._contexts, self._batcher = store, contexts, batcher
        self._rules, self._validator, self._is_stale, self._observer, self._log = (
            rules, validator, is_stale, observer, log,
        )  # fmt: skip
        self._doctor = ClockDoctor()
        self._split_keys_told = False
        self._room = WaitingRoom(rules)
        self._clocks = {name: WaitClock(rule) for name, rule in rules.items()}
        self._ask: dict[str, None] = {}
        self._expired: defaultdict[str, set[str]] = defaultdict(set)
        self._leaving: list[Waiting] = []
        self._interrupted: float | None = None  # monotonic time since when a server has been away

    def __len__(self) -> int:
        return len(self._room) + len(self._leaving)

    @property
    def bytes(self) -> int:
        """Payload bytes of the waiting anchors."""
        return self._room.bytes

    def add(self, anchor: Event) -> None:
        """A valid anchor was read."""
        waiting = self._room.add(anchor, time.monotonic())
        self._ask[waiting.token] = None
        for clock in self._clocks.values():
            clock.add(waiting.token, anchor.time_us, self._contexts.now_us())

    def drop(self, partitions: Collection[Partition]) -> None:
        """Forgets the anchors of partitions whose lease is over."""
        gone = self._room.drop(partitions)
        for token in gone:
            self._ask.pop(token, None)
            self._expired.pop(token, None)
        for clock in self._clocks.values():
            clock.remove(gone)
        self._leaving = [w for w in self._leaving if w.anchor.record.lies_on not in set(partitions)]

    def ask_all_again(self) -> None:
        """Redis has forgotten who waits; the waits begin anew, but those that were just being ended."""
        self._ask = dict.fromkeys(self._room.tokens())
        for clock in self._clocks.values():
            clock.begin_again(self._contexts.now_us())

    def context_lost(self) -> None:
        """Every wait begins anew, and what is decided and is not on the model asks as well: its bodies are gone."""
        self._expired.clear()
        left, self._leaving = self._leaving, []
        for waiting in self._room.reopen(left):
            for clock in self._clocks.values():
                clock.add(waiting.token, waiting.anchor.time_us, self._contexts.now_us())
        self.ask_all_again()

    def release(self) -> list[Record]:
        """Undecided anchors for which context has stood longer than a wait may last."""
        held_us = self._contexts.late.held_us
        return [] if held_us is None or held_us <= (self._contexts.late.read_us or 0) else self._room.release(held_us)

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
        self._ask.update(dict.fromkeys(self._store.woken()))
        if self._interrupted is not None:
            self._go_on(self._interrupted)
        self._end_waits()
        if not self._ask:
            return
        tokens = list(self._ask)[:MOST_QUESTIONS]
        queries = self._room.queries(tokens, self._expired)
        matches = self._store.match(queries)
        if not self._contexts.same_epoch():
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
            flows, counted_us = self._contexts.partitions(name), self._contexts.counted_us(name)
            for token in clock.tick(self._contexts.now_us(), flows, counted_us):
                self._expired[token].add(name)
                self._ask[token] = None
                if self._contexts.absent(name):
                    self._observer.count("bound_hits_total", bound="absent_partition")

    def dispatch(self, room: int) -> None:
        """Sends up to `room` decided anchors on to the model, each key in its order."""
        self._leaving.extend(self._room.leave(room - len(self._leaving)))
        if not self._leaving:
            return
        stale = [self._is_stale(waiting.anchor.record) for waiting in self._leaving]
        asked = [[] if old else wanted(waiting) for waiting, old in zip(self._leaving, stale, strict=True)]
        records = self._store.fetch([one for each in asked for one in each])
        if not self._contexts.same_epoch():
            return
        ends = [0]
        for each in asked:
            ends.append(ends[-1] + len(each))
        for waiting, old, each, (begin, end) in zip(self._leaving, stale, asked, pairwise(ends), strict=True):
            if old:
                self._shed(waiting)
            else:
                self._send(waiting, dict(zip(each, records[begin:end], strict=True)))
        self._leaving = []

    def _shed(self, waiting: Waiting) -> None:
        """It goes the way of the others, so that its key's order is kept, but past the model."""
        missing = dict.fromkeys(sorted(self._rules), Missing.SHED)
        self._batcher.submit(Aligned(waiting.anchor, {}, missing, waiting.complete, shed=True))

    def _send(
        self, waiting: Waiting, records: Mapping[tuple[str, str, object], Record | Reference | Poison | None]
    ) -> None:  # fmt: skip
        found: dict[str, tuple[Event, ...]] = {}
        missing: dict[str, Missing] = {}
        truncated: dict[str, str] = {}
        for name, match in sorted(waiting.chosen.items()):
            key = waiting.anchor.key
            found_here = ((one, records[(name, key, one)]) for one in match.candidates)
            kept = [(one, record) for one, record in found_here if isinstance(record, Record | Poison)]
            if bound := self._bound(match, len(kept)):
                truncated[name] = bound
            events = tuple(self._validator.found(name, key, *one) for one in kept)
            if events:
                found[name] = events
            else:
                missing[name] = Missing.PAYLOAD_EXPIRED if match.candidates else reason_missing(match)
            self._observe(name, waiting, [event for event in events if event.fault is None])
        self._batcher.submit(Aligned(waiting.anchor, found, missing, waiting.complete, truncated=truncated))

    def _bound(self, match: Match, kept: int) -> str | None:
        """What may have cost the match; counted when it was decided, but for what went after that."""
        if kept == len(match.candidates):
            return match.bound
        self._observer.count("bound_hits_total", bound=TRIMMED_SINCE)
        return match.bound or TRIMMED_SINCE

    def _observe(self, name: str, waiting: Waiting, events: Sequence[Event]) -> None:
        self._observer.observe("alignment_wait_seconds", time.monotonic() - waiting.since, stream=name)
        for event in events:
            delta = (event.time_us - waiting.anchor.time_us) / 1e6
            self._observer.observe("alignment_delta_seconds", delta, stream=name)
            if self._rules[name].mode == "nearest" and (found := self._doctor.saw(event, waiting.anchor.time_us)):
                self._tell_offset(event, found)

    def _tell_offset(self, event: Event, found: Diagnosis) -> None:
        seconds = found.offset_us / 1e6
        self._observer.gauge("source_offset_seconds", seconds, stream=event.stream, source=event.source)
        if found.off:
            self._log.warning(
                "a source's clock is off", stream=event.stream, source=event.source, offset_seconds=seconds,
                action=f"correct its clock, or its event times by {-seconds:+.3f} s",
            )  # fmt: skip

    def _tell_split_key(self, anchor: str, other_partition: int) -> None:
        self._split_keys_told = True
        self._log.warning(
            "a key lies on two partitions of the anchor topic", anchor=anchor, other_partition=other_partition,
            lost="results of such keys may come out of order", action="let all producers use one partitioner",
        )  # fmt: skip

    def oldest_seconds(self) -> float:
        """How long the longest waiting anchor has waited."""
        since = self._room.oldest_since()
        return 0.0 if since is None else time.monotonic() - since
