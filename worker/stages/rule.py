"""MatchRule and all events of a key -> Choice: CONTRACT section 5 by looking at every event.

The server's functions (store/match.lua) answer the same question of what has come so far, in the worker's time; this
answers it of a whole log that was read: nothing is waited for, and nothing has been trimmed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from worker.records import Candidate, MatchRule, Missing


@dataclass(frozen=True, slots=True)
class Choice:
    """What one context stream holds for one anchor.

    Attributes:
        chosen: what is matched, in time order.
        inside: all events of the key in bounds, in time order.
        known: how many events of the key there are.
        highest_us: the key's highest event time; None: there is none.
        complete: no later event, if it is on time, can change `chosen`; else `max_wait` ends the wait.
    """

    chosen: tuple[Candidate, ...]
    inside: tuple[Candidate, ...]
    known: int
    highest_us: int | None
    complete: bool

    @property
    def missing(self) -> Missing | None:
        """Why nothing is matched; None when something is."""
        if self.chosen:
            return None
        return Missing.OUT_OF_TOLERANCE if self.known else Missing.NEVER_SEEN


def choose(rule: MatchRule, anchor_us: int, candidates: Iterable[Candidate]) -> Choice:
    """What the rule picks among all events of the anchor's key; the same event given twice counts once."""
    return choose_sorted(rule, anchor_us, sorted(set(candidates), key=in_order))


def in_order(candidate: Candidate) -> tuple[int, str]:
    """The order of events: by time, then by id."""
    return candidate.time_us, candidate.id


def choose_sorted(rule: MatchRule, anchor_us: int, line: Sequence[Candidate]) -> Choice:
    """As `choose`, of events that are in order and each there once; looks only at those near the anchor."""
    low = anchor_us - rule.before_us
    high = anchor_us if rule.mode == "latest" else anchor_us + rule.after_us
    inside = line[bisect_left(line, low, key=_time) : bisect_right(line, high, key=_time)]
    highest_us = line[-1].time_us if line else None
    chosen = _chosen(rule, anchor_us, inside)
    complete = highest_us is not None and is_complete(rule, anchor_us, chosen, highest_us)
    return Choice(tuple(chosen), tuple(inside), len(line), highest_us, complete)


def _time(candidate: Candidate) -> int:
    return candidate.time_us


def _chosen(rule: MatchRule, anchor_us: int, inside: Sequence[Candidate]) -> list[Candidate]:
    """Of events in (time, id) order; Python's sort keeps that order among equals, which is how ties are decided."""
    if rule.mode == "latest":
        return [one for one in inside if one.time_us == inside[-1].time_us][:1]
    nearest_first = sorted(inside, key=lambda one: abs(one.time_us - anchor_us))
    most = rule.limit if rule.mode == "window" else 1
    return sorted(nearest_first[:most], key=in_order)


def is_complete(rule: MatchRule, anchor_us: int, chosen: list[Candidate], highest_us: int) -> bool:
    """CONTRACT section 5, third column; `highest_us` is the key's highest event time in the stream."""
    reached_us = highest_us - rule.lateness_us
    if rule.mode == "latest":
        return reached_us >= anchor_us
    if rule.mode == "nearest" and chosen and reached_us >= anchor_us + abs(chosen[0].time_us - anchor_us):
        return True
    return reached_us > anchor_us + rule.after_us
