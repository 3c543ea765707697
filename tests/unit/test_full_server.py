"""A Redis that takes no more: anchors get what they wait for all the same, and reading goes on when there is room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.context_store import FakeServer
from tests.fakes.source import FakeSource
from tests.unit.worker_in_memory import FRAMES, TEXTS, InMemory, reading, text, workers
from worker.pipeline import progress
from worker.records import Partition


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemory]:
    """Of a server that is full from the beginning."""
    monkeypatch.setattr(progress, "EXCHANGE_EVERY_SECONDS", 0.0)
    made = InMemory(FakeSource({TEXTS: 1, FRAMES: 1}), FakeServer())
    made.server.full = True
    yield made
    made.close()


def test_anchors_go_on_though_the_server_is_full(worker: InMemory) -> None:
    """Each gets its own reading, and what none can want any more is given up."""
    for second in range(20):
        worker.source.send(reading(second * 1_000_000))
        worker.source.send(text(second * 1_000_000))
    assert worker.turn_until(lambda: len(worker.sink.results) >= 19, 10.0)
    assert [result["missing"] for result in worker.sink.results[:19]] == [{}] * 19
    assert [result["inputs"]["sensors"]["delta_ms"] for result in worker.sink.results[:19]] == [0] * 19
    assert sum(len(entity.records) for entity in worker.server.entities.values()) < 20


def test_what_was_refused_goes_in_when_there_is_room(worker: InMemory) -> None:
    """Nothing of it is lost."""
    worker.source.send(reading(0))
    worker.source.send(reading(1_000_000))
    worker.turn_until(lambda: False, 0.1)
    worker.server.full = False
    assert worker.turn_until(lambda: sum(len(e.records) for e in worker.server.entities.values()) == 2)
    worker.source.send(text(0))
    assert worker.turn_until(lambda: len(worker.sink.results) == 1)
    assert worker.sink.results[0]["missing"] == {}


def test_a_server_filled_again_that_gets_full_on_the_way_does_not_stand_still(worker: InMemory) -> None:
    """What it refuses can only go in once anchors have left, and they may: what they wait for is taken all the same."""
    worker.server.full = False
    for second in range(4):
        worker.source.send(reading(second * 1_000_000))
    assert worker.turn_until(lambda: worker.source.commits.get(Partition(FRAMES, 0), (0, ""))[0] == 4)
    worker.server.empty()
    worker.server.full = True
    for second in range(4):
        worker.source.send(text(second * 1_000_000))
    assert worker.turn_until(lambda: len(worker.sink.results) >= 3)
    assert [result["inputs"]["sensors"]["offset"] for result in worker.sink.results][:3] == [0, 1, 2]


def test_who_has_nothing_left_to_put_in_does_not_tell_of_a_full_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """While anybody tells so, waits end without what is still read again: what was refused is another worker's now."""
    monkeypatch.setattr(progress, "EXCHANGE_EVERY_SECONDS", 0.0)
    server, refused, kept = FakeServer(), Partition(FRAMES, 0), Partition(FRAMES, 1)
    server.full = True

    def told() -> bool:
        flow = server.flows[server.epoch].get(kept)
        return flow is not None and flow.full

    with workers() as make:
        worker = make(FakeSource({TEXTS: 1, FRAMES: 2}), server)
        worker.source.send(reading(0))
        assert worker.turn_until(told)
        worker.source.revoke(refused)
        assert worker.turn_until(lambda: not told())
