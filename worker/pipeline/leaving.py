"""Decided anchors -> the model: their references come from Redis, their bodies from the ring or Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise

from worker.pipeline.epochs import Epochs
from worker.pipeline.lines import Leaver, Lines
from worker.pipeline.ring import Ring
from worker.ports import Index, Log, Observer
from worker.records import Aligned, Candidate, Event, Match, MatchRule, Missing, Partition, Record, Reference
from worker.stages.align import Waiting, reason_missing, wanted
from worker.stages.backlog import Load
from worker.stages.batch import Batcher
from worker.stages.doctor import ClockDoctor, Diagnosis
from worker.stages.validate import Validator

# The bounds that took a body after it was matched: one of Redis' that is not known, or what Kafka keeps.
TRIMMED_SINCE, RETENTION = "trimmed_since", "retention"


class Leaving:
    """The anchors that are decided and not on the model yet. Each key leaves in its order."""

    def __init__(
        self,
        index: Index,
        epochs: Epochs,
        bodies: Ring,
        batcher: Batcher,
        rules: Mapping[str, MatchRule],
        validator: Validator,
        is_stale: Callable[[Record], bool] | None,
        observer: Observer,
        log: Log,
    ) -> None:
        """`is_stale` says whether an anchor is shed when its turn comes; None: none ever is."""
        self._index, self._epochs, self._batcher, self._rules = index, epochs, batcher, rules
        self._validator, self._sheds, self._observer, self._log = validator, is_stale is not None, observer, log
        self._is_stale = is_stale or (lambda record: False)
        self._doctor = ClockDoctor()
        self._lines = Lines(bodies)
        self._asking: list[Waiting] = []  # Redis has not told yet where their bodies are

    def __len__(self) -> int:
        return len(self._asking) + len(self._lines)

    @property
    def ready(self) -> int:
        """How many take up room that others cannot have; one that awaits its bodies does not."""
        return len(self._asking) + self._lines.ready

    @property
    def bytes(self) -> int:
        """Of the anchors, and of the bodies that Redis has given."""
        return self._lines.bytes + sum(waiting.anchor.size for waiting in self._asking)

    def oldest_since(self) -> float | None:
        """Monotonic time since when the longest waiting anchor waits."""
        asking = min((waiting.since for waiting in self._asking), default=None)
        others = self._lines.oldest_since()
        return others if asking is None else min(asking, asking if others is None else others)

    def drop(self, partitions: Collection[Partition]) -> None:
        """Forgets the anchors of partitions whose lease is over."""
        gone = set(partitions)
        self._asking = [one for one in self._asking if one.anchor.record.lies_on not in gone]
        self._lines.drop(gone)

    def release(self) -> list[Record]:
        """Those for which nothing comes, each once: context need not wait for them, who know where theirs lies."""
        return self._lines.release()

    def give_up(self) -> list[Waiting]:
        """Takes out those whose references were in a Redis that is lost. Of the others they are known, and what lies in
        Kafka is still there."""
        given, self._asking = self._asking, []
        return given

    def go(self, decided: Sequence[Waiting], room: Load) -> None:
        """Takes decided anchors in, and sends up to `room` on: those that have their bodies."""
        self._asking.extend(decided)
        if self._asking:
            self._ask()
        if not len(self._lines):
            return
        self._lines.turn(room.bytes)
        if self._sheds:
            self._lines.excuse(self._is_stale)
        for leaver in self._lines.leave(room.count):
            if self._is_stale(leaver.waiting.anchor.record):
                self._shed(leaver.waiting)
            else:
                self._send(leaver)

    def _ask(self) -> None:
        """Where are the bodies? An anchor that is stale needs none."""
        stale = [self._is_stale(waiting.anchor.record) for waiting in self._asking]
        asked = [[] if old else wanted(waiting) for waiting, old in zip(self._asking, stale, strict=True)]
        told = self._index.fetch([one for each in asked for one in each])
        if not self._epochs.same():
            return
        ends = [0]
        for each in asked:
            ends.append(ends[-1] + len(each))
        for waiting, each, (begin, end) in zip(self._asking, asked, pairwise(ends), strict=True):
            found = dict(zip(each, told[begin:end], strict=True))
            bodies = {one: body for one, body in found.items() if not isinstance(body, Reference)}
            references = {one: place for one, place in found.items() if isinstance(place, Reference)}
            self._lines.add(Leaver(waiting, bodies, references))
        self._asking = []

    def _shed(self, waiting: Waiting) -> None:
        """It goes the way of the others, so that its key's order is kept, but past the model."""
        missing = dict.fromkeys(sorted(self._rules), Missing.SHED)
        self._batcher.submit(Aligned(waiting.anchor, {}, missing, waiting.complete, shed=True))

    def _send(self, leaver: Leaver) -> None:
        waiting = leaver.waiting
        found: dict[str, tuple[Event, ...]] = {}
        missing: dict[str, Missing] = {}
        truncated: dict[str, str] = {}
        for name, match in sorted(waiting.chosen.items()):
            events, gone = self._events(name, match, leaver)
            if gone is not None:
                self._observer.count("bound_hits_total", bound=gone)
            if bound := match.bound or gone:
                truncated[name] = bound
            if events:
                found[name] = tuple(events)
            else:
                missing[name] = Missing.PAYLOAD_EXPIRED if match.candidates else reason_missing(match)
            self._observe(name, waiting, [event for event in events if event.fault is None])
        self._batcher.submit(Aligned(waiting.anchor, found, missing, waiting.complete, truncated=truncated))

    def _events(self, name: str, match: Match, leaver: Leaver) -> tuple[list[Event], str | None]:
        """What was matched, as far as it is still there; and the bound that took the rest, which was not counted when
        it was decided."""
        events: list[Event] = []
        gone: str | None = None
        key = leaver.waiting.anchor.key
        for one in match.candidates:
            place = (name, key, one)
            body, from_kafka = leaver.bodies[place], place in leaver.references
            event = None if body is None else self._validator.found(name, key, one, body)
            if event is not None and (not from_kafka or _is(event, key, one)):
                events.append(event)
            else:
                gone = RETENTION if from_kafka else TRIMMED_SINCE
        return events, gone

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


def _is(event: Event, key: str, matched: Candidate) -> bool:
    """False for another event that lies at the same place of a topic that was deleted and made again."""
    return (event.key, event.time_us, event.id) == (key, matched.time_us, matched.id)
