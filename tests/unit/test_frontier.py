"""How far context may go, which anchors it waits for, and which partitions are absent: pure, of what was told."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.worker_in_memory import RULE
from worker.flows import Flow, PartitionFlow
from worker.records import Partition
from worker.stages.flow import FlowBoard
from worker.stages.frontier import (
    ABSENT_AFTER_US,
    FLOW_AGES_US,
    Late,
    Presence,
    late_anchors,
    slowest_anchor_us,
)
from worker.stages.hold import NOTHING_YET

NOW, SECOND, HOUR = 10**15, 1_000_000, 3_600_000_000
A, B, F, G = Partition("a", 0), Partition("a", 1), Partition("f", 0), Partition("f", 1)
RULES = {"f": RULE, "g": replace(RULE, stream="g")}
HOLDING = PartitionFlow(NOW - 50, None, None, told_us=NOW)
IDLE = PartitionFlow(NOW - 90, NOW - 5, NOW, holds=False, told_us=NOW)
LIVE = PartitionFlow(NOW, NOW - 5, NOW, indexed_us=NOW)


def slowest(told: dict[Partition, PartitionFlow], late: Late | None = None, absent: Partition | None = None) -> object:
    return slowest_anchor_us(Flow(NOW, told), [A, B], late or Late(), lambda partition: partition == absent)


def late(told: dict[Partition, PartitionFlow], **streams: list[Partition]) -> Late:
    return late_anchors(Flow(NOW, told), streams or {"f": [F, G]}, RULES, lambda _: False)


def test_the_slowest_that_holds_counts() -> None:
    """One that is caught up and has finished holds nobody; an unknown one stops everything, an absent one nothing."""
    assert slowest({A: HOLDING, B: IDLE}) == NOW - 50
    assert slowest({A: IDLE, B: IDLE}) is None
    assert slowest({A: HOLDING}) == NOTHING_YET
    assert slowest({A: HOLDING, B: PartitionFlow(None, None, None, told_us=NOW)}) == NOTHING_YET
    assert slowest({A: HOLDING}, absent=B) == NOW - 50


def test_what_is_old_is_not_believed() -> None:
    """A partition that had been read to its end when its worker was heard of last holds context where it was."""
    old = replace(IDLE, told_us=NOW - FLOW_AGES_US - 1)
    assert slowest({A: IDLE, B: old}) == NOW - 90
    assert slowest({A: IDLE, B: replace(IDLE, told_us=None)}) == NOW - 90


def test_late_anchors_hold_nobody() -> None:
    """By what is in Redis. By what is held the undecided alone, which their owner takes out of what it tells."""
    old = replace(HOLDING, told_us=NOW - FLOW_AGES_US - 1)
    assert slowest({A: HOLDING, B: IDLE}, Late(read_us=NOW)) is None
    assert slowest({A: old, B: IDLE}, Late(read_us=NOW)) is None
    assert slowest({A: HOLDING, B: IDLE}, Late(held_us=NOW)) == NOW - 50


def test_late_is_what_lies_a_horizon_behind_the_context_that_was_read() -> None:
    """Of partitions with lag the slowest counts, of a stream that is caught up the fastest."""
    backlog = PartitionFlow(NOW - HOUR, None, None, indexed_us=NOW - HOUR)
    dead = replace(LIVE, indexed_us=NOW - HOUR)
    assert late({F: LIVE, G: dead}).read_us == NOW - RULE.horizon_us
    assert late({F: LIVE, G: backlog}).read_us == NOW - HOUR - RULE.horizon_us
    assert late({F: LIVE}) == Late()
    assert late({F: LIVE, G: PartitionFlow(None, None, None)}) == Late()


def test_every_stream_counts_but_an_empty_one() -> None:
    """An anchor is late only if no stream can have a match for it."""
    empty, backlog = PartitionFlow(None, NOW, NOW), PartitionFlow(5, None, None, indexed_us=NOW - HOUR)
    assert late({F: LIVE, G: empty}, f=[F], g=[G]).read_us == NOW - RULE.horizon_us
    assert late({F: LIVE, G: backlog}, f=[F], g=[G]).read_us == NOW - HOUR - RULE.horizon_us
    assert late({F: empty, G: empty}, f=[F], g=[G]) == Late()


def test_what_has_stood_for_longer_than_a_wait_may_last_stands_for_late_anchors() -> None:
    """Only if no partition with lag can be read on."""
    stands = PartitionFlow(NOW, None, None, indexed_us=NOW - HOUR, stopped_us=NOW - 2 * SECOND)
    assert late({F: stands, G: LIVE}) == Late(NOW - HOUR - RULE.horizon_us, NOW - RULE.horizon_us)
    assert late({F: replace(stands, indexed_us=None), G: LIVE}) == Late(None, NOW - RULE.horizon_us)
    fresh, reads = replace(stands, stopped_us=NOW - SECOND // 2), replace(stands, stopped_us=None)
    for other in (fresh, reads):
        assert late({F: stands, G: other}).held_us == NOW - HOUR - RULE.horizon_us


def test_one_clock_ahead_does_not_say_how_far_a_partition_is_indexed() -> None:
    """Neither its events among the others', nor a burst of them that others had overtaken."""
    board = FlowBoard()
    board.open(F)
    for offset in range(100):
        board.indexed(F, offset, NOW + HOUR if offset % 4 == 0 else NOW + offset)
    for offset in range(0, 80, 4):
        board.indexed(F, offset, NOW + HOUR)
    assert NOW + 80 < (board.frontier_us(F) or 0) < NOW + 100


def test_a_partition_is_absent_while_kafka_tells_of_others_alone() -> None:
    """When it tells of none, it is away; then nobody's time runs."""
    presence, at_us = Presence(), NOW

    def pass_time(until_us: int, told: set[Partition]) -> None:
        nonlocal at_us
        flows = {p: PartitionFlow(0, None, None, checked_us=NOW) for p in (A, B)}
        while at_us < until_us:
            at_us += SECOND
            flows |= {p: PartitionFlow(0, None, None, checked_us=at_us) for p in told}
            presence.saw(Flow(at_us, flows), [A, B, F])

    pass_time(NOW + 10 * ABSENT_AFTER_US, set())
    assert not any(map(presence.absent, (A, B, F)))
    pass_time(at_us + ABSENT_AFTER_US, {A})
    assert not any(map(presence.absent, (A, B, F)))
    pass_time(at_us + 2 * SECOND, {A})
    assert [presence.absent(p) for p in (A, B, F)] == [False, True, True]
    pass_time(at_us + SECOND, {A, B, F})
    assert not any(map(presence.absent, (A, B, F)))
