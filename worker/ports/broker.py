"""Kafka: records come in, bodies are read by their places, results and offsets go out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from worker.errors import Poison
from worker.records import Outgoing, Partition, Record, Reference


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll brought. `revoked` was forgotten before `assigned` began; a partition may be in both."""

    records: Sequence[Record] = ()
    assigned: Mapping[Partition, int] = field(default_factory=dict)  # partition -> its new lease
    revoked: frozenset[Partition] = frozenset()


class Source(Protocol):
    """One member of the group over all input topics. Used by one thread.

    Every method that asks Kafka raises Retryable when it does not answer.
    """

    def poll(self, timeout_seconds: float) -> Polled:
        """Waits for records; keeps the membership alive also when every partition is paused.

        Raises:
            Fatal: offsets are gone, access is denied, or a batch cannot be unpacked.
        """

    @property
    def membership(self) -> Any:
        """The group's generation and member id as of the last poll; None before the first join."""

    def refused(self) -> bool:
        """Kafka does not know the member of `membership`; True when it was made to join anew."""

    @property
    def leases(self) -> Mapping[Partition, int]:
        """The partitions held now, each with its lease."""

    def renew_leases(self) -> dict[Partition, int]:
        """Ends every lease and begins new ones: what was read before is forgotten and will be read again."""

    def committed(self, partition: Partition) -> tuple[int, str] | None:
        """What the group has committed, once no transaction is pending on it; None: nothing yet."""

    def begin(self, partition: Partition, metadata: str) -> tuple[int, str]:
        """Commits where a group without commits begins, and gives it back."""

    def commit_later(self, offsets: Mapping[Partition, tuple[int, str]]) -> None:
        """Commits outside any transaction; from any thread, sent by `send_commits`."""

    def send_commits(self) -> None:
        """Sends what `commit_later` left under leases that last."""

    def partitions_of(self, topic: str) -> int:
        """How many partitions a topic has, as far as anybody here knows; 0 while unknown."""

    def counted_at(self, topic: str) -> float:
        """Monotonic seconds when it was last asked how many partitions the topic has; 0.0: never."""

    def position(self, partition: Partition) -> int | None:
        """The next offset that a poll will bring."""

    def ends(self) -> dict[Partition, tuple[int, float]]:
        """Held partition -> (where its log ended, monotonic seconds when that was asked for)."""

    def seek(self, partition: Partition, offset: int) -> None:
        """Reads on from `offset`."""

    def seek_to_start(self, partition: Partition) -> None:
        """Reads on from where a group without commits begins."""

    def first_offset(self, partition: Partition) -> int:
        """The offset of the oldest record that retention has left."""

    def offset_at(self, partition: Partition, timestamp_ms: int) -> int | None:
        """The first offset whose record is as young as `timestamp_ms`; None when there is none."""

    @property
    def paused(self) -> set[Partition]:
        """What is paused now. Nobody else keeps it."""

    def pause(self, partitions: Iterable[Partition]) -> None:
        """No more records of these until resumed; the membership goes on."""

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Records again of these."""


class Fetcher(Protocol):
    """The records of the partitions that a member of the group holds. Used by one thread.

    A partition begins where a group without commits begins, until `seek` says more. One that is kept in a rebalance
    goes on as it was.
    """

    def poll(self, timeout_seconds: float, held: Callable[[], Mapping[Partition, int]]) -> list[Record]:
        """Waits for records. Then `held` tells the partitions and their leases, after a rebalance in this call as well:
        of these, and under these leases, records are given; of others nothing comes any more.

        Raises:
            Retryable: Kafka does not answer. No record is lost by it.
            Fatal: an offset is gone, access is denied, or a batch cannot be unpacked.
        """

    def seek(self, partition: Partition, offset: int) -> None:
        """The next record of it is the first from `offset` on."""

    def seek_to_start(self, partitions: Iterable[Partition]) -> None:
        """Reads on from where a group without commits begins."""

    def position(self, partition: Partition) -> int | None:
        """The next offset that a poll will bring: behind the markers of transactions and what was aborted, where
        nothing else is there. Raises Retryable."""

    @property
    def paused(self) -> set[Partition]:
        """What is paused now."""

    def pause(self, partitions: Iterable[Partition]) -> None:
        """No records of these until resumed."""

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Records again of these, from where they stood."""

    def close(self) -> None:
        """Ends what it has opened itself."""


class Bodies(Protocol):
    """Records that lie in Kafka, by their places; read beside the loop, and no call waits."""

    def want(self, references: Iterable[Reference]) -> None:
        """These are to be read, for as long as it takes."""

    def unwant(self, references: Iterable[Reference]) -> None:
        """Nobody waits for these any more; those that have been read may still arrive."""

    def arrived(self) -> Sequence[tuple[Reference, Record | Poison | None]]:
        """What was read since the last call: None where retention or a deleted topic took it, a Poison of stage DECODE
        where the broker's bytes cannot be unpacked."""

    @property
    def slow(self) -> Collection[Partition]:
        """The partitions of which nothing comes at present, though something is wanted."""


class Sink(Protocol):
    """Publishes records and offsets together (see worker.broker.sink)."""

    def publish(
        self, outgoing: Sequence[Outgoing], offsets: Mapping[Partition, tuple[int, str]], membership: Any
    ) -> None:
        """Raises Retryable (nothing was published) or Uncertain (nobody knows)."""

    def fence(self) -> None:
        """Returns once no earlier transaction of ours can commit any more. Raises Retryable."""

    def close(self) -> None:
        """Ends the producer."""
