"""The offline oracle: CONTRACT section 5 by sorting everything, with no order of arrival, no store and no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from worker.records import Candidate, MatchRule

KeyedEvents = Mapping[str, Iterable[tuple[int, str]]]


def match(rule: MatchRule, anchor_time_us: int, events: Iterable[tuple[int, str]]) -> list[Candidate]:
    """What the rule picks among all events (time, id) of one key, in time order."""
    earliest = anchor_time_us - rule.before_us
    last = anchor_time_us if rule.mode == "latest" else anchor_time_us + rule.after_us
    inside = sorted({(time, event_id) for time, event_id in events if earliest <= time <= last})
    by_distance = sorted(inside, key=lambda event: (abs(event[0] - anchor_time_us), event[0], event[1]))
    most = rule.limit if rule.mode == "window" else 1
    return [Candidate(time, event_id) for time, event_id in sorted(by_distance[:most])]


def pairs(
    anchors: Iterable[tuple[str, str, int]], contexts: Mapping[str, KeyedEvents], rules: Mapping[str, MatchRule]
) -> dict[tuple[str, str], list[Candidate]]:
    """Per (anchor id, stream) what is matched.

    Args:
        anchors: (id, key, time in microseconds).
        contexts: per stream and key the events (time, id).
        rules: per stream its rule.
    """
    return {
        (anchor_id, stream): match(rule, time_us, contexts.get(stream, {}).get(key, ()))
        for anchor_id, key, time_us in anchors
        for stream, rule in rules.items()
    }
