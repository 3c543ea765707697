"""A member that the group has evicted and that joined again begins its leases anew."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition

from worker.broker import assignor
from worker.broker import source as room
from worker.records import Partition

A, B = TopicPartition("texts", 0), TopicPartition("texts", 1)
ENDS = SimpleNamespace(close=lambda: None, count=lambda topic: (0, 0.0), topic_id=lambda topic: None)


class StubConsumer:
    """A client that gives the same partitions again under another member id, without a word."""

    def __init__(self, **_: Any) -> None:
        self.held, self.listener = {A, B}, None
        self.commits: list[dict[int, int]] = []
        self._fetcher = SimpleNamespace(_next_partition_records=None)
        self._cluster = SimpleNamespace(topic_id=lambda topic: None, partitions_for_topic=lambda topic: {0, 1})
        self._subscription = SimpleNamespace(assignment={})
        self.rejoins: list[bool] = []
        self._coordinator = SimpleNamespace(request_rejoin=lambda: self.rejoins.append(True))
        self.apply("m1", 7)

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: ()

    def subscribe(self, topics: list[str], listener: Any) -> None:
        self.listener = listener

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {0, 1}

    def assignment(self) -> set[TopicPartition]:
        return self.held

    def apply(self, member: str, generation: int) -> None:
        self._coordinator.applied = SimpleNamespace(generation_id=generation, member_id=member)

    def poll(self, timeout_ms: int) -> dict[Any, Any]:
        return {}

    def commit(self, offsets: Any, timeout_ms: int) -> None:
        self.commits.append({tp.partition: meta.offset for tp, meta in offsets.items()})


def test_another_member_id_ends_every_lease_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others had the partitions in between; what was read under the old leases must not be published."""
    monkeypatch.setattr(room, "strict_consumer", StubConsumer)
    monkeypatch.setattr(room, "EndsWatch", lambda *_: ENDS)
    heard: list[tuple[frozenset[Partition], str]] = []
    made = room.KafkaSource(
        {}, {"auto_offset_reset": "earliest", "group_id": "g"}, ["texts"],
        lambda gone: heard.append((gone, made.membership.member_id)),
    )  # fmt: skip
    client: Any = made._consumer
    client.listener.on_partitions_assigned([A, B])
    first = made.poll(0).assigned
    client.apply("m2", 8)
    client.held = {A}
    again = made.poll(0)
    assert heard == [({Partition("texts", 0), Partition("texts", 1)}, "m1")]
    assert again.revoked == first.keys()
    assert again.assigned.keys() == {Partition("texts", 0)}
    assert again.assigned[Partition("texts", 0)] != first[Partition("texts", 0)]
    assert made.membership.member_id == "m2"
    assert made.poll(0).revoked == frozenset()


def test_a_commit_of_a_lease_that_is_over_is_not_sent_under_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another member owned the partition in between and committed further: its records would be read again."""
    monkeypatch.setattr(room, "strict_consumer", StubConsumer)
    monkeypatch.setattr(room, "EndsWatch", lambda *_: ENDS)
    made = room.KafkaSource({}, {"auto_offset_reset": "earliest", "group_id": "g"}, ["texts"], lambda gone: None)
    client: Any = made._consumer
    client.listener.on_partitions_assigned([A, B])
    made.poll(0)
    made.commit_later({Partition("texts", 0): (7, ""), Partition("texts", 1): (8, "")})
    client.listener.on_partitions_revoked([A])
    client.listener.on_partitions_assigned([A])
    made.poll(0)
    made.send_commits()
    made.commit_later({Partition("texts", 0): (20, ""), Partition("other", 0): (1, "")})
    made.send_commits()
    assert client.commits == [{1: 8}, {0: 20}]


def test_a_leader_asks_for_the_rebalance_that_nobody_else_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member of the release before claims what it does not hold, and gives nothing up: what is left would wait on."""
    monkeypatch.setattr(room, "strict_consumer", StubConsumer)
    monkeypatch.setattr(room, "EndsWatch", lambda *_: ENDS)
    made = room.KafkaSource({}, {"auto_offset_reset": "earliest", "group_id": "g"}, ["texts"], lambda gone: None)
    client: Any = made._consumer
    told = made._assignor.metadata(["texts"])
    told.owned_partitions = [type(told).TopicPartition(topic="texts", partitions=[0])]
    members = [SimpleNamespace(member_id=name, metadata=told) for name in ("m1", "m2")]
    made._assignor.assign(client._cluster, members)
    made._assignor.on_assignment(None, 7)
    made.poll(0)
    assert client.rejoins == []
    monkeypatch.setattr(assignor, "FOLLOW_UP_SECONDS", 0.0)
    made.poll(0)
    assert client.rejoins == [True]
    made._assignor.metadata(["texts"])
    made.poll(0)
    assert client.rejoins == [True]
