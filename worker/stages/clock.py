"""Waiting anchors + flow of one context stream -> whose `max_wait` is over (CONTRACT 4.5, DESIGN 3).

The clock of an anchor starts once every partition of the context stream has been read past where it ended when the
anchor was read, or has reached an event time after which only late events could still come; and it ends only where that
still holds for what has come since, so that what was read and is held back, or lies unread, is not timed out. Times are
the Redis server's, in microseconds, so that the workers' own clocks do not matter.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence

from worker.flows import PartitionFlow
from worker.records import MatchRule

# A list is cleared of those that wait no longer once they are most of it, but not for fewer entries than these.
LEAST_CLEARED = 1_000
# What comes in the last moments of a wait need not have been looked at: two looks at the logs' ends, and what it takes
# until they are told. Without it every wait would last that much longer.
LOOKED_BEFORE_US = 300_000


class WaitClock:
    """The `max_wait` clocks of one context stream. Work per tick is for those that start or end, not for all."""

    def __init__(self, rule: MatchRule) -> None:
        self._rule = rule
        self._waiting: dict[str, tuple[int, int]] = {}  # token -> when it was read, and the reach that it needs
        self._by_read: list[tuple[int, str]] = []
        self._by_reach: list[tuple[int, str]] = []
        self._deadlines: list[tuple[int, str]] = []
        self._over: set[str] = set()  # waited for `max_wait`, and wait until that counts

    def __len__(self) -> int:
        """How many entries are kept; of an anchor that waits there are a few."""
        return len(self._by_read) + len(self._by_reach) + len(self._deadlines)

    def add(self, token: str, time_us: int, read_us: int) -> None:
        """An anchor of event time `time_us`, read at `read_us`, waits for this stream."""
        self._by_read, self._by_reach = self._cleared(self._by_read), self._cleared(self._by_reach)
        reach_us = time_us + self._rule.after_us + self._rule.lateness_us
        self._put(token, read_us, reach_us)

    def begin_again(self, read_us: int) -> None:
        """Nothing was read for a while: all wait as if they had been read at `read_us`."""
        self._waiting = {token: (read_us, reach_us) for token, (_, reach_us) in self._waiting.items()}
        self._by_read = [(read_us, token) for token in sorted(self._waiting)]
        self._by_reach = sorted((reach_us, token) for token, (_, reach_us) in self._waiting.items())
        self._deadlines, self._over = [], set()

    def _cleared(self, entries: list[tuple[int, str]]) -> list[tuple[int, str]]:
        """Those whose turn never comes, since the stream is always caught up or never, would stay for ever."""
        if len(entries) <= max(LEAST_CLEARED, 2 * len(self._waiting)):
            return entries
        kept = [entry for entry in entries if entry[1] in self._waiting]
        heapq.heapify(kept)
        return kept

    def remove(self, tokens: Collection[str]) -> None:
        """Anchors that wait no longer."""
        for token in tokens:
            self._waiting.pop(token, None)
            self._over.discard(token)

    def tick(self, now_us: int, partitions: Sequence[PartitionFlow | None], counted_us: int) -> list[str]:
        """The tokens whose wait is over; they are removed. `partitions`: all of the stream's, None where unknown;
        `counted_us`: when it was last asked how many there are, since a new one may hold a backlog."""
        while self._deadlines and self._deadlines[0][0] <= now_us:
            self._end(*heapq.heappop(self._deadlines))
        expired: list[str] = []
        known = [flow for flow in partitions if flow is not None]
        if known and len(known) == len(partitions):
            self._pass_caught_up(known, counted_us, expired)
            self._pass_by_reach(now_us, known, counted_us, expired)
        return expired

    def _end(self, deadline_us: int, token: str) -> None:
        if token in self._waiting and token not in self._over:
            self._over.add(token)
            self._put(token, deadline_us - LOOKED_BEFORE_US, self._waiting[token][1])

    def _put(self, token: str, read_us: int, reach_us: int) -> None:
        self._waiting[token] = read_us, reach_us
        heapq.heappush(self._by_read, (read_us, token))
        heapq.heappush(self._by_reach, (reach_us, token))

    def _pass_caught_up(self, flows: Sequence[PartitionFlow], counted_us: int, expired: list[str]) -> None:
        if any(flow.clear_from_us is None for flow in flows):
            return
        caught_up = min([counted_us, *(flow.caught_up_us or 0 for flow in flows)])
        clear_from = max(flow.clear_from_us or 0 for flow in flows)
        while self._by_read and self._by_read[0][0] <= caught_up:
            read_us, token = heapq.heappop(self._by_read)
            if read_us == self._waiting.get(token, (None,))[0]:
                self._pass(token, max(read_us, clear_from), expired)

    def _pass_by_reach(self, now_us: int, flows: Sequence[PartitionFlow], counted_us: int, expired: list[str]) -> None:
        behind = [flow for flow in flows if flow.clear_from_us is None]
        reached = min((flow.frontier_us or 0 for flow in behind), default=0)
        caught_up = min([counted_us, *(flow.caught_up_us or 0 for flow in flows if flow.clear_from_us is not None)])
        while self._by_reach and self._by_reach[0][0] < reached:
            if self._waiting.get(self._by_reach[0][1], (0, 0))[0] > caught_up:
                return
            self._pass(heapq.heappop(self._by_reach)[1], now_us, expired)

    def _pass(self, token: str, from_us: int, expired: list[str]) -> None:
        """The stream is where it must be for this anchor: its clock starts, or has ended."""
        if token not in self._waiting:
            return
        if token in self._over:
            self.remove((token,))
            expired.append(token)
        else:
            heapq.heappush(self._deadlines, (from_us + self._rule.max_wait_us, token))
