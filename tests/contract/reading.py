"""A topic, and a fetcher on it whose leases a test gives and takes as a group would."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kafka import KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from tests.producers import Producers
from worker.broker.fast_fetcher import FastFetcher
from worker.broker.faults import called
from worker.broker.group_fetcher import GroupFetcher
from worker.broker.starts import Starts
from worker.broker.unpack import strict_consumer
from worker.ports import Fetcher
from worker.records import Partition, Record

KINDS = ("kafka-python", "librdkafka")
FETCH_MAX_BYTES = 2**20
AT_ONCE = 500
PATIENCE_SECONDS = 20.0
NOTHING: Mapping[str, Any] = {}


def by(kind: str, connection: Mapping[str, Any], group_id: str) -> Callable[[GroupFetcher], Fetcher]:
    """What puts the fetcher of that kind in the place of the group's own."""
    if kind == "kafka-python":
        return lambda own: own
    return lambda own: FastFetcher(own, connection, group_id, FETCH_MAX_BYTES, AT_ONCE)


class Reading:
    """One topic of its own; `leases` is what the fetcher is told to hold."""

    def __init__(self, servers: str, kind: str, partitions: int = 1, connection: Mapping[str, Any] = NOTHING) -> None:
        """`connection`: by which the fetcher comes, where it is not the open address `servers`. The consumer that
        stands for the group's comes by that one where librdkafka reads."""
        self.servers, self.topic = servers, f"f{uuid.uuid4().hex[:10]}"
        self.admin(lambda admin: admin.create_topics([NewTopic(self.topic, partitions, 1)]))
        self.producers = Producers(servers)
        plain = {"bootstrap_servers": [servers], "reconnect_backoff_max_ms": 1000}
        given = {**plain, **connection}
        self.consumer = called(
            strict_consumer, **(plain if kind == "librdkafka" else given), group_id=None, enable_auto_commit=False,
            isolation_level="read_committed", auto_offset_reset="none", fetch_max_bytes=FETCH_MAX_BYTES,
            max_partition_fetch_bytes=FETCH_MAX_BYTES, max_poll_records=AT_ONCE, fetch_max_wait_ms=50,
        )  # fmt: skip
        own = GroupFetcher(self.consumer, Starts(self.consumer, "earliest"))
        self.fetcher = by(kind, given, self.topic)(own)
        self.leases: dict[Partition, int] = {}

    def admin(self, ask: Callable[[Any], Any]) -> Any:
        """Asks Kafka's admin."""
        admin = KafkaAdminClient(bootstrap_servers=self.servers)
        try:
            return ask(admin)
        finally:
            admin.close()

    def at(self, number: int) -> Partition:
        """A partition of the topic."""
        return Partition(self.topic, number)

    def hold(self, leases: Mapping[int, int]) -> None:
        """From the next poll on these numbers are held, under these leases; what is new begins at its start."""
        new = [self.at(number) for number in leases if self.at(number) not in self.leases]
        self.leases = {self.at(number): lease for number, lease in leases.items()}
        self.consumer.assign([TopicPartition(*partition) for partition in self.leases])
        self.fetcher.seek_to_start(new)

    def send(self, count: int, number: int = 0, size: int = 0, codec: str | None = None) -> None:
        """Records that say their number in the partition's log, counted by this test alone."""
        for n in range(count):
            self.producers.send(self.topic, b"%d" % n, b"%d:" % n + size * b"x", (), codec, number)
        self.producers.flush()

    def transaction(self, values: Sequence[bytes], commits: bool) -> None:
        """A transaction on partition 0."""
        producer = KafkaProducer(bootstrap_servers=self.servers, transactional_id=f"{self.topic}-{uuid.uuid4().hex}")
        producer.init_transactions()
        producer.begin_transaction()
        for value in values:
            producer.send(self.topic, value=value, partition=0)
        producer.flush()
        (producer.commit_transaction if commits else producer.abort_transaction)()
        producer.close()

    def delete_before(self, offset: int) -> None:
        """What retention does."""
        place = TopicPartition(self.topic, 0)
        self.admin(lambda admin: admin.delete_records({place: offset}))

    def poll(self, seconds: float = 0.05) -> list[Record]:
        """The fetcher's."""
        return self.fetcher.poll(seconds, lambda: self.leases)

    def read(self, count: int) -> list[Record]:
        """Polls until so many have come."""
        found: list[Record] = []
        self.until(lambda: len(found) >= count, found)
        return found

    def until(self, done: Callable[[], object], found: list[Record] | None = None) -> list[Record]:
        """Polls until it is so."""
        came = [] if found is None else found
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not done():
            assert time.monotonic() < deadline, [record.place for record in came][-3:]
            came += self.poll()
        return came

    def error(self) -> Exception:
        """What a poll raises."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                self.poll()
            except Exception as error:  # noqa: BLE001  the test looks at it
                return error
        raise AssertionError("it reads on")

    def close(self) -> None:
        """Ends all."""
        self.fetcher.close()
        self.consumer.close(autocommit=False)
        self.producers.close()


def offsets(records: Iterable[Record], number: int = 0) -> list[int]:
    """Of one partition's records."""
    return [record.offset for record in records if record.partition == number]
