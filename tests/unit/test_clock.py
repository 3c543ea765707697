"""The max_wait clock runs on the wall, and only while the context stream is caught up."""

from __future__ import annotations

from worker.flows import PartitionFlow
from worker.records import MatchRule
from worker.stages.clock import WaitClock

COUNTED = 10**12  # The stream's partitions were counted just now.
RULE = MatchRule("frames", "nearest", 500, 500, 0, 16, 2_000, 30_000, False)


def clear(since: int, at: int) -> PartitionFlow:
    """A partition that every check since `since` found read to its end."""
    return PartitionFlow(None, since, at)


def lagging(frontier: int) -> PartitionFlow:
    """A partition with records still to be read."""
    return PartitionFlow(frontier, None, None)


def test_a_caught_up_stream_ends_the_wait_after_max_wait() -> None:
    """The clock starts when the anchor was read, not when it was looked at."""
    clock = WaitClock(RULE)
    clock.add("a", 10, read_us=1_000)
    assert clock.tick(2_999, [clear(0, 1_000)], COUNTED) == []
    assert clock.tick(3_000, [clear(0, 1_000)], COUNTED) == ["a"]
    assert clock.tick(9_000, [clear(0, 1_000)], COUNTED) == []


def test_a_backlog_is_read_not_timed_out() -> None:
    """While one partition has lag, no wait ends, however long it takes."""
    clock = WaitClock(RULE)
    clock.add("a", 10, read_us=1_000)
    assert clock.tick(10**9, [clear(0, 10**9), lagging(5)], COUNTED) == []


def test_the_clock_starts_when_the_backlog_is_read() -> None:
    """An anchor read during a backlog waits max_wait from the end of the backlog."""
    clock = WaitClock(RULE)
    clock.add("a", 10, read_us=1_000)
    assert clock.tick(5_000, [clear(5_000, 5_000)], COUNTED) == []
    assert clock.tick(6_999, [clear(5_000, 6_900)], COUNTED) == []
    assert clock.tick(7_000, [clear(5_000, 6_900)], COUNTED) == ["a"]


def test_a_partition_past_the_window_starts_the_clock() -> None:
    """A partition held back by the horizon cannot hold its anchors for ever."""
    clock = WaitClock(RULE)
    clock.add("a", 10, read_us=1_000)
    assert clock.tick(5_000, [lagging(510)], COUNTED) == []
    assert clock.tick(5_000, [lagging(511)], COUNTED) == []
    assert clock.tick(7_000, [lagging(511)], COUNTED) == ["a"]


def test_an_unknown_partition_stops_every_clock() -> None:
    """After Redis was emptied nothing times out until all partitions are back."""
    clock = WaitClock(RULE)
    clock.add("a", 10, read_us=1_000)
    assert clock.tick(10**9, [clear(0, 10**9), None], COUNTED) == []


def test_an_anchor_that_left_does_not_expire() -> None:
    """A decided anchor's clock is gone."""
    clock = WaitClock(RULE)
    clock.add("a", 10, read_us=1_000)
    clock.remove(["a"])
    assert clock.tick(10**9, [clear(0, 10**9)], COUNTED) == []


def test_anchors_that_were_decided_leave_nothing_behind() -> None:
    """Of a stream that is always caught up, or never, the clock keeps no more than a few times what waits."""
    for flow in (clear(0, 10**9), lagging(5)):
        clock = WaitClock(RULE)
        clock.add("waits", 10**6, read_us=10**9 + 1)
        for number in range(5_000):
            clock.add(str(number), 10**6 + number, read_us=1_000 + number)
            clock.remove([str(number)])
            assert clock.tick(10**6 + number, [flow], COUNTED) == []
        assert len(clock) <= 2_100
    assert clock.tick(10**9, [clear(0, 10**10)], COUNTED) == []
    assert clock.tick(10**9 + 2_001, [clear(0, 10**10)], COUNTED) == ["waits"]


def test_a_wait_that_begins_again_is_as_long_as_the_first() -> None:
    """What was counted before nothing could be read does not count."""
    clock = WaitClock(RULE)
    clock.add("a", 10, read_us=1_000)
    assert clock.tick(2_500, [clear(0, 1_500)], COUNTED) == []
    clock.begin_again(9_000)
    assert clock.tick(9_500, [clear(0, 8_999)], COUNTED) == []
    assert clock.tick(10_999, [clear(0, 9_500)], COUNTED) == []
    assert clock.tick(11_000, [clear(0, 9_500)], COUNTED) == ["a"]


def test_a_wait_does_not_end_while_what_has_come_since_is_held_or_unread() -> None:
    """The clock had started when the stream was caught up; then a backlog came, or what came is held back."""
    second = 1_000_000
    clock = WaitClock(RULE)
    clock.add("a", 10, read_us=second)
    assert clock.tick(second + 1, [clear(0, second)], COUNTED) == []
    assert clock.tick(9 * second, [PartitionFlow(5, None, second)], COUNTED) == []
    assert clock.tick(10 * second, [clear(10 * second, 10 * second)], COUNTED) == ["a"]
    clock.add("b", 10, read_us=second)
    assert clock.tick(second + 1, [clear(0, second)], COUNTED) == []
    assert clock.tick(9 * second, [PartitionFlow(510, None, second)], COUNTED) == []
    assert clock.tick(9 * second, [PartitionFlow(511, None, second)], COUNTED) == ["b"]


def test_no_wait_ends_before_the_partitions_were_counted() -> None:
    """A topic may have gained one, which holds what the anchor waits for."""
    second = 1_000_000
    clock = WaitClock(RULE)
    clock.add("a", 10, read_us=second)
    assert clock.tick(9 * second, [clear(0, 9 * second)], second - 1) == []
    assert clock.tick(9 * second, [clear(0, 9 * second)], second) == []
    assert clock.tick(9 * second, [clear(0, 9 * second)], 9 * second) == ["a"]
