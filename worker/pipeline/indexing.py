"""Context events that were read -> Redis, as far as the anchors allow."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from worker.errors import Full, Retryable
from worker.pipeline.ring import Ring
from worker.ports import Index
from worker.records import Event, MatchRule, Partition
from worker.stages.hold import HoldBack

# Events that Redis refused are packed and sent again after this long; at once would keep the loop busy with that alone.
INDEX_AGAIN_SECONDS = 0.2


class Indexing:
    """Holds events back until they may go.

    Attributes:
        hold: what was read and is not in Redis.
    """

    def __init__(self, index: Index, ring: Ring, rules: Mapping[str, MatchRule]) -> None:
        self._index, self._ring, self.hold = index, ring, HoldBack(ring.most_bytes)
        self._horizons = {name: rule.horizon_us for name, rule in rules.items()}
        self._before_us = max((rule.before_us for rule in rules.values()), default=0)
        self._again = 0.0
        self._refused: Retryable | None = None  # what kept events from Redis when they were last sent

    @property
    def is_full(self) -> bool:
        """Whether Redis was too full when events were last sent."""
        return isinstance(self._refused, Full)

    def allowed(self, slowest_us: int | None) -> Sequence[Event]:
        """What may be indexed now."""
        return self.hold.allowed(self._horizons, slowest_us)

    def send(self, slowest_us: int | None) -> tuple[Sequence[Event], Retryable | None]:
        """Puts into Redis what may go there now. What keeps it from that is given back and not raised: while Redis is
        full, anchors must go on, so that old events may go.

        Returns:
            What is in Redis now, and what keeps the rest from it.
        """
        if time.monotonic() < self._again:
            return (), self._refused
        self._refused = None
        if not (events := self.allowed(slowest_us)):
            return (), None
        refused: Retryable | None = None
        try:
            self._index.index(events, slowest_us)
        except Full as full:
            refused, events = full, [event for n, event in enumerate(events) if n not in full.refused]
        except Retryable as error:
            refused, events = error, ()
        self._refused = refused
        if refused is not None:
            self._again = time.monotonic() + INDEX_AGAIN_SECONDS
        self.hold.remove(events)
        self._ring.keep(events, self.hold.bytes)
        return events, refused

    def begin_anew(self, partitions: Collection[Partition]) -> None:
        """Redis is empty; what was held of these will be read again."""
        self._refused = None
        self.hold.drop(partitions)

    def make_room(self) -> None:
        """What is held back leaves less to the ring."""
        self._ring.keep((), self.hold.bytes)

    def pressed(self, slowest_us: int | None) -> bool:
        """True when reading on would push bodies out of the ring that the slowest anchor may want."""
        return self._ring.pressed(slowest_us, self._before_us)
