"""The group's members over real Kafka: equal partitions of equal topics lie on one of them, and all are held."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from tests.contract.reading import KINDS, by
from worker.broker import source as room
from worker.broker.source import KafkaSource

PATIENCE_SECONDS = 60.0
OPTIONS = {"auto_offset_reset": "earliest", "session_timeout_ms": 6_000, "heartbeat_interval_ms": 300}
Held = set[tuple[str, int]]


class Crew:
    """Members of one group over two topics, polled by turns; they read by one fetcher and the other in turn."""

    def __init__(self, bootstrap_servers: str, texts: int, frames: int) -> None:
        self.servers, self.group = [bootstrap_servers], f"c{uuid.uuid4().hex[:10]}"
        self.sizes = {f"{self.group}.texts": texts, f"{self.group}.frames": frames}
        self.members: list[KafkaSource] = []
        admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers)
        admin.create_topics([NewTopic(topic, size, 1) for topic, size in self.sizes.items()])
        admin.close()

    def join(self, count: int) -> None:
        """More members."""
        for _ in range(count):
            options = {**OPTIONS, "group_id": self.group}
            connection = {"bootstrap_servers": self.servers}
            fetcher = by(KINDS[len(self.members) % len(KINDS)], connection, self.group)
            self.members.append(KafkaSource(connection, options, list(self.sizes), lambda gone: None, fetcher))

    def held(self) -> list[Held]:
        """What each member holds."""
        return [{(partition.topic, partition.number) for partition in member.leases} for member in self.members]

    def until(self, found: Callable[[], bool]) -> None:
        """Polls all until it is so."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not found():
            assert time.monotonic() < deadline, self.held()
            for member in self.members:
                member.poll(0.02)

    def complete(self) -> bool:
        """Everything is held once, and everybody has something."""
        held = self.held()
        every = Counter(place for one in held for place in one)
        return all(held) and every == Counter((t, n) for t, size in self.sizes.items() for n in range(size))

    def co_located(self) -> bool:
        """Each number of both topics is on one member."""
        numbers = [[n for topic, n in one if topic.endswith("texts")] for one in self.held()]
        others = [[n for topic, n in one if topic.endswith("frames")] for one in self.held()]
        return list(map(sorted, numbers)) == list(map(sorted, others))

    def leave(self) -> None:
        """All leave."""
        for member in self.members:
            member.close()


@pytest.fixture
def crew(stack: Any) -> Iterator[Callable[[int, int], Crew]]:
    """Makes a group with topics of its own."""
    made: list[Crew] = []

    def make(texts: int, frames: int) -> Crew:
        made.append(Crew(stack.bootstrap_servers, texts, frames))
        return made[-1]

    yield make
    for one in made:
        one.leave()


def test_equal_partitions_lie_on_one_member(crew: Callable[[int, int], Crew]) -> None:
    """Of topics with four partitions each, over three members, and after one of them has left."""
    group = crew(4, 4)
    group.join(3)
    group.until(lambda: group.complete() and group.co_located())
    assert sorted(map(len, group.held())) == [2, 2, 4]
    assert max(member.membership.generation_id for member in group.members) < 12, "rebalances follow each other"
    group.members.pop(0).close()
    group.until(lambda: group.complete() and group.co_located())
    assert sorted(map(len, group.held())) == [4, 4]


def test_partitions_of_unequal_topics_are_all_held(crew: Callable[[int, int], Crew]) -> None:
    """Three and four, over three members: none has two more than another."""
    group = crew(3, 4)
    group.join(3)
    group.until(group.complete)
    assert sorted(map(len, group.held())) == [2, 2, 3]


class Before(CooperativeStickyAssignor):  # type: ignore[misc]
    """The client's own assignor, as the releases before decision 30 used it."""

    def overdue(self) -> bool:
        """It does not know."""
        return False


def test_an_update_one_by_one_keeps_everything_held_and_ends_co_located(
    crew: Callable[[int, int], Crew], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members of the release before leave as those of this one come; both are one group under one protocol name."""
    group = crew(4, 4)
    with monkeypatch.context() as patch:
        patch.setattr(room, "CoLocatingAssignor", Before)
        group.join(2)
    group.until(group.complete)
    for _ in range(2):
        group.join(1)
        group.until(group.complete)
        group.members.pop(0).close()
        group.until(group.complete)
    group.until(lambda: group.complete() and group.co_located())
