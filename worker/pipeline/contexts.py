"""Context events -> Redis, as far as the anchors allow; the epoch that says whether Redis still holds them."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence

from worker.errors import Full, Retryable
from worker.pipeline.needed import needed_from_us
from worker.pipeline.positions import Positions, settled_of
from worker.pipeline.ring import Ring
from worker.ports import ContextStore, Health, Log, Observer, Source
from worker.records import Event, Flow, MatchRule, Partition, PartitionFlow
from worker.stages.commit import Committer
from worker.stages.flow import Checked, FlowBoard
from worker.stages.frontier import Late, Presence, late_anchors, rebuilt, slowest_anchor_us
from worker.stages.hold import NOTHING_YET, HoldBack
from worker.stages.ledger import Ledger

# How often the partitions' ends are asked for and the flow is exchanged; it adds to `max_wait` at most twice.
EXCHANGE_EVERY_SECONDS = 0.1
# Events that Redis refused are packed and sent again after this long; at once would keep the loop busy with that alone.
INDEX_AGAIN_SECONDS = 0.2


class Contexts:
    """The context side of one worker, and the flow of all its partitions."""

    def __init__(
        self,
        store: ContextStore,
        source: Source,
        bodies: Ring,
        rules: Mapping[str, MatchRule],
        topics: Mapping[str, str],
        anchor_topic: str,
        observer: Observer,
        health: Health,
        log: Log,
    ) -> None:
        """`topics`: context topic -> stream name."""
        self._store, self._source, self._rules, self._topics = store, source, rules, topics
        self._anchor_topic, self._observer, self._health, self._log = anchor_topic, observer, health, log
        self._horizons = {name: rule.horizon_us for name, rule in rules.items()}
        self._bodies, self._hold = bodies, HoldBack(bodies.most_bytes)
        self._board = FlowBoard()
        self._presence = Presence()
        self._slowest_us: int | None = NOTHING_YET
        self._epoch = ""
        self._positions = Positions(source, {topic: rules[name] for topic, name in topics.items()}, observer, log)
        self._exchanged = self._index_again = 0.0
        self._refused: Retryable | None = None  # what kept events from Redis when they were last sent
        self._flow_at = 0.0
        self.flow = Flow(0)
        self.late = Late()

    def open(self, partition: Partition, lease: int, committed: tuple[int, str], committer: Committer) -> None:
        """Begins a lease of any input partition; a context whose events Redis has lost is read again from before."""
        self._board.open(partition)
        if partition.topic == self._anchor_topic:
            return
        self._know_epoch()
        start = self._positions.start(partition, committed, self._epoch)
        settled = max(committed[0], settled_of(committed[1]))
        committer.open(partition, Ledger(lease, start, note=self._epoch, settled=settled), context=True)
        self._source.seek(partition, start)

    def first_note(self, partition: Partition) -> str:
        """The metadata with which a group without commits begins: of a context, that Redis lacks nothing before it."""
        if partition.topic == self._anchor_topic:
            return ""
        self._know_epoch()
        return self.describe(partition, self._epoch, 0)

    def _know_epoch(self) -> None:
        if not self._epoch:
            self._enter(self._store.epoch())

    def _enter(self, epoch: str) -> None:
        self._epoch = epoch
        self._store.enter(epoch)

    def close(self, partitions: Collection[Partition]) -> None:
        """Ends leases."""
        self._board.close(partitions)
        self._hold.drop(partitions)
        self._positions.close(partitions)
        for partition in partitions:
            self._tell_lag(partition, math.nan)

    def add(self, event: Event) -> None:
        """A valid context event was read."""
        self._hold.add(event)

    def anchor_read(self, event: Event) -> None:
        """A valid anchor was read: its partition has come this far."""
        self._board.read(event.record.lies_on, event.time_us)

    def index(self, committer: Committer) -> Retryable | None:
        """Puts into Redis what may go there now, then lets its offsets be committed. What keeps it from that is given
        back and not raised: while Redis is full, anchors must go on, so that old events may go."""
        if time.monotonic() < self._index_again:
            return self._refused
        if not (events := self._hold.allowed(self._horizons, self._slowest_us)):
            return None
        started = time.perf_counter()
        refused: Retryable | None = None
        try:
            self._store.index(events, self._slowest_us)
        except Full as full:
            self._refused, self._index_again = full, time.monotonic() + INDEX_AGAIN_SECONDS
            refused, events = full, [event for n, event in enumerate(events) if n not in full.refused]
        except Retryable as error:
            self._refused, self._index_again = error, time.monotonic() + INDEX_AGAIN_SECONDS
            return error
        now_ms = self.now_us() // 1000
        for event in events:
            partition = event.record.lies_on
            self._board.indexed(partition, event.record.offset, event.time_us)
            # A producer's clock that is ahead of all others must not hide what Redis loses by the time it is reached.
            self._positions.indexed(partition, min(event.record.timestamp_ms, now_ms))
        self._refused = refused
        self._hold.remove(events)
        self._bodies.keep(events, self._hold.bytes)
        committer.indexed([event.record for event in events])
        self._observer.observe("stage_seconds", time.perf_counter() - started, stage="align")
        return refused

    def exchange(self, unfinished_us: Mapping[Partition, int]) -> bool:
        """Looks at the partitions' ends and tells the others, a few times a second; True when it did."""
        now = time.monotonic()
        if now - self._exchanged < EXCHANGE_EVERY_SECONDS:
            return False
        self._exchanged = now
        self._know_epoch()
        self._board.checked(self._look(now), self._hold.partitions)
        self._clear_targets()
        self._board.stopped(self._hold.stopped(self._board.lag), self.now_us())
        own = self._board.own(
            unfinished_us, self._positions.targets, self._anchor_topic, self.now_us(), self.late.read_us or 0,
            isinstance(self._refused, Full),
        )  # fmt: skip
        flows = [flow for name in self._rules for flow in self.partitions(name)]
        self.flow = self._store.exchange_flow(own, needed_from_us(self._slowest_us, flows, self._rules.values()))
        self._flow_at = time.monotonic()
        self._judge()
        for partition, lag in self._board.lag.items():
            self._tell_lag(partition, lag)
        return True

    def _judge(self) -> None:
        """From everybody's flow: who is absent, which anchors are late, and how far context may go."""
        anchors = self._all(self._anchor_topic)
        streams = {name: self._all(topic) for topic, name in self._topics.items()}
        self._presence.saw(self.flow, [*anchors, *(one for each in streams.values() for one in each)])
        self.late = late_anchors(self.flow, streams, self._rules, self._presence.absent)
        self._slowest_us = slowest_anchor_us(self.flow, anchors, self.late, self._presence.absent)

    def _clear_targets(self) -> None:
        """A rebuild has ended once the partition is read to where it was and nothing of it waits to be indexed."""
        targets = self._positions.targets
        if not targets:
            return
        waiting = {event.record.lies_on for event in self._hold.allowed(self._horizons, self._slowest_us)}
        for partition, target in list(targets.items()):
            read = (self._source.position(partition) or 0) >= target
            if read and self._slowest_us != NOTHING_YET and partition not in waiting:
                del targets[partition]

    def _tell_lag(self, partition: Partition, records: float) -> None:
        """NaN takes the series away: the lag of a lost partition is somebody else's to tell."""
        self._observer.gauge("consumer_lag_records", records, topic=partition.topic, partition=str(partition.number))

    def _look(self, now: float) -> dict[Partition, Checked]:
        now_us = self.now_us()
        return {
            partition: Checked(self._source.position(partition) or 0, end, now_us - int((now - asked_at) * 1e6))
            for partition, (end, asked_at) in self._source.ends().items()
            if now_us and partition in self._board
        }

    def now_us(self) -> int:
        """The Redis server's clock, carried on from the last exchange."""
        return self.flow.now_us + int((time.monotonic() - self._flow_at) * 1e6) if self.flow.now_us else 0

    def same_epoch(self) -> bool:
        """True while Redis is the one that was filled; told with each answer that a decision rests on."""
        return self._store.seen_epoch() == self._epoch

    def lost(self) -> dict[Partition, Ledger | None]:
        """Redis has lost context: from where each partition is read again (CONTRACT 4.7); None: its lease begins
        once it can be asked.

        1. Ask Kafka for all starts; until they are known nothing has changed, and the step may be repeated. Held events
           come again too, whatever their records' timestamps; a lease that has not begun yet begins so by itself.
        2. Enter the new epoch: what was indexed since the loss lies under the old one's names, where nobody looks.
        """
        epoch = self._store.epoch()
        mine = [p for p in self._source.leases if p.topic != self._anchor_topic and p in self._board]
        starts = {partition: self._again_from(partition) for partition in mine}
        self._enter(epoch)
        self.flow, self._slowest_us, self.late, self._refused = Flow(0), NOTHING_YET, Late(), None
        self._observer.count("redis_rebuilds_total")
        self._health.block("rebuilding", "Redis lost context; it is being read again from Kafka")
        for partition in self._source.leases:
            if partition in self._board:
                self._board.open(partition)
        self._hold.drop(starts)
        self._board.close(partition for partition, start in starts.items() if start is None)
        leases = self._source.leases
        return {
            partition: None if start is None else Ledger(leases[partition], start, note=epoch)
            for partition, start in starts.items()
        }

    def _again_from(self, partition: Partition) -> int | None:
        """None: it is absent, and must not keep the others from being read again."""
        position = max(self._source.position(partition) or 0, self._positions.targets.get(partition, 0))
        try:
            start, held = self._positions.before(partition, position), self._hold.first_offset(partition)
        except Retryable:
            if not self._presence.absent(partition):
                raise
            return None
        if held is None:
            return start
        # What was held is held again, and more of it may come first: it is not what Redis has lost.
        self._positions.targets[partition] = min(position, held)
        return min(start, held)

    def filled(self) -> bool:
        """True when every partition of every context stream is in Redis as far as it has been read. Where Redis gets
        full before, that comes only once anchors have left: those may whose key has been filled as far as they need."""
        every = (partition for topic in self._topics for partition in self._all(topic))
        known = (self._presence.absent(p) or rebuilt(self.flow, p) is not None for p in every)
        filled = bool(self.flow.now_us) and all(known)
        if filled:
            self._health.clear("rebuilding")
        return filled or self._is_full

    @property
    def _is_full(self) -> bool:
        """Whether Redis is too full for some worker."""
        return isinstance(self._refused, Full) or any(flow.full for flow in self.flow.partitions.values())

    def partitions(self, stream: str) -> Sequence[PartitionFlow | None]:
        """The flow of all partitions of a context stream; None where unknown. One that is absent counts as read; one
        that is filled again counts as it is told while Redis is full, so that waits for what never came can end."""
        read = PartitionFlow(None, self.flow.now_us, self.flow.now_us)
        known = self.flow.partitions.get if self._is_full else lambda one: rebuilt(self.flow, one)
        return [
            read if self._presence.absent(partition) else known(partition)
            for partition in self._all(self._topic(stream))
        ]

    def absent(self, stream: str) -> bool:
        """True while a partition of a context stream is told of by nobody, so that waits end without it."""
        return any(self._presence.absent(partition) for partition in self._all(self._topic(stream)))

    def counted_us(self, stream: str) -> int:
        """When it was last asked how many partitions a context stream has, by Redis' clock; 0: not yet."""
        counted_at, now_us = self._source.counted_at(self._topic(stream)), self.now_us()
        return now_us - int((time.monotonic() - counted_at) * 1e6) if counted_at and now_us else 0

    def _topic(self, stream: str) -> str:
        return next(topic for topic, name in self._topics.items() if name == stream)

    def describe(self, partition: Partition, epoch: str, settled: int) -> str:
        """The metadata of a context position; `epoch` is the one in which the partition was opened."""
        return self._positions.describe(partition, epoch, settled)

    def holds_back(self, partition: Partition, waiting_us: Mapping[Partition, int]) -> bool:
        """True for an anchor partition that all waiting anchors' context waits for, while none of its own waits: it
        must be read on, however many wait, or nothing would ever move. `waiting_us`: the oldest of each partition."""
        if partition in waiting_us:
            return False
        reached_us = self._board.frontier_us(partition)
        if reached_us is None:
            return True
        late_us = self.late.read_us or 0
        return reached_us >= late_us and all(reached_us < oldest_us for oldest_us in waiting_us.values())

    def _all(self, topic: str) -> list[Partition]:
        return [Partition(topic, number) for number in range(max(self._source.partitions_of(topic), 1))]

    def full(self) -> set[Partition]:
        """The partitions that hold so many events back that they must pause."""
        self._bodies.keep((), self._hold.bytes)
        return self._hold.full()

    @property
    def pressed(self) -> bool:
        """True when reading on would push bodies out of the ring that the slowest anchor may want."""
        return self._bodies.pressed(self._slowest_us, max(rule.before_us for rule in self._rules.values()))
