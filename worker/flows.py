"""How far partitions have been read, as workers tell each other. Times are integer microseconds (`_us`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from worker.records import Partition, value


@value
class PartitionFlow:
    """How far one input partition has been read, told to all workers through Redis (DESIGN 3). Times of Redis' clock
    but for `frontier_us` and `indexed_us`, which are event times.

    Attributes:
        frontier_us: event time reached (an anchor partition: of its oldest anchor that holds context back, else the
            latest that was read; a context: `indexed_us`, or of its oldest held event if it can read no more); None:
            nothing read.
        clear_from_us: since when every check found the partition read to its end; None: it has lag.
        caught_up_us: the last check that found it read to its end; None: never.
        holds: of an anchor partition, whether context waits for its `frontier_us`.
        indexed_us: of a context, up to which event time it is in Redis, whatever the clock of a single source says.
        stopped_us: of a context, since when it can read no more for the same oldest held event; None: it can.
        checked_us: the last time that Kafka told where its log ends; None: never.
        told_us: when this was told; None: by a release that does not say it.
        rebuilt: of a context, False while it is read again after a loss of Redis.
        full: of a context, whether Redis was too full to take what may be indexed of this worker's contexts.
    """

    frontier_us: int | None
    clear_from_us: int | None
    caught_up_us: int | None
    holds: bool = True
    indexed_us: int | None = None
    stopped_us: int | None = None
    checked_us: int | None = None
    told_us: int | None = None
    rebuilt: bool = True
    full: bool = False


@value
class Flow:
    """All workers' partitions as one worker sees them now. `now_us` is the Redis server's clock."""

    now_us: int
    partitions: Mapping[Partition, PartitionFlow] = field(default_factory=dict)
