"""Flow of all partitions -> how far context may go, which anchors it waits for, and which partitions are absent.

What is told ages: an anchor partition of which nothing was heard for a second may have got anchors since, so it holds
context where it was. Anchors that lie more than `horizon` behind the context that has been read hold nobody: what they
could match is gone (CONTRACT section 1).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from worker.flows import Flow, PartitionFlow
from worker.records import MatchRule, Partition
from worker.stages.hold import NOTHING_YET

# Ten exchanges: one or two may be lost to a long turn, a worker that is gone must not be believed for longer.
FLOW_AGES_US = 1_000_000
# Takeover of a killed worker's partitions takes the session timeout and some seconds more; a partition of which Kafka
# tells nothing for longer, while it tells of others, has no leader or no owner, and stops nobody any more.
ABSENT_AFTER_US = 30_000_000
# A partition that can read no more for so long waits for anchors that it cannot help: at least this, else `max_wait`.
LEAST_STAND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Late:
    """Which anchors need hold no context back; None: not known.

    Attributes:
        read_us: those of earlier event times lie more than `horizon` behind what of every context stream is in Redis.
        held_us: likewise behind what is held and has stood for longer than a wait may last; to be counted for anchors
            alone that are undecided, since one that waits for Kafka or the model makes context stand as well.
    """

    read_us: int | None = None
    held_us: int | None = None

    @property
    def before_us(self) -> int:
        """Anchors of earlier event times hold nobody back."""
        return self.read_us or 0


def slowest_anchor_us(
    flow: Flow, anchors: Collection[Partition], late: Late, absent: Callable[[Partition], bool]
) -> int | None:
    """Event time of the slowest anchor partition that holds context back; None when none does; NOTHING_YET while one is
    unknown."""
    slowest: int | None = None
    for partition in anchors:
        known = flow.partitions.get(partition)
        if absent(partition):
            continue
        if known is None or (known.frontier_us is None and known.clear_from_us is None):
            return NOTHING_YET
        fresh = known.told_us is not None and flow.now_us - known.told_us <= FLOW_AGES_US
        if known.frontier_us is None or (fresh and not known.holds) or known.frontier_us < late.before_us:
            continue
        slowest = known.frontier_us if slowest is None else min(slowest, known.frontier_us)
    return slowest


def rebuilt(flow: Flow, partition: Partition) -> PartitionFlow | None:
    """What is told of a context partition; None also while Redis does not hold what had been read of it."""
    known = flow.partitions.get(partition)
    return known if known is not None and known.rebuilt else None


def late_anchors(
    flow: Flow, streams: Mapping[str, Sequence[Partition]], rules: Mapping[str, MatchRule],
    absent: Callable[[Partition], bool],
) -> Late:  # fmt: skip
    """Which anchors lie more than `horizon` behind the context that has been read, of every stream."""
    read, held = [], []
    told = {
        name: [flow.partitions.get(partition) for partition in partitions if not absent(partition)]
        for name, partitions in streams.items()
    }
    if any(one is None for each in told.values() for one in each):
        return Late()
    streams_of = {name: [one for one in each if one is not None] for name, each in told.items()}
    some_lag = any(one.clear_from_us is None for each in streams_of.values() for one in each)
    for name, known in streams_of.items():
        at_end = all(one.clear_from_us is not None for one in known)
        if at_end and (some_lag or all(one.indexed_us is None for one in known)):
            continue  # nothing comes of it that could be held, and it may have been dead for hours
        rule = rules[name]
        read_us = _read_us(known)
        stands_us = _stands_at_us(known, flow.now_us, rule)
        read.append(None if read_us is None else read_us - rule.horizon_us)
        held.append(read[-1] if stands_us is None else stands_us - rule.horizon_us)
    return Late(_least(read), _least(held))


def _least(times_us: Sequence[int | None]) -> int | None:
    known = [time_us for time_us in times_us if time_us is not None]
    return min(known, default=None) if len(known) == len(times_us) else None


def _read_us(flows: Sequence[PartitionFlow]) -> int | None:
    """Of partitions with lag the slowest counts; of a stream that is caught up the fastest."""
    behind = [flow for flow in flows if flow.clear_from_us is None]
    indexed = [flow.indexed_us for flow in behind or flows if flow.indexed_us is not None]
    if not behind:
        return max(indexed, default=None)
    return min(indexed) if len(indexed) == len(behind) else None


def _stands_at_us(flows: Sequence[PartitionFlow], now_us: int, rule: MatchRule) -> int | None:
    """Where a stream stands all of whose partitions with lag can read no more, for as long as a wait may last: anchors
    whose source's clock is hours behind would hold it there for ever."""
    behind = [flow for flow in flows if flow.clear_from_us is None]
    stand_us = max(LEAST_STAND_US, rule.max_wait_us)
    if not all(flow.stopped_us is not None and now_us - flow.stopped_us > stand_us for flow in behind):
        return None
    return min((flow.frontier_us for flow in behind if flow.frontier_us is not None), default=None)


class Presence:
    """Which partitions Kafka or their owners tell nothing of, while it tells of others."""

    def __init__(self) -> None:
        self._checked_us: dict[Partition, int | None] = {}
        self._silent_us: dict[Partition, int] = {}
        self._now_us = 0

    def saw(self, flow: Flow, partitions: Collection[Partition]) -> None:
        """Everybody's flow as it is now. While Kafka tells of no partition, time does not count against any."""
        told = {p: flow.partitions[p].checked_us if p in flow.partitions else None for p in partitions}
        news = {p for p, checked_us in told.items() if checked_us is not None and checked_us != self._checked_us.get(p)}
        # After an outage of Redis whoever speaks first has news, and the others a moment later.
        passed_us = min(max(0, flow.now_us - self._now_us), FLOW_AGES_US) if news and self._now_us else 0
        self._silent_us = {p: 0 if p in news else self._silent_us.get(p, 0) + passed_us for p in partitions}
        self._checked_us, self._now_us = told, flow.now_us

    def absent(self, partition: Partition) -> bool:
        """True once nothing was told of it for ABSENT_AFTER_US."""
        return self._silent_us.get(partition, 0) > ABSENT_AFTER_US
