"""Writing a result is part of its anchor: what it raises costs that anchor alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.fakes.context_store import FakeServer
from tests.fakes.source import FakeSource
from tests.unit.test_batch import EchoModel
from tests.unit.worker_in_memory import FRAMES, TEXTS, InMemory, reading, text
from worker.records import Verdict


def test_a_verdict_that_cannot_be_written_costs_its_anchor_alone() -> None:
    """Whatever the model puts into it."""

    class Odd(EchoModel):
        def infer(self, batch: Sequence[Any]) -> list[Verdict]:
            odd: Any = object()
            return [Verdict("a", 1.0, {"a": odd if body == b"odd" else 1.0}) for _, body in batch]

    made = InMemory(FakeSource({TEXTS: 1, FRAMES: 1}), FakeServer(), model=Odd())
    for number, body in enumerate((b"fine", b"odd", b"fine")):
        made.source.send(text(number * 2_000_000, value=body))
        made.source.send(reading(number * 2_000_000))
    assert made.turn_until(lambda: len(made.sink.results) + len(made.sink.dead) == 3)
    assert len(made.sink.results) == 2
    headers = dict(made.sink.dead[0].headers)
    assert headers["__connect.errors.stage"] == b"PUBLISH"
    assert headers["__connect.errors.exception.class.name"] == b"TypeError"
    made.close()
