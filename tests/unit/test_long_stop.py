"""What expires in Redis while nothing goes on is read again, or kept: a pool that is down, a Kafka that is away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.fakes.context_store import FakeServer
from tests.fakes.source import FakeSource
from tests.unit.worker_in_memory import FRAMES, RULE, TEXTS, InMemory, reading, text
from worker.flows import PartitionFlow
from worker.pipeline import progress
from worker.pipeline.needed import needed_from_us
from worker.records import Partition
from worker.stages.hold import NOTHING_YET

HOUR_US = 3_600_000_000


class Town:
    """One server, one log, and workers that come one after the other."""

    def __init__(self) -> None:
        self.server, self.source = FakeServer(), FakeSource({TEXTS: 1, FRAMES: 1})
        self.now_us = 1_800_000_000_000_000
        self.made: list[InMemory] = []

    def worker(self) -> InMemory:
        """The next owner of all partitions."""
        self.source.leases = {}
        made = InMemory(self.source, self.server)
        made.clock_us = lambda: self.now_us
        self.made.append(made)
        return made

    def is_indexed(self) -> bool:
        return any(entity.records for entity in self.server.entities.values())


@pytest.fixture
def town(monkeypatch: pytest.MonkeyPatch) -> Iterator[Town]:
    """Partitions' progress is exchanged in every turn."""
    monkeypatch.setattr(progress, "EXCHANGE_EVERY_SECONDS", 0.0)
    made = Town()
    yield made
    for worker in made.made:
        worker.close()


def test_an_hours_stop_loses_no_match(town: Town) -> None:
    """The frame was read and committed, its text comes after the pool was down for long."""
    first = town.worker()
    town.source.send(reading(0))
    assert first.turn_until(town.is_indexed)
    assert first.turn_until(lambda: town.source.commits[Partition(FRAMES, 0)][0] == 1)
    town.now_us += HOUR_US
    town.source.send(text(0))
    second = town.worker()
    assert second.turn_until(lambda: len(second.sink.results) == 1)
    assert second.sink.results[0]["missing"] == {}


def test_an_hour_without_records_loses_no_match(town: Town) -> None:
    """Kafka is away, or nobody sends: the worker turns, and keeps what a text may still want."""
    worker = town.worker()
    town.source.send(reading(0))
    assert worker.turn_until(town.is_indexed)
    epoch = worker.store.epoch()

    def an_hour_later(until_us: int = town.now_us + HOUR_US) -> bool:
        town.now_us += 30_000_000
        return town.now_us > until_us

    assert worker.turn_until(an_hour_later)
    town.source.send(text(0))
    assert worker.turn_until(lambda: len(worker.sink.results) == 1)
    assert worker.sink.results[0]["missing"] == {}
    assert worker.store.epoch() == epoch


@pytest.mark.parametrize(
    ("slowest_us", "frontiers", "expected"),
    [
        (NOTHING_YET, [100], None),
        (None, [10_000, None], 10_000 - 1_040 - 10),
        (9_990, [10_000], 10_000 - 1_040 - 10),
        (500, [10_000, 20_000], 490),
        (None, [None], 0),
    ],
)
def test_what_is_needed(slowest_us: int | None, frontiers: list[int | None], expected: int | None) -> None:
    """By the slowest anchor, and no later than what is kept behind the context that was read."""
    rule = replace(RULE, horizon_us=1_000, before_us=10, after_us=20, lateness_us=10)
    flows = [PartitionFlow(frontier, None, None) for frontier in frontiers]
    assert needed_from_us(slowest_us, flows, [rule]) == expected
    assert needed_from_us(slowest_us, [*flows, None], [rule]) is None
