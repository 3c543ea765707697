"""Counts of anchors, several times a second -> how many seconds of work are left for this worker, and were done.

A second of work is what the worker does in one while it has no rest. How much that is, is measured while it has none:
a span counts when all through it there was as much left as is done in `REST_SECONDS`, so that what merely passes
through a worker at ease does not look like its limit. The first and the last of a row do not count: in them it may have
been waking up (a rebalance, a model's first batch), or a server went away.
"""

from __future__ import annotations

import math

from worker.records import value

# One measurement; shorter ones would hold too few anchors of a slow model.
SPAN_SECONDS = 1.0
# An anchor passes a worker at ease in 0.2 to 0.5 s (docs/performance.md, Latency); with more before it, it waits.
REST_SECONDS = 1.0
# The part of a new measurement: with 0.2 the last ten spans are nine tenths of the estimate.
WEIGHT = 0.2


@value
class Work:
    """In seconds of this worker.

    Attributes:
        left: that what waits for nothing but the worker will take.
        done: that what was committed since the last look took, had the worker had no rest.
    """

    left: float
    done: float


class Workload:
    """The work of one worker. Both numbers are 0 until it has been without rest for three spans."""

    def __init__(self) -> None:
        self.seconds_per_anchor = 0.0
        self._done = 0
        self._restless, self._last = False, 0.0
        self._begin(0.0, 0)

    def _begin(self, now: float, done: int) -> None:
        self._began, self._done_then, self._least = now, done, math.inf

    def saw(self, now: float, done: int, left: int) -> Work:
        """One look.

        Args:
            now: monotonic seconds; the first look's begins the first span.
            done: anchors of which an outcome was committed, so far.
            left: anchors that wait for nothing but this worker, read or not.
        """
        if self._began == 0.0:
            self._begin(now, done)
        self._least = min(self._least, left)
        if now - self._began >= SPAN_SECONDS:
            self._measure(now - self._began, done - self._done_then)
            self._begin(now, done)
        finished, self._done = done - self._done, done
        return Work(left * self.seconds_per_anchor, finished * self.seconds_per_anchor)

    def _measure(self, seconds: float, done: int) -> None:
        """A span in which nothing was done says that a server was away, and not how fast the worker is."""
        before, each = self.seconds_per_anchor, seconds / done if done else math.inf
        restless = done > 0 and self._least * each >= REST_SECONDS
        if restless and self._last:
            self.seconds_per_anchor = before + (self._last - before) * WEIGHT if before else self._last
        elif done and not restless:
            # Who does more than it was thought to be able to is faster than that.
            self.seconds_per_anchor = min(before, each)
        self._last = each if restless and self._restless else 0.0
        self._restless = restless
