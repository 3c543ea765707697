"""Kafka topics -> Polled records, with the group's generation as it was when they were polled (KIP-447)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kafka.structs import OffsetAndMetadata

from worker.broker.assignor import CoLocatingAssignor
from worker.broker.ends import EndsWatch
from worker.broker.faults import GONE, called
from worker.broker.group_fetcher import CALL_TIMEOUT_MS, GroupFetcher, partition_of, topic_partition
from worker.broker.rebalance import Evictions, RebalanceListener, membership_of
from worker.broker.starts import Starts
from worker.broker.unpack import strict_consumer
from worker.errors import Fatal, Retryable
from worker.ports import Fetcher, Polled
from worker.records import Partition

# One partition may fill a whole fetch: at the client's 1 MiB a poll of 30 KB frames costs 8 times as much (PARTS 12).
MAX_PARTITION_FETCH_BYTES = 8 * 2**20
# Commits come within milliseconds, or not before a transaction has ended: the loop looks after the others meanwhile.
COMMITTED_TIMEOUT_MS = 1_000


class KafkaSource:
    """One member of the group over all input topics (see `CoLocatingAssignor`). Used by one thread.

    `on_revoked` is called inside the rebalance, before any other member can be given those partitions.
    """

    def __init__(
        self,
        connection: Mapping[str, Any],
        options: Mapping[str, Any],
        topics: Sequence[str],
        on_revoked: Callable[[frozenset[Partition]], None],
        fetcher: Callable[[GroupFetcher], Fetcher] = lambda group: group,
    ) -> None:
        """`connection` and `options`: kafka-python options to reach the brokers, and for the group member; `fetcher`
        puts another in the place of the group's own.

        Raises:
            Retryable: no broker answers.
        """
        self._assignor = CoLocatingAssignor()
        self._listener = RebalanceListener(on_revoked, lambda new: self._fetcher.seek_to_start(map(partition_of, new)))
        self._leases, self._next_lease = dict[Partition, int](), 0
        self._assigned, self._revoked = dict[Partition, int](), set[Partition]()
        self._membership: Any = None
        self._topic_ids: dict[str, Any] = {}
        self._commits: dict[tuple[Partition, int], OffsetAndMetadata] = {}  # by partition and lease
        self._committing = threading.Lock()
        self._consumer = called(
            strict_consumer,
            enable_auto_commit=False,
            isolation_level="read_committed",
            partition_assignment_strategy=(self._assignor,),
            max_partition_fetch_bytes=MAX_PARTITION_FETCH_BYTES,
            allow_auto_create_topics=False,
            metadata_max_age_ms=30_000,
            **connection,
            # Offsets that are gone are an error, not a reason to begin elsewhere in silence (see `RebalanceListener`).
            **{**options, "auto_offset_reset": "none"},
        )
        self._assignor.held = self._consumer.assignment
        self._starts = Starts(self._consumer, options["auto_offset_reset"])
        self._fetcher = fetcher(GroupFetcher(self._consumer, self._starts))
        self._consumer.subscribe(topics=list(topics), listener=self._listener)
        self._ends = EndsWatch(connection, topics)
        self._evictions = Evictions(self._consumer)
        try:
            self._know(topics)
            called(self._starts.know, connection, options["group_id"], {one: self._known(one) for one in topics})
        except Retryable:
            self.close()
            raise

    def _know(self, topics: Sequence[str]) -> None:
        """A member that leads the group before it knows the topics assigns nothing to anybody, for good."""
        deadline = time.monotonic() + CALL_TIMEOUT_MS / 1000
        while not all(called(self._consumer.partitions_for_topic, topic) for topic in topics):
            if time.monotonic() > deadline:
                raise Retryable(f"Kafka does not tell the partitions of {', '.join(topics)}")

    def poll(self, timeout_seconds: float) -> Polled:
        """Waits for records; keeps the membership alive also when every partition is paused.

        Raises:
            Retryable: the broker did not answer.
            Fatal: offsets are gone (retention passed the committed offset), access is denied, or a batch cannot be
                unpacked.
        """
        self._grow()
        records = self._fetcher.poll(timeout_seconds, self._held)
        assigned, self._assigned = self._assigned, {}
        revoked, self._revoked = frozenset(self._revoked), set()
        return Polled(records, assigned, revoked)

    def _held(self) -> Mapping[Partition, int]:
        """The leases as the group has them now; what has changed is told by the poll that brings records."""
        self._same_topics()
        self._know_membership()
        revoked, assigned = self._listener.drain()
        self._revoked |= revoked
        for partition in revoked:
            self._leases.pop(partition, None)
            self._assigned.pop(partition, None)
        for partition in assigned:
            self._next_lease += 1
            self._assigned[partition] = self._leases[partition] = self._next_lease
        return self._leases

    def _know_membership(self) -> None:
        """Under another member id every lease is over, before anything can be published in its name.

        kafka-python 3.0.12 does not tell of it when the group has evicted this member during a rebalance and gives it
        the same partitions again: others had them in between, and have committed.
        """
        metadata = membership_of(self._consumer)
        if self._assignor.overdue():
            self._consumer._coordinator.request_rejoin()
        if self._membership is not None and self._membership.member_id != metadata.member_id:
            self._listener.evicted(self._leases, map(partition_of, self._consumer.assignment()))
        self._membership = metadata

    def _same_topics(self) -> None:
        """A topic that was deleted and made again has another id; that its offsets begin again the numbers may hide.
        A client that fetches nothing hears of it late; the watch on the ends asks all the time."""
        for topic in self._consumer.subscription() or ():
            for now in (self._consumer._cluster.topic_id(topic), self._ends.topic_id(topic)):
                if now is not None and self._topic_ids.setdefault(topic, now) != now:
                    raise Fatal(f"{topic}: {GONE}")

    @property
    def membership(self) -> Any:
        """The group's generation and member id, of the last poll that left this member with its partitions of that
        generation; None before the first join.

        Never asked for at commit time: once `max_poll_interval` has passed the client hands out generation -1,
        which the broker accepts unchecked even while another member owns the partition (PARTS 0.1).
        """
        return self._membership

    def refused(self) -> bool:
        """Kafka does not know the member of `membership`; True when it was made to join anew."""
        return self._evictions.refused(self._membership.member_id)

    @property
    def leases(self) -> Mapping[Partition, int]:
        """The partitions held now, each with its lease."""
        return self._leases

    def renew_leases(self) -> dict[Partition, int]:
        """Ends every lease and begins new ones: what was read before is forgotten and will be read again."""
        for partition in self._leases:
            self._next_lease += 1
            self._leases[partition] = self._next_lease
        return dict(self._leases)

    def committed(self, partition: Partition) -> tuple[int, str] | None:
        """What the group has committed for a partition, once no transaction is pending on it; None: nothing yet.

        kafka-python 3.0.12 keeps the answer of a request that ran into its timeout for the next one who asks for the
        same partitions, however much later; so an unfinished request is forgotten first.

        Raises:
            Retryable: Kafka is away, or a transaction is pending.
        """
        tp = topic_partition(partition)
        self._consumer._coordinator._offset_fetch_futures.pop(frozenset([tp]), None)
        try:
            found = called(self._consumer.committed, tp, metadata=True, timeout_ms=COMMITTED_TIMEOUT_MS)
        except Retryable as error:
            raise Retryable(
                f"what the group has committed for {partition.topic}/{partition.number} cannot be read: a transaction "
                f"holds it, or Kafka is away ({error}); if it lasts, see 'hanging transaction' in the runbook"
            ) from error
        return None if found is None or found.offset < 0 else (found.offset, found.metadata or "")

    def begin(self, partition: Partition, metadata: str) -> tuple[int, str]:
        """Commits where a group without commits begins. Its next owner would else begin anew: with `latest` behind
        what was read and has no outcome yet. Raises Retryable."""
        self.seek_to_start(partition)
        offset = self.position(partition)
        if offset is None:
            raise Retryable(f"Kafka does not tell where {partition.topic}/{partition.number} begins")
        self.commit_later({partition: (offset, metadata)})
        self.send_commits()
        return offset, metadata

    def partitions_of(self, topic: str) -> int:
        """How many partitions a topic has, as far as anybody here knows; 0 while unknown."""
        return max(self._known(topic), self._ends.count(topic)[0])

    def counted_at(self, topic: str) -> float:
        """Monotonic seconds when it was last asked how many partitions the topic has; 0.0: never."""
        return self._ends.count(topic)[1]

    def _known(self, topic: str) -> int:
        return len(self._consumer._cluster.partitions_for_topic(topic) or ())

    def _grow(self) -> None:
        """The member that leads the group gives new partitions to somebody as soon as its own client knows of them."""
        if any(self._known(topic) < self._ends.count(topic)[0] for topic in self._consumer.subscription() or ()):
            self._consumer._cluster.request_update()

    def position(self, partition: Partition) -> int | None:
        """The next offset that a poll will bring."""
        return self._fetcher.position(partition)

    def ends(self) -> dict[Partition, tuple[int, float]]:
        """Held partition -> (where its log ended, monotonic seconds when that was asked for)."""
        self._ends.watch(self._leases)
        return {partition: found for partition, found in self._ends.latest().items() if partition in self._leases}

    def seek(self, partition: Partition, offset: int) -> None:
        """Reads on from `offset`."""
        self._fetcher.seek(partition, offset)

    def seek_to_start(self, partition: Partition) -> None:
        """Reads on from where a group without commits begins."""
        self._fetcher.seek_to_start([partition])

    def first_offset(self, partition: Partition) -> int:
        """The offset of the oldest record that retention has left."""
        tp = topic_partition(partition)
        return int(called(self._consumer.beginning_offsets, [tp], timeout_ms=CALL_TIMEOUT_MS)[tp])

    def offset_at(self, partition: Partition, timestamp_ms: int) -> int | None:
        """The first offset whose record is as young as `timestamp_ms`; None when there is none."""
        tp = topic_partition(partition)
        found = called(self._consumer.offsets_for_times, {tp: max(0, timestamp_ms)}, timeout_ms=CALL_TIMEOUT_MS)
        return int(found[tp].offset) if found.get(tp) is not None else None

    @property
    def paused(self) -> set[Partition]:
        """What is paused now."""
        return self._fetcher.paused

    def pause(self, partitions: Iterable[Partition]) -> None:
        """No more records of these until resumed; the membership goes on."""
        self._fetcher.pause(partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Records again of these."""
        self._fetcher.resume(partitions)

    def commit_later(self, offsets: Mapping[Partition, tuple[int, str]]) -> None:
        """Commits outside any transaction (at_least_once); from any thread, sent by `send_commits`."""
        with self._committing:
            for partition, (offset, metadata) in offsets.items():
                self._commits[partition, self._leases.get(partition, 0)] = OffsetAndMetadata(offset, metadata, -1)

    def send_commits(self) -> None:
        """Sends what `commit_later` left under leases that last: after another owner it would go back."""
        with self._committing:
            commits, self._commits = self._commits, {}
        held = {topic_partition(p): meta for (p, lease), meta in commits.items() if self._leases.get(p) == lease}
        if held:
            called(self._consumer.commit, held, timeout_ms=CALL_TIMEOUT_MS)

    def close(self) -> None:
        """Leaves the group."""
        self._ends.close()
        self._fetcher.close()
        self._consumer.close(autocommit=False, timeout_ms=CALL_TIMEOUT_MS)
