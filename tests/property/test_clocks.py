"""Whatever clocks the sources have, and however their events interleave, right sources get their pairs and all end."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.context_store import FakeServer
from tests.fakes.source import FakeSource
from tests.unit.worker_in_memory import FRAMES, TEXTS, InMemory, reading, text
from worker.pipeline import progress
from worker.records import Record

HOUR_US, SECOND_US = 3_600_000_000, 1_000_000
ANCHORS = 40
CLOCKS = st.sampled_from([0, 0, -3 * HOUR_US, -90 * SECOND_US, 20 * SECOND_US, 2000 * SECOND_US])


def logs(seed: int, clocks: list[tuple[int, int]]) -> list[Record]:
    """Per source, a key, texts and frames a second apart by the clocks of its text source and its camera; every log in
    the order of the wall, with some jitter between sources."""
    rng, events = random.Random(seed), []
    for number, (text_us, camera_us) in enumerate(clocks):
        place = {"key": f"k{number}", "partition": number % 2}
        for second in range(ANCHORS):
            wall = second + rng.random()
            events.append((wall, text(second * SECOND_US + text_us, **place)))  # type: ignore[arg-type]
            events.append((wall + 0.1, reading(second * SECOND_US + camera_us, **place)))  # type: ignore[arg-type]
    return [record for _, record in sorted(events, key=lambda event: event[0])]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    clocks=st.lists(st.tuples(CLOCKS, CLOCKS), min_size=1, max_size=5),
    poll=st.sampled_from([3, 20, 500]),
    live=st.booleans(),
)
def test_right_sources_have_their_pairs_and_every_anchor_one_outcome(
    monkeypatch: pytest.MonkeyPatch, seed: int, clocks: list[tuple[int, int]], poll: int, live: bool
) -> None:
    """Backlog or live, with sources hours or minutes behind or ahead beside them, on their partition or another."""
    monkeypatch.setattr(progress, "EXCHANGE_EVERY_SECONDS", 0.0)
    source = FakeSource({TEXTS: 2, FRAMES: 2})
    source.max_poll_records = poll
    worker = InMemory(source, FakeServer())
    try:
        for record in logs(seed, clocks):
            source.send(record)
            if live:
                worker.server.now_us = worker.clock_us()
                worker.pipeline.turn()
        done = worker.turn_until(lambda: len(worker.sink.results) >= ANCHORS * len(clocks), 20.0)
        assert done, f"{len(worker.sink.results)} results"
        results = worker.sink.results
        assert len({result["id"] for result in results}) == len(results) == ANCHORS * len(clocks)
        for number, clock in enumerate(clocks):
            if clock == (0, 0):
                deltas = [r["inputs"].get("sensors", {}).get("delta_ms") for r in results if r["key"] == f"k{number}"]
                assert deltas == [0] * ANCHORS
    finally:
        worker.close()
