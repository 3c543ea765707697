"""The worker that has read the bodies is killed: its successor has none of them, and gives the same results."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from kafka.admin import KafkaAdminClient
from kafka.errors import CoordinatorNotAvailableError

from tests.chaos.checker import content, findings, undisturbed
from tests.chaos.ground import Ground
from tests.chaos.storm import backlog, settings
from tests.integration.test_bodies import Place, total, until
from tests.town import Town, town
from worker.records import Record


def committed(made: Town, topic: str) -> int:
    """What the group has committed of a topic, all partitions together."""
    with closing(KafkaAdminClient(bootstrap_servers=made.stack.bootstrap_servers)) as admin:
        try:
            found = admin.list_group_offsets({made.name: None})[made.name]
        except CoordinatorNotAvailableError:
            return 0  # the first group makes a new cluster create the topic of offsets
    return sum(at.offset for place, at in found.items() if place.topic == f"{made.name}.{topic}" and at.offset > 0)


@pytest.mark.long
def test_kafka_away_decides_nothing(ground: Ground) -> None:
    """What is wanted is awaited for as long as it takes, is told of, and comes when Kafka does; then more comes."""
    place = Place(ground.bootstrap_servers)
    place.fill(50)
    with closing(place.reader) as reader:
        assert place.read([place.at(0, 7)])
        ground.kafka.stop()
        try:
            wanted = [place.at(number, 45) for number in range(3)]
            reader.want(wanted)
            until(lambda: len(reader.slow) == 3)
            assert reader.arrived() == []
            assert {number for _, number in place.warned} == {0, 1, 2}
        finally:
            ground.kafka.start()
        assert all(isinstance(found, Record) for found in place.read(wanted).values())
        assert all(isinstance(found, Record) for found in place.read([place.at(1, 3)]).values())
        assert not reader.slow
        assert place.failed == []


def test_a_killed_workers_ring_is_not_missed(ground: Ground, tmp_path: Path) -> None:
    """All frames were read and committed by the one that is gone; every large one that is wanted comes from Kafka."""
    events = backlog(41, 400)
    frames = [event for event in events if event.stream == "frames"]
    with town(ground, tmp_path, **settings(ground, limits={"body_cache_bytes": 2**28})) as made:
        made.feed(frames)
        (owner,) = made.start()
        made.read_until(lambda: committed(made, "frames") == len(frames))
        made.kill(owner)
        made.feed([event for event in events if event.stream == "texts"])
        made.start(2)
        made.read_until(lambda: len(made.results) >= 400, 120)
        told = made.metrics()
        assert set(made.stop()) == {0}
        found = findings(events, made)
        assert not found, str(found)
        assert total(told, "kafka") > 100
        assert total(told, "expired") == 0
        assert content(made.raw) == undisturbed(made, 400)


@pytest.mark.long
def test_owners_are_killed_while_bodies_come_from_kafka(ground: Ground, tmp_path: Path) -> None:
    """A ring for a few frames alone, so that most anchors await theirs when their worker ends."""
    events = backlog(43, 400)
    with town(ground, tmp_path, **settings(ground, limits={"body_cache_bytes": 16_000})) as made:
        made.feed(events)
        for least in (20, 120, 240):
            (worker,) = made.start()
            made.read_until(lambda least=least: len(made.results) >= least)  # type: ignore[misc]
            made.kill(worker)
        made.start(2)
        made.read_until(lambda: len(made.results) >= 400, 120)
        assert set(made.stop()) == {0}
        found = findings(events, made)
        assert not found, str(found)
        assert content(made.raw) == undisturbed(made, 400)
