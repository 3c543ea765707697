"""Bodies that come late, out of order or never: the outcomes are the oracle's, each key in its order (CONTRACT 4)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from random import Random
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.context_store import FakeServer
from tests.fakes.source import FakeSource
from tests.oracle import match as expected
from tests.unit.test_batch import EchoModel
from tests.unit.worker_in_memory import FRAMES, RULE, TEXTS, InMemory, reading, text
from worker.pipeline import progress
from worker.records import Aligned, MatchRule, Partition, Verdict

KEYS = ["a", "b", "c"]
STEP_US, LAST_US = 100_000, 8_000_000


class BodyModel(EchoModel):
    """Says the text and all bodies, so that a neighbour's cannot pass for one's own."""

    def prepare(self, aligned: Aligned, begins: Any = None) -> Any:
        """What it was given."""
        return said(aligned.anchor.payload, [event.payload for event in aligned.inputs.get("sensors", ())])

    def infer(self, batch: Sequence[Any]) -> list[Verdict]:
        """The same."""
        return [Verdict(said, 1.0, {said: 1.0}) for said in batch]


def said(text_of: bytes, bodies: Sequence[bytes]) -> str:
    """The verdict's label."""
    return f"{text_of.decode()}: {[body.decode() for body in bodies]}"


def body(number: int) -> bytes:
    """Of the reading with this number."""
    return b'{"speed": %d}' % number


@dataclass(frozen=True)
class Fed:
    """Anchors and readings as (key, steps of time); of the readings those that Kafka has no more, by place."""

    rule: MatchRule
    anchors: list[tuple[str, int]]
    readings: list[tuple[str, int]]
    gone: frozenset[int]
    ring_bytes: int
    seed: int


@st.composite
def feeds(draw: st.DrawFn) -> Fed:
    """Up to 20 of each, on time; a ring for nothing, for some, or for all."""
    mode = draw(st.sampled_from(["nearest", "window"]))
    place = st.tuples(st.sampled_from(KEYS), st.integers(0, 40))
    readings = sorted(draw(st.lists(place, max_size=20, unique=True)), key=lambda one: one[1])
    return Fed(
        replace(RULE, mode=mode, limit=3),
        sorted(draw(st.lists(place, max_size=20)), key=lambda one: one[1]),
        readings,
        frozenset(draw(st.sets(st.integers(0, 19), max_size=6))),
        draw(st.sampled_from([1, 100, 2**28])),
        draw(st.integers(0, 2**16)),
    )


def partition_of(key: str) -> int:
    """Two keys share one."""
    return KEYS.index(key) // 2


def run(fed: Fed, *, inline_bytes: int) -> tuple[list[dict[str, Any]], InMemory]:
    """All results, in the order in which they were committed."""
    source = FakeSource({TEXTS: 2, FRAMES: 2})
    chance = Random(fed.seed)
    worker = InMemory(
        source, FakeServer(), fed.rule, model=BodyModel(), inline_bytes=inline_bytes, ring_bytes=fed.ring_bytes
    )
    worker.reader.pick = lambda wanted: chance.sample(wanted, chance.randint(0, len(wanted)))
    with closing(worker), patch.object(progress, "EXCHANGE_EVERY_SECONDS", 0.0):
        for number, (key, step) in enumerate(fed.readings):
            place = Partition(FRAMES, partition_of(key))
            if number in fed.gone:
                worker.reader.gone.add((place, len(source.logs[place])))
            source.send(reading(step * STEP_US, key=key, partition=place.number, value=body(number)))
        for key in KEYS:
            source.send(reading(LAST_US, key=key, partition=partition_of(key)))
        for number, (key, step) in enumerate(fed.anchors):
            source.send(text(step * STEP_US, key=key, partition=partition_of(key), value=b"%d" % number))

        def flicker() -> bool:
            worker.reader.slow = {Partition(FRAMES, 0)} if chance.random() < 0.3 else set()
            return len(worker.sink.results) == len(fed.anchors)

        assert worker.turn_until(flicker, 10.0)
        assert not worker.sink.dead
    return worker.sink.results, worker


def by_key(results: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Each key's results in the order of their commits."""
    return {key: [one for one in results if one["key"] == key] for key in KEYS}


@settings(max_examples=60, deadline=None)
@given(fed=feeds())
def test_late_bodies_change_no_outcome_and_no_order(fed: Fed) -> None:
    """With all bodies there the results are those of a Redis that holds them whole; what is gone is told as expired."""
    results, worker = run(fed, inline_bytes=-1)
    whole, _ = run(replace(fed, gone=frozenset(), ring_bytes=2**28), inline_bytes=2**20)
    if not fed.gone or fed.ring_bytes == 2**28:
        assert by_key(results) == by_key(whole)
    if fed.ring_bytes == 2**28:
        assert worker.reader.asked == []
    if fed.ring_bytes == 1:
        assert [(one["label"], one["missing"]) for found in by_key(results).values() for one in found] == [
            outcome(fed, number) for key in KEYS for number, (of, _) in enumerate(fed.anchors) if of == key
        ]
    assert worker.bodies.awaited_bytes == 0
    assert worker.reader.wanted == []
    assert worker.bodies.bytes <= fed.ring_bytes


def outcome(fed: Fed, number: int) -> tuple[str, dict[str, str]]:
    """The oracle's, when the ring holds nothing."""
    key, step = fed.anchors[number]
    of_key = {LAST_US: -1} | {at * STEP_US: n for n, (of, at) in enumerate(fed.readings) if of == key}
    matched = [of_key[one.time_us] for one in expected(fed.rule, step * STEP_US, [(at, "") for at in of_key])]
    left = [n for n in matched if n not in fed.gone]
    missing = {} if left else {"sensors": "payload_expired" if matched else "out_of_tolerance"}
    return said(b"%d" % number, [body(n) for n in left]), missing
