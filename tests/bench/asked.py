"""Asks Kafka for bodies by their offsets: `python -m tests.bench.asked SPEC`, a process of `tests.bench.bodies`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tests.bench.measure import processor_seconds, tree


class Cost(NamedTuple):
    """Of one body, in microseconds: processor time of who asks and of the broker, and time."""

    own: float
    broker: float
    wall: float


def ask(spec: Mapping[str, Any], questions: Sequence[Sequence[int]]) -> Cost:
    """Reads them all, question after question.

    Raises:
        RuntimeError: a body did not come.
    """
    from worker.broker.bodies import run_of
    from worker.broker.places import Places
    from worker.records import Partition, Reference

    places, came = Places({"bootstrap_servers": [spec["kafka"]]}), 0

    def deliver(one: Reference, body: Any) -> None:
        nonlocal came
        came += body is not None and len(body.value) == one.size

    def answer(offsets: Sequence[int]) -> None:
        wanted = [Reference(Partition(spec["topic"], 0), offset, spec["size"]) for offset in offsets]
        while wanted:
            run = run_of(wanted)
            wanted = [*places.read(run, deliver, lambda: False), *wanted[len(run) :]]

    answer(questions[0])  # connects
    came, broker = 0, tree(spec["broker"])
    before = time.process_time(), processor_seconds(broker) or 0.0, time.perf_counter()
    for offsets in questions:
        answer(offsets)
    after = time.process_time(), processor_seconds(broker) or 0.0, time.perf_counter()
    places.close()
    if came != sum(map(len, questions)):
        raise RuntimeError(f"{came} bodies came of {sum(map(len, questions))}")
    return Cost(*((end - begin) / came * 1e6 for begin, end in zip(before, after, strict=True)))


def main() -> None:
    """Prints the cost of each shape."""
    spec = json.loads(sys.argv[1])
    if spec["before"]:
        sys.path.insert(0, spec["before"])  # before anything of the worker is imported
    print(json.dumps([ask(spec, shape) for shape in spec["shapes"]]))


if __name__ == "__main__":
    main()
