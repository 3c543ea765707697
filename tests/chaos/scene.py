"""A topic that is read, one that is written, a group, and who looks on: for the traps of the client and the broker."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from tests.chaos.ground import Ground
from worker.broker.admin import NewTopic, create_topics
from worker.broker.sink import TransactionalSink
from worker.broker.source import KafkaSource
from worker.records import Outgoing, Partition

# So long that a test which passes cannot owe it to the timeout.
TRANSACTION_SECONDS = 55.0
PATIENCE_SECONDS = 20.0


class Scene:
    """A topic to read from, a topic to write to, a group, and what a reader of committed records sees."""

    def __init__(self, ground: Ground) -> None:
        self.name = f"f{uuid.uuid4().hex[:8]}"
        self.connection = {"bootstrap_servers": ground.bootstrap_servers}
        self.input, self.output = Partition(f"{self.name}.in", 0), Partition(f"{self.name}.out", 0)
        topics = [NewTopic(place.topic, 1, 1) for place in (self.input, self.output)]
        create_topics({"bootstrap_servers": [ground.bootstrap_servers]}, topics, 30.0)
        producer = KafkaProducer(**self.connection)
        for number in range(20):
            producer.send(self.input.topic, str(number).encode())
        producer.close()
        self._reader = KafkaConsumer(isolation_level="read_committed", **self.connection)
        self._reader.assign([TopicPartition(self.output.topic, 0)])
        self._reader.seek_to_beginning()
        self.seen: list[bytes] = []

    def sink(self, slot: int = 0, timeout_seconds: float = 5.0) -> TransactionalSink:
        """A sink with this slot's id."""
        return TransactionalSink(self.connection, f"{self.name}-{slot}", TRANSACTION_SECONDS, timeout_seconds)

    def member(self) -> KafkaSource:
        """A member of the group that holds the input."""
        options = {"group_id": self.name, "auto_offset_reset": "earliest", "session_timeout_ms": 6000}
        source = KafkaSource(self.connection, options, [self.input.topic], lambda partitions: None)
        eventually(lambda: source.poll(0.1) and source.leases)
        return source

    def out(self, value: bytes) -> list[Outgoing]:
        """A record to be published."""
        return [Outgoing(self.output.topic, b"k", value)]

    def sees(self, value: bytes) -> Callable[[], bool]:
        """Whether a reader of committed records has come to this one."""

        def look() -> bool:
            for batch in self._reader.poll(timeout_ms=100).values():
                self.seen += [record.value for record in batch]
            return value in self.seen

        return look

    def leave_open(self, sink: TransactionalSink, value: bytes) -> None:
        """What a worker leaves that is killed after it has sent and before it has committed."""
        sink.fence()
        sink._producer.begin_transaction()
        sink._producer.send(self.output.topic, value).get(timeout=10)


def eventually(found: Callable[[], Any]) -> Any:
    """The first true answer; AssertionError if none comes."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (answer := found()):
        assert time.monotonic() < deadline, "it did not come to pass"
    return answer
