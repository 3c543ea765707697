"""One worker whose Kafka, Redis and model are in memory; all that lies between is the real thing."""

from __future__ import annotations

import contextlib
import json
import queue
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tests.fakes.bodies import FakeBodyReader
from tests.fakes.context_store import FakeContextStore, FakeServer
from tests.fakes.source import FakeSource
from tests.unit.incoming import TIME_US, FixedClock, plain, validator
from tests.unit.test_batch import EchoModel, Silent
from worker.errors import Retryable
from worker.pipeline.anchors import Anchors
from worker.pipeline.budget import Bounds, Budget
from worker.pipeline.contexts import Contexts
from worker.pipeline.leaving import Leaving
from worker.pipeline.loop import Pipeline
from worker.pipeline.outcomes import Outcomes
from worker.pipeline.ring import Ring
from worker.records import MatchRule, Outgoing, Partition, Record
from worker.stages.batch import Batcher
from worker.stages.commit import Committer
from worker.stages.guard import DeadLetterGuard
from worker.stages.publish import ResultWriter
from worker.store.codec import INLINE_BYTES

TEXTS, FRAMES = "texts-in", "sensors-in"
STREAMS, BOUNDS = {TEXTS: "texts", FRAMES: "sensors"}, {"sensors": (4096, 2**28)}
RULE = MatchRule("sensors", "nearest", 500_000, 500_000, 0, 16, 300_000, 30_000_000, False)


class Quiet:
    """A health and a log that nobody reads."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


class Counting(Silent):
    """An observer that adds up its counters, by name and label values."""

    def __init__(self) -> None:
        self.counted: Counter[tuple[str, ...]] = Counter()

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Adds."""
        self.counted[(name, *labels.values())] += int(amount)


class MemorySink:
    """Takes transactions; fails as told, one error a call."""

    def __init__(self, source: FakeSource) -> None:
        self.source, self.errors, self.refuses = source, list[Exception](), False
        self.results: list[dict[str, Any]] = []
        self.dead: list[Outgoing] = []

    def publish(
        self, outgoing: Sequence[Outgoing], offsets: Mapping[Partition, tuple[int, str]], membership: Any
    ) -> None:
        """Publishes or fails."""
        if self.errors:
            raise self.errors.pop(0)
        if self.refuses:
            raise Retryable("Kafka takes no transaction")
        self.results += [json.loads(out.value or b"{}") for out in outgoing if out.topic == "fusions"]
        self.dead += [out for out in outgoing if out.topic == "dead"]
        self.source.commits.update(offsets)

    def fence(self) -> None:
        """Nothing is ever left open."""

    def close(self) -> None:
        """Nothing to close."""


