"""Flow -> event time: from when on an anchor may still want context, so that Redis may forget the rest."""

from __future__ import annotations

from collections.abc import Collection

from worker.flows import PartitionFlow
from worker.records import MatchRule
from worker.stages.hold import NOTHING_YET


def needed_from_us(
    slowest_us: int | None, contexts: Collection[PartitionFlow | None], rules: Collection[MatchRule]
) -> int | None:
    """No anchor wants an event before this: not the slowest unfinished one, and none to come that is not further behind
    than context is kept.

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
    kept_us = max((rule.kept_us for rule in rules), default=0)
    from_us = indexed_us - kept_us if slowest_us is None else min(slowest_us, indexed_us - kept_us)
    return max(0, from_us - max((rule.before_us for rule in rules), default=0))
