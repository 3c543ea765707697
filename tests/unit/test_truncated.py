"""A bound that may have cost a match is counted, and the result says so, from the store to the record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.context_store import FakeServer
from tests.fakes.source import FakeSource
from tests.unit.worker_in_memory import FRAMES, RULE, TEXTS, InMemory, reading, text


class Told:
    """Counts bounds alone."""

    def __init__(self) -> None:
        self.bounds: Counter[str] = Counter()

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        if name == "bound_hits_total":
            self.bounds[labels["bound"]] += int(amount)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def results(max_events: int, at_us: int, spoil: Callable[[FakeServer], None] | None = None) -> tuple[Any, Told]:
    """The one result of a text, after four readings of which so many are kept."""
    source, server, told = FakeSource({TEXTS: 1, FRAMES: 1}), FakeServer(), Told()
    worker = InMemory(source, server, rule=replace(RULE, mode="window", limit=16))
    worker.anchors._observer = worker.anchors._leaving._observer = told  # type: ignore[assignment]
    worker.store._bounds = {"sensors": (max_events, 2**28)}
    for n in range(4):
        source.send(reading(n * 100_000))
    assert worker.turn_until(lambda: any(len(e.records) == min(4, max_events) for e in server.entities.values()))
    if spoil is not None:
        matched = worker.store.match

        def match(queries: Any) -> Any:
            found = matched(queries)
            spoil(server)
            return found

        worker.store.match = match  # type: ignore[method-assign]
    source.send(text(at_us))
    assert worker.turn_until(lambda: len(worker.sink.results) == 1)
    worker.close()
    return worker.sink.results[0], told


@pytest.mark.parametrize(("max_events", "truncated"), [(4, None), (2, {"sensors": "max_events_per_key"})])
def test_a_window_that_lost_members_says_so(max_events: int, truncated: dict[str, str] | None) -> None:
    """Some are left, so that nothing is missing."""
    result, told = results(max_events, 300_000)
    assert result.get("truncated") == truncated
    assert result["missing"] == {}
    assert told.bounds == ({} if truncated is None else {"max_events_per_key": 1})


def test_a_body_that_went_after_the_match_is_counted_too() -> None:
    """Nobody knows by which bound."""

    def trim(server: FakeServer) -> None:
        for entity in server.entities.values():
            entity.records.pop(min(entity.records, default=(0, "")), None)

    result, told = results(4, 300_000, trim)
    assert result["truncated"] == {"sensors": "trimmed_since"}
    assert told.bounds == {"trimmed_since": 1}