class InMemory:
    """A worker of one anchor topic and one context topic; `pipeline.turn` is called by hand."""

    def __init__(
        self,
        source: FakeSource,
        server: FakeServer,
        rule: MatchRule | None = RULE,
        *,
        name: str = "w1",
        max_pending: int = 1_000,
        max_pending_bytes: int = 2**30,
        in_a_row: int = 0,
        ratio: float = 0.0,
        model: EchoModel | None = None,
        inline_bytes: int = INLINE_BYTES,
        ring_bytes: int = 2**28,
        is_stale: Callable[[Record], bool] | None = None,
    ) -> None:
        """`rule`: None: there is no context; `inline_bytes`: larger bodies lie in Kafka alone; -1: all of them."""
        rules, topics = ({}, {}) if rule is None else ({"sensors": rule}, {FRAMES: "sensors"})
        self.source, self.server, self.sink = source, server, MemorySink(source)
        self.clock_us: Callable[[], int] = lambda: time.time_ns() // 1000
        self.store = FakeContextStore(server, name, rules, BOUNDS, inline_bytes=inline_bytes)
        errors: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
        quiet: Any = Quiet()
        silent = Counting()
        self.counted = silent.counted
        self.committer = self._committer(errors, DeadLetterGuard(in_a_row, ratio, FixedClock()), silent)
        self.reader = FakeBodyReader(source)
        ring = self.bodies = Ring(ring_bytes, self.reader, silent, inline_bytes)
        self.contexts = Contexts(self.store, source, ring, rules, topics, TEXTS, silent, quiet, quiet)
        writer = ResultWriter("fusions", "dead", source="/test", model_name="echo", model_version="1")
        self.outcomes = Outcomes(self.committer, writer, STREAMS, TEXTS, silent, FixedClock())
        self.batcher = _batcher(model or EchoModel(), self.outcomes, errors, rules)
        checks, epochs = validator(), self.contexts.epochs
        leaving = Leaving(self.store, epochs, ring, self.batcher, rules, checks, is_stale, silent, quiet)
        self.anchors = Anchors(self.store, epochs, self.contexts.progress, leaving, rules, silent, quiet)
        bounds, anchors = Bounds(max_pending, max_pending_bytes, 64, 1.0), self.anchors
        self.budget = Budget(bounds, anchors, self.batcher, self.committer, self.contexts, ring, TEXTS, silent)
        self.pipeline = Pipeline(
            source, checks, self.contexts, self.anchors, self.outcomes, self.batcher, self.committer, errors,
            self.budget, TEXTS, silent, quiet, quiet,
        )  # fmt: skip

    def _committer(
        self, errors: queue.SimpleQueue[BaseException], guard: DeadLetterGuard, observer: Counting
    ) -> Committer:
        return Committer(
            lambda: self.sink, lambda: self.source.membership, lambda p, *told: self.contexts.describe(p, *told),
            lambda done: self.outcomes.committed(done), errors.put, observer,
            lambda *refused: self.outcomes.smaller(*refused), guard,
        )  # fmt: skip

    def turn_until(self, done: Callable[[], bool], seconds: float = 3.0) -> bool:
        """Turns the loop until `done`, or for so long; the server's clock is the wall's unless told."""
        deadline = time.monotonic() + seconds
        while not done() and time.monotonic() < deadline:
            self.server.now_us = self.clock_us()
            self.pipeline.turn()
            time.sleep(0.002)
        return done()

    def close(self) -> None:
        """Ends the threads."""
        self.batcher.close()
        self.committer.close()


@contextlib.contextmanager
def workers() -> Iterator[Callable[..., InMemory]]:
    """Makes workers, each on a server of its own unless told, and closes them at the end."""
    made: list[InMemory] = []

    def build(source: FakeSource, server: FakeServer | None = None, **changes: Any) -> InMemory:
        made.append(InMemory(source, server or FakeServer(), **changes))
        return made[-1]

    yield build
    for worker in made:
        worker.close()


def found(worker: InMemory, key: str) -> list[int | None]:
    """Of each of a key's results, the offset of what was matched."""
    mine = [result for result in worker.sink.results if result["key"] == key]
    return [result["inputs"].get("sensors", {}).get("offset") for result in mine]


def _batcher(
    model: EchoModel, outcomes: Outcomes, errors: queue.SimpleQueue[BaseException], rules: Mapping[str, MatchRule]
) -> Batcher:
    return Batcher(
        model, lambda aligned, event: True, outcomes.fused, errors.put, Silent(),
        max_batch=8, max_delay_seconds=0, threads=1,
        required=[name for name, rule in rules.items() if rule.required],
    )  # fmt: skip


def text(at_us: int, *, key: str = "k", partition: int = 0, value: bytes = b"hello") -> Record:
    """An anchor, `at_us` after the start of the test's time."""
    return _record(TEXTS, at_us, key, partition, value)


def reading(at_us: int, *, key: str = "k", partition: int = 0, value: bytes = b'{"speed": 1}') -> Record:
    """A context event."""
    return _record(FRAMES, at_us, key, partition, value)


def _record(topic: str, at_us: int, key: str, partition: int, value: bytes) -> Record:
    timestamp_ms = (TIME_US + at_us) // 1000
    return plain(value, topic=topic, key=key.encode(), partition=partition, timestamp_ms=timestamp_ms)
