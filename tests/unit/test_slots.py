"""Slots of the dead are ended beside the leases of the living, however long Kafka is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fakes.context_store import FakeContextStore, FakeServer
from worker.broker import slots
from worker.broker.slots import SlotSink
from worker.errors import Uncertain


class Coordinator:
    """Kafka's side of each slot: away until it is told otherwise."""

    def __init__(self) -> None:
        self.back: dict[int, threading.Event] = {}
        self.asked: list[int] = []
        self.fenced: list[int] = []
        self.refusals = 0

    def sink(self, slot: int) -> Any:
        """A TransactionalSink of this slot."""
        coordinator = self

        class Sink:
            def publish(self, *_: Any) -> None:
                """Takes all."""

            def fence(self) -> None:
                coordinator.asked.append(slot)
                assert coordinator.back.setdefault(slot, threading.Event()).wait(30)
                if coordinator.refusals:
                    coordinator.refusals -= 1
                    raise Uncertain("no answer")
                coordinator.fenced.append(slot)

            def close(self) -> None:
                """Nothing to close."""

        return Sink()


class Counting(FakeContextStore):
    """Counts how often its leases were prolonged."""

    renewals = 0

    def renew_slot(self) -> bool:
        self.renewals += 1
        return super().renew_slot()


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], tuple[Counting, Coordinator, SlotSink]]]:
    """A worker that holds slot 0 beside two dead ones."""
    for name in ("RENEW_EVERY_SECONDS", "REAP_AGAIN_SECONDS"):
        monkeypatch.setattr(slots, name, 0.01)
    monkeypatch.setattr(slots, "STEADY_SECONDS", 0.0)
    made: list[tuple[Coordinator, SlotSink]] = []

    def build() -> tuple[Counting, Coordinator, SlotSink]:
        server, coordinator, failed = FakeServer(), Coordinator(), list[BaseException]()
        store = Counting(server, "w1", {}, {})
        sink = SlotSink(store, coordinator.sink, failed.append)
        made.append((coordinator, sink))
        sink.publish([], {}, None)
        server.known_slots |= {1, 2}
        return store, coordinator, sink

    yield build
    for coordinator, sink in made:
        for slot in (1, 2):
            coordinator.back.setdefault(slot, threading.Event()).set()
        sink.close()


def eventually(found: Callable[[], Any]) -> None:
    """Waits for a condition; AssertionError if it does not come."""
    deadline = time.monotonic() + 20
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_dead_slot_whose_coordinator_is_away_stops_no_lease(pool: Callable[[], Any]) -> None:
    """The living one goes on prolonging its own; else its neighbours would take it for dead, and fence it."""
    store, coordinator, _ = pool()
    eventually(lambda: sorted(coordinator.asked) == [1, 2])
    before = store.renewals
    eventually(lambda: store.renewals > before + 20)
    assert sorted(coordinator.asked) == [1, 2]
    assert store.has_adopted(1)
    coordinator.back.setdefault(2, threading.Event()).set()
    eventually(lambda: coordinator.fenced == [2])
    eventually(lambda: not store.has_adopted(2))
    coordinator.back[1].set()
    eventually(lambda: coordinator.fenced == [2, 1])
    eventually(lambda: store.orphaned_slots() == [] and not store.has_adopted(1))


def test_a_dead_slot_is_tried_until_kafka_answers(pool: Callable[[], Any]) -> None:
    """A transaction left open would hold its readers until it times out."""
    _, coordinator, _ = pool()
    coordinator.refusals = 3
    for slot in (1, 2):
        coordinator.back.setdefault(slot, threading.Event()).set()
    eventually(lambda: sorted(coordinator.fenced) == [1, 2])


def test_a_worker_stops_while_a_dead_slots_coordinator_is_away(pool: Callable[[], Any]) -> None:
    """The slot is another's to end then."""
    _, coordinator, sink = pool()
    eventually(lambda: len(coordinator.asked) == 2)
    stopping = threading.Thread(target=sink.close)
    stopping.start()
    stopping.join(5)
    assert not stopping.is_alive()
