"""What Kafka does not take is counted, weighed and bounded, and goes out once when Kafka takes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.source import FakeSource
from tests.unit.worker_in_memory import FRAMES, TEXTS, InMemory, reading, workers
from worker.errors import Full
from worker.pipeline.indexing import INDEX_AGAIN_SECONDS
from worker.records import Outcome, Outgoing, Partition, Record, Rejected, Stage
from worker.stages.backlog import Backlog, Load

LONG = b"x" * 500


@pytest.fixture
def make() -> Iterator[Callable[..., InMemory]]:
    """Workers in memory that are closed at the end."""
    with workers() as build:
        yield build


def test_what_a_full_redis_refuses_is_not_sent_again_in_every_turn(
    make: Callable[..., InMemory], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packing a whole hold-back a hundred times a second would take the loop's time from those that could leave."""
    source = FakeSource({TEXTS: 1, FRAMES: 1})
    worker = make(source)
    sent: list[float] = []

    def refuse(events: Sequence[Any], *_: Any) -> int:
        sent.append(time.monotonic())
        raise Full("Redis: OOM", dict.fromkeys(range(len(events))))

    monkeypatch.setattr(worker.store, "index", refuse)
    source.send(reading(0))
    assert worker.turn_until(lambda: len(sent) == 4)
    assert all(after - before >= INDEX_AGAIN_SECONDS for before, after in pairwise(sent))
    monkeypatch.undo()
    assert worker.turn_until(lambda: source.commits.get(Partition(FRAMES, 0), (0, ""))[0] == 1)


def outcome(topic: str, offset: int, value: bytes, dead: bool) -> Outcome:
    """A result, or the dead letter of its record."""
    record = Record(topic, 0, offset, 0, b"key", value)
    if not dead:
        return Outcome(record, (Outgoing("fusions", b"key", b"{}" * offset),))
    rejected = Rejected(record, Stage.VALIDATE, "bad", "it is bad")
    return Outcome(record, (Outgoing("dead", record.key, record.value, (("why", b"bad"),)),), (rejected,))


@given(
    st.lists(st.tuples(st.sampled_from(["texts", "frames"]), st.binary(max_size=20), st.booleans()), max_size=40),
    st.randoms(use_true_random=False),
)
def test_loads_are_those_of_what_is_there(made: list[tuple[str, bytes, bool]], rng: Any) -> None:
    """However outcomes come, change and go; a body that record and dead letter share counts once."""
    backlog = Backlog()
    every = [outcome(topic, offset, value, dead) for offset, (topic, value, dead) in enumerate(made)]
    half = len(every) // 2
    backlog.extend(every[:half])
    backlog.keep(lambda one: rng.random() < 0.5)
    backlog.extend(every[half:])
    backlog.replace(lambda one: outcome(one.record.topic, 3, b"other", True) if rng.random() < 0.3 else one)
    for topic in ("texts", "frames"):
        mine = [one for one in backlog if one.record.topic == topic]
        sizes = (
            3 + len(one.record.value or b"") + (3 if one.rejected else 3 + len(one.outgoing[0].value or b""))
            for one in mine
        )
        assert backlog.load(topic).count == len(mine)
        assert backlog.load(topic).bytes <= sum(sizes)
    backlog.keep(lambda one: False)
    assert backlog.load("texts") == backlog.load("frames") == Load()
    assert len(backlog) == 0
