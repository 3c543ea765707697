"""Topics gain partitions: every member knows within about a second, and their first records are read."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from tests.contract.reading import KINDS, by
from worker.broker.source import KafkaSource
from worker.errors import Retryable
from worker.records import Partition

# kafka-python alone looks every 30 s (metadata_max_age_ms).
SOON_SECONDS = 30.0


class Place:
    """A topic, and members of one group on it, who read by the same fetcher."""

    def __init__(self, bootstrap_servers: str, kind: str) -> None:
        self.servers, self.topic, self.kind = bootstrap_servers, f"g{uuid.uuid4().hex[:10]}", kind
        self.members: list[KafkaSource] = []
        admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers)
        admin.create_topics([NewTopic(self.topic, 1, 1)])
        admin.close()

    def grow(self, count: int) -> None:
        """The topic has so many partitions from now on."""
        admin = KafkaAdminClient(bootstrap_servers=self.servers)
        admin.create_partitions({self.topic: count})
        admin.close()

    def produce(self, number: int, count: int) -> None:
        """So many records to this partition, by a producer that knows it."""
        producer = KafkaProducer(bootstrap_servers=self.servers)
        for n in range(count):
            producer.send(self.topic, partition=number, value=b"%d" % n)
        producer.flush()
        producer.close()

    def join(self, reset: str) -> KafkaSource:
        """One more member."""
        options = {"group_id": self.topic, "auto_offset_reset": reset, "session_timeout_ms": 6_000}
        options["heartbeat_interval_ms"] = 500
        connection = {"bootstrap_servers": [self.servers]}
        fetcher = by(self.kind, connection, self.topic)
        self.members.append(KafkaSource(connection, options, [self.topic], lambda gone: None, fetcher))
        return self.members[-1]

    def held(self) -> set[int]:
        """The partitions that the members hold."""
        return {partition.number for member in self.members for partition in member.leases}

    def until(self, found: Callable[[], object]) -> None:
        """Polls all members until it is so, asked once in twenty polls: an answer may take seconds in a rebalance."""
        deadline = time.monotonic() + SOON_SECONDS
        while not found():
            assert time.monotonic() < deadline
            for member in 20 * self.members:
                member.poll(0.02)

    def begun(self, number: int) -> int:
        """Where its holder begins a partition; asked again, as the worker does, while the group is in a rebalance."""
        found: list[int] = []

        def begin() -> bool:
            try:
                found.extend(m.begin(self.at(number), "")[0] for m in self.members if self.at(number) in m.leases)
            except Retryable:
                return False
            return bool(found)

        self.until(begin)
        return found[0]

    def at(self, number: int) -> Partition:
        """One of its partitions."""
        return Partition(self.topic, number)

    def leave(self) -> None:
        """All members leave."""
        for member in self.members:
            member.close()
        self.members.clear()


@pytest.fixture(params=KINDS)
def place(stack: Any, request: pytest.FixtureRequest) -> Iterator[Place]:
    made = Place(stack.bootstrap_servers, request.param)
    yield made
    made.leave()


def test_every_member_knows_a_new_partition_at_once(place: Place) -> None:
    """Also one that belongs to somebody else; and how fresh its knowledge is."""
    first, second = place.join("earliest"), place.join("earliest")
    place.until(lambda: place.held() == {0} and all(m.counted_at(place.topic) for m in place.members))
    asked = [member.counted_at(place.topic) for member in place.members]
    assert [member.partitions_of(place.topic) for member in place.members] == [1, 1]
    assert first.counted_at("another") == 0.0
    place.grow(3)
    place.until(lambda: [member.partitions_of(place.topic) for member in place.members] == [3, 3])
    place.until(lambda: place.held() == {0, 1, 2})
    assert all(member.counted_at(place.topic) > at for member, at in zip((first, second), asked, strict=True))


def test_a_new_partition_is_read_from_its_first_record(place: Place) -> None:
    """Whatever `auto_offset_reset` says: the group is at work on the topic, and its producers were quicker."""
    place.produce(0, 5)
    place.join("latest")
    place.until(lambda: place.held() == {0})
    assert place.begun(0) == 5
    place.grow(2)
    place.produce(1, 7)
    place.until(lambda: place.held() == {0, 1})
    assert place.begun(1) == 0


def test_a_partition_that_is_new_since_the_group_last_ran_is_read_from_its_first_record(place: Place) -> None:
    """Nobody was there to see it grow."""
    place.join("latest")
    place.until(lambda: place.held() == {0})
    place.begun(0)
    place.leave()
    place.grow(2)
    place.produce(1, 7)
    place.join("latest")
    place.until(lambda: place.held() == {0, 1})
    assert place.begun(1) == 0


def test_the_first_start_of_a_group_begins_where_it_is_told(place: Place) -> None:
    """With two members, of which one has committed before the other begins."""
    place.grow(2)
    for number in (0, 1):
        place.produce(number, 4)
    for _ in range(2):
        place.join("latest")
    place.until(lambda: place.held() == {0, 1} and all(member.leases for member in place.members))
    assert [place.begun(number) for number in (0, 1)] == [4, 4]
