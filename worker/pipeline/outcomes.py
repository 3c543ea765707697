"""Fused and rejected -> Outcomes for the committer, and the counting of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from worker.errors import Poison, blamed
from worker.ports import Clock, Observer
from worker.records import Aligned, Outcome, Outgoing, Record, Rejected, Verdict
from worker.stages.batch import Fused
from worker.stages.commit import Committer
from worker.stages.decode import reject
from worker.stages.publish import ResultWriter
from worker.stages.review import Reason, Reviewer, smaller
from worker.stages.shrink import is_dead_letter, shrunk
from worker.trace import Trace

if TYPE_CHECKING:
    from worker.rules.judge import Rules

# A record whose timestamp is missing (-1), ahead of the clock, or further behind than topics are kept, says nothing of
# how long it took: one of them would shift a histogram's sum for ever.
LONGEST_SECONDS = 366 * 86_400.0


class Outcomes:
    """Turns verdicts and rejections into what will be published; called by the loop and by the model's thread."""

    def __init__(
        self,
        committer: Committer,
        writer: ResultWriter,
        streams: Mapping[str, str],
        anchor_topic: str,
        observer: Observer,
        clock: Clock,
        reviewer: Reviewer | None = None,
        heard: Callable[[Sequence[Fused], Sequence[Outcome]], None] | None = None,
        rules: Rules | None = None,
    ) -> None:
        """`streams`: their names by input topic; without a `reviewer` no person is asked. `heard`: what each batch led
        to is told; it neither waits nor raises. `rules` go before verdicts."""
        self._heard, self._rules = heard, rules
        self._committer, self._writer = committer, writer
        self._streams, self._anchor_topic, self._observer, self._clock = streams, anchor_topic, observer, clock
        self._reviewer = reviewer

    def accepted(self, events: Mapping[str, int]) -> None:
        """So many records of each stream were good so far; whether an anchor stays so its result tells."""
        for stream, number in events.items():
            self._observer.count("events_total", number, stream=stream, outcome="accepted")

    def invalid(self, record: Record, poison: Poison) -> None:
        """A record that cannot be read becomes a dead letter."""
        self._observer.count("events_total", stream=self._streams[record.topic], outcome="rejected")
        self._committer.finish((self._outcome(record, (reject(record, poison),), None),))

    def fused(self, batch: Sequence[Fused]) -> None:
        """Verdicts of one batch, in order."""
        started = time.perf_counter()
        if self._rules is not None:
            batch = [self._ruled(self._rules, one) for one in batch]
        outcomes = [self._outcome(one.aligned.anchor.record, one.rejected, one) for one in batch]
        self._committer.finish(outcomes)
        if self._heard is not None:
            self._heard(batch, outcomes)
        self._observer.observe("stage_seconds", time.perf_counter() - started, stage="publish")

    def _ruled(self, rules: Rules, fused: Fused) -> Fused:
        if fused.verdict is None:
            return fused
        return replace(fused, verdict=rules.ruled(fused.aligned, fused.verdict))

    def _outcome(self, record: Record, rejected: Sequence[Rejected], fused: Fused | None) -> Outcome:
        results: list[Outgoing] = []
        review, trace = None, fused.trace if fused is not None else None
        if fused is not None and fused.verdict is not None:
            try:
                result = self._writer.result(fused.aligned, fused.verdict)
                asked, review = self._asked(result, fused.aligned, fused.verdict)
                results += [result, *asked]
            except BaseException as error:  # noqa: BLE001  the boundary of one result
                poison = blamed(error, "PUBLISH", "invalid_result", what="the verdict cannot be written as JSON")
                rejected, fused, review = (*rejected, reject(record, poison)), None, None
        outgoing = [*(self._writer.dead_letter(one) for one in rejected), *results]
        rule = fused.verdict.rule if fused is not None and fused.verdict is not None else None
        name = rule["name"] if rule is not None else None
        return Outcome(record, tuple(outgoing), tuple(rejected), fused_labels(fused), review, trace, name)

    def _asked(self, result: Outgoing, aligned: Aligned, verdict: Verdict) -> tuple[list[Outgoing], str | None]:
        """What asks a person about this result, and why."""
        if self._reviewer is None or not (doubts := self._reviewer.doubts(aligned, verdict)):
            return [], None
        return [self._reviewer.record(result, doubts)], str(doubts[0].reason)

    def smaller(self, outcome: Outcome, places: Collection[int], said: str) -> Outcome:
        """Of an outcome some of whose records their topic does not take: dead letters leave something out, a result
        becomes one (CONTRACT section 3), and a review goes without its result, at last not at all.

        Raises:
            Fatal: a dead letter has nothing left to leave out.
        """
        outgoing: list[Outgoing | None] = list(outcome.outgoing)
        rejected, labels, review = outcome.rejected, outcome.labels, outcome.review
        for place in places:
            out = outcome.outgoing[place]
            if is_dead_letter(out):
                outgoing[place] = shrunk(out, outcome.record.place)
                continue
            if self._is_review(out):
                outgoing[place] = smaller(out)
                review = review if outgoing[place] else str(Reason.TOO_LARGE)
                continue
            message = (
                f"the result of {len(out.value or b'')} bytes is larger than topic {out.topic} takes ({said}); "
                "raise that topic's max.message.bytes"
            )
            one = reject(outcome.record, Poison("PUBLISH", "too_large", message))
            outgoing[place], rejected, labels = self._writer.dead_letter(one), (*rejected, one), None
        left = [out for out in outgoing if out is not None]
        if labels is None:  # Where there is no result nobody is asked about it.
            left, review = [out for out in left if not self._is_review(out)], None
        rule = outcome.rule if labels is not None else None
        return replace(outcome, outgoing=tuple(left), rejected=rejected, labels=labels, review=review, rule=rule)

    def _is_review(self, out: Outgoing) -> bool:
        return self._reviewer is not None and self._reviewer.asks(out)

    def committed(self, outcomes: Sequence[Outcome]) -> None:
        """Counts what is now visible to readers."""
        now_ms = self._clock.now_us() / 1000
        results = Counter(outcome.labels for outcome in outcomes if outcome.labels is not None)
        for (label, complete, pattern), number in results.items():
            self._observer.count("results_total", number, label=label, complete=complete)
            self._observer.count("inputs_present_total", number, pattern=pattern)
        for reason, number in Counter(one.review for one in outcomes if one.review is not None).items():
            self._observer.count("review_total", number, reason=reason)
        for rule, number in Counter(one.rule for one in outcomes if one.rule is not None).items():
            self._observer.count("rules_total", number, rule=rule, outcome="applied")
        for outcome in outcomes:
            for one in outcome.rejected:
                self._observer.count("dead_letters_total", stage=str(one.stage), reason=one.reason)
            if outcome.record.topic == self._anchor_topic:
                seconds = (now_ms - outcome.record.timestamp_ms) / 1000
                if 0 <= seconds <= LONGEST_SECONDS:
                    self._told(seconds, outcome.trace)

    def _told(self, seconds: float, trace: Trace | None) -> None:
        if trace is None:
            self._observer.observe("end_to_end_seconds", seconds)
        else:
            self._observer.observe("end_to_end_seconds", seconds, trace=trace.id)


def fused_labels(fused: Fused | None) -> tuple[str, str, str] | None:
    """(label, complete, streams present) of a result, for the metrics; None where there is no result."""
    if fused is None or fused.verdict is None:
        return None
    present = "+".join([fused.aligned.anchor.stream, *sorted(fused.aligned.inputs)])
    return fused.verdict.label, "true" if fused.aligned.complete else "false", present
