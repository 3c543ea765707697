"""Flow -> Needed: which context an anchor may still want, so that Redis may forget the rest."""

from __future__ import annotations

from collections.abc import Collection

from worker.records import MatchRule, Needed, PartitionFlow
from worker.stages.hold import NOTHING_YET


def needed_of(
    slowest_us: int | None, contexts: Collection[PartitionFlow | None], rules: Collection[MatchRule]
) -> Needed | None:
    """What the slowest unfinished anchor wants, and one to come that is not further behind than context is kept.

    Args:
        slowest_us: as `slowest_anchor_us` tells it.
        contexts: the flow of all context partitions.

    Returns:
        None while some partition is not known.
    """
    if slowest_us == NOTHING_YET or None in contexts:
        return None
    known = (flow.frontier_us for flow in contexts if flow is not None and flow.frontier_us is not None)
    indexed_us = max(known, default=-1)
    kept_us = max(rule.horizon_us + rule.before_us + rule.after_us + rule.lateness_us for rule in rules)
    from_us = indexed_us - kept_us if slowest_us is None else min(slowest_us, indexed_us - kept_us)
    return Needed(max(0, from_us - max(rule.before_us for rule in rules)), indexed_us)
