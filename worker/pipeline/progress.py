"""How far everybody has read, told and heard a few times a second; what waits and context may conclude from it."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence

from worker.flows import Flow, PartitionFlow
from worker.pipeline.indexing import Indexing
from worker.pipeline.needed import needed_from_us
from worker.ports import FlowExchange, Observer, Source
from worker.records import MatchRule, Partition
from worker.stages.flow import Checked, FlowBoard
from worker.stages.frontier import Late, Presence, late_anchors, rebuilt, slowest_anchor_us
from worker.stages.hold import NOTHING_YET

# How often the partitions' ends are asked for and the flow is exchanged; it adds to `max_wait` at most twice.
EXCHANGE_EVERY_SECONDS = 0.1


class Progress:
    """The flow of all partitions.

    Attributes:
        board: this worker's partitions, as it tells the others.
        presence: which partitions nobody tells of.
        late: which anchors hold no context back.
        slowest_us: event time of the slowest anchors that do; None: there are none; NOTHING_YET: not known.
    """

    def __init__(
        self,
        exchange: FlowExchange,
        source: Source,
        indexing: Indexing,
        rules: Mapping[str, MatchRule],
        topics: Mapping[str, str],
        anchor_topic: str,
        observer: Observer,
    ) -> None:
        """`topics`: context topic -> stream name."""
        self._exchange, self._source, self._indexing, self._rules = exchange, source, indexing, rules
        # So far behind what an anchor needs context is read, at least.
        self._ahead_us = min((one.horizon_us - one.after_us - one.lateness_us for one in rules.values()), default=0)
        self._anchor_topic, self._observer = anchor_topic, observer
        self._topic_of = {name: topic for topic, name in topics.items()}
        self.board, self.presence = FlowBoard(), Presence()
        self._exchanged = self._flow_at = 0.0
        self._flow, self.late = Flow(0), Late()
        self.slowest_us: int | None = NOTHING_YET

    def begin_anew(self) -> None:
        """What was told is not believed any more."""
        self._flow, self.late, self.slowest_us = Flow(0), Late(), NOTHING_YET

    def is_due(self) -> bool:
        """True when it is time to exchange."""
        now = time.monotonic()
        if now - self._exchanged < EXCHANGE_EVERY_SECONDS:
            return False
        self._exchanged = now
        return True

    def look(self) -> None:
        """Where do the partitions' logs end?"""
        now, now_us = time.monotonic(), self.now_us()
        found = {
            partition: Checked(self._source.position(partition) or 0, end, now_us - int((now - asked_at) * 1e6))
            for partition, (end, asked_at) in self._source.ends().items()
            if now_us and partition in self.board
        }
        self.board.checked(found, self._indexing.hold.partitions)

    def exchange(self, unfinished_us: Mapping[Partition, int], again: Collection[Partition]) -> None:
        """Tells the others and hears of them. `again`: the contexts that are being read again."""
        self.board.stopped(self._indexing.hold.stopped(self.board.lag), self.now_us())
        own = self.board.own(
            unfinished_us, again, self._anchor_topic, self.now_us(), self.late.before_us, self._indexing.is_full
        )
        flows = [flow for name in self._rules for flow in self.partitions(name)]
        self._flow = self._exchange.exchange_flow(own, needed_from_us(self.slowest_us, flows, self._rules.values()))
        self._flow_at = time.monotonic()
        self._judge()
        for partition, lag in self.board.lag.items():
            self._tell_lag(partition, lag)

    def _judge(self) -> None:
        """From everybody's flow: who is absent, which anchors are late, and how far context may go."""
        anchors = self._all(self._anchor_topic)
        streams = {name: self._all(topic) for name, topic in self._topic_of.items()}
        self.presence.saw(self._flow, [*anchors, *(one for each in streams.values() for one in each)])
        self.late = late_anchors(self._flow, streams, self._rules, self.presence.absent)
        self.slowest_us = slowest_anchor_us(self._flow, anchors, self.late, self.presence.absent)

    @property
    def unread_anchors(self) -> int:
        """Anchors on this worker's partitions that it has not read."""
        return sum(lag for partition, lag in self.board.lag.items() if partition.topic == self._anchor_topic)

    def close(self, partitions: Collection[Partition]) -> None:
        """Leases end."""
        self.board.close(partitions)
        for partition in partitions:
            self._tell_lag(partition, math.nan)

    def _tell_lag(self, partition: Partition, records: float) -> None:
        """NaN takes the series away: the lag of a lost partition is somebody else's to tell."""
        self._observer.gauge("consumer_lag_records", records, topic=partition.topic, partition=str(partition.number))

    def now_us(self) -> int:
        """The Redis server's clock, carried on from the last exchange; 0: not known."""
        now_us = self._flow.now_us
        return now_us + int((time.monotonic() - self._flow_at) * 1e6) if now_us else 0

    def filled(self) -> bool:
        """True when every partition of every context stream is in Redis as far as it has been read."""
        every = (partition for topic in self._topic_of.values() for partition in self._all(topic))
        known = (self.presence.absent(p) or rebuilt(self._flow, p) is not None for p in every)
        return bool(self._flow.now_us) and all(known)

    @property
    def is_full(self) -> bool:
        """Whether Redis is too full for some worker."""
        return self._indexing.is_full or any(flow.full for flow in self._flow.partitions.values())

    def partitions(self, stream: str) -> Sequence[PartitionFlow | None]:
        """The flow of all partitions of a context stream; None where unknown. One that is absent counts as read; one
        that is filled again counts as it is told while Redis is full, so that waits for what never came can end."""
        read = PartitionFlow(None, self._flow.now_us, self._flow.now_us)
        known = self._flow.partitions.get if self.is_full else lambda one: rebuilt(self._flow, one)
        every = self._all(self._topic_of[stream])
        return [read if self.presence.absent(partition) else known(partition) for partition in every]

    def absent(self, stream: str) -> bool:
        """True while a partition of a context stream is told of by nobody, so that waits end without it."""
        return any(self.presence.absent(partition) for partition in self._all(self._topic_of[stream]))

    def counted_us(self, stream: str) -> int:
        """When it was last asked how many partitions a context stream has, by Redis' clock; 0: not yet."""
        counted_at, now_us = self._source.counted_at(self._topic_of[stream]), self.now_us()
        return now_us - int((time.monotonic() - counted_at) * 1e6) if counted_at and now_us else 0

    def holds_back(self, partition: Partition, waiting_us: Mapping[Partition, int]) -> bool:
        """True for an anchor partition that all waiting anchors' context waits for, and not for one of them: it must be
        read on, however many wait, or nothing would ever move. `waiting_us`: the oldest of each partition."""
        reached_us, late_us = self.board.frontier_us(partition), self.late.before_us
        if reached_us is None:
            return True
        oldest_us = min(waiting_us.values(), default=math.inf)
        if partition not in waiting_us and late_us <= reached_us < oldest_us:
            return True
        # What it tells of anchors that are finished keeps context from those that wait.
        told_us = self.board.anchors_us(partition, waiting_us.get(partition), late_us)
        return told_us is not None and told_us >= late_us and told_us + self._ahead_us < oldest_us

    def _all(self, topic: str) -> list[Partition]:
        return [Partition(topic, number) for number in range(max(self._source.partitions_of(topic), 1))]
