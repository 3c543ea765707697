"""Latency in an open loop: `python -m tests.bench.latency` (25, 50 and 80 % of what the worker was measured to do).

Events are sent at fixed times, whatever comes back, so that a slow answer delays no later question (no coordinated
omission). Their time is when the broker appended them. Latency is from there, of the last event that a text's result
needs, to when a read_committed consumer, in a process of its own, has the result in its hand.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from kafka import KafkaConsumer, TopicPartition

from tests.bench.backlog import PARTITIONS, backlog_of, create, expected, partition_of, sender
from tests.bench.contenders import KINDS, absent
from tests.bench.judge import Result, right
from tests.bench.openloop import TAIL_SECONDS, Planned, all_needed_us, latencies_ms, percentile, plan
from tests.bench.race import Runner, empty, race, reader_of, result_of, running, say, spec_of
from tests.bench.table import machine
from tests.story import Fed
from worker.demo.stack import Stack, embedded

WARM_SECONDS = 3.0  # of the plan, sent and not counted
LAST_SECONDS = 20.0  # how long the last result may take


class Row(NamedTuple):
    """One load: pairs a second; latencies, the sender's own lateness and the model's time for a batch in milliseconds;
    right results."""

    rate: float
    found: list[float]
    late: list[float]
    batch: float
    right: float
    came: str = ""


def read(spec: dict[str, Any], asked: Connection) -> None:
    """Reads results; tells how many there are when asked, and at "stop" all of them, each with when it was seen."""
    reader = reader_of(spec, fetch_max_wait_ms=50)
    seen: list[tuple[Result, float]] = []
    while True:
        for records in reader.poll(timeout_ms=50).values():
            now = time.time()
            seen += [(result_of(record), now) for record in records]
        if asked.poll():
            if asked.recv() == "stop":
                return asked.send(seen)
            asked.send(len(seen))


class Reader:
    """The reader's process."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=read, args=(spec, theirs), daemon=True)
        self._process.start()

    def count(self) -> int:
        """How many results it has seen."""
        self._pipe.send("count")
        return int(self._pipe.recv())

    def close(self) -> list[tuple[Result, float]]:
        """All that it has seen."""
        self._pipe.send("stop")
        found = list(self._pipe.recv())
        self._process.join()
        return found


def send_all(events: Iterable[Planned], send: Any, topics: dict[str, str]) -> list[float]:
    """Sends each at its time, or at once where that is past; returns by how many milliseconds each was late."""
    began, late = time.perf_counter(), []
    for event in events:
        if (ahead := began + event.at - time.perf_counter()) > 0:
            time.sleep(ahead)
        late.append(max(0.0, time.perf_counter() - began - event.at) * 1000)
        send(topics[event.stream], partition_of(event.key), Fed(0, event.stream, event.key, "", event.body))
    return late


def appended(kafka: str, topics: dict[str, str]) -> list[Fed]:
    """All events with their places as ids, and the times at which the broker took them."""
    places = {TopicPartition(topic, n): stream for stream, topic in topics.items() for n in range(PARTITIONS)}
    consumer = KafkaConsumer(bootstrap_servers=kafka, group_id=None, auto_offset_reset="earliest")
    consumer.assign(list(places))
    ends, found = consumer.end_offsets(list(places)), []
    while len(found) < sum(ends.values()):
        for place, records in consumer.poll(timeout_ms=500).items():
            for one in records:
                named = f"{one.topic}/{one.partition}/{one.offset}"
                found.append(Fed(one.timestamp * 1000, places[place], one.key.decode(), named, one.value))
    consumer.close()
    return found


def batch_ms(runner: Runner) -> float:
    """The mean time of the worker's model for a batch, by its own metrics."""
    metrics = runner.ask("metrics") or ""
    spent, count = (
        float(re.findall(rf'^fusion_stage_seconds_{what}{{stage="model"}} (\S+)', metrics, re.MULTILINE)[0])
        for what in ("sum", "count")
    )
    return spent / count * 1000


def wake(runner: Runner, reader: Reader, send: Any, topics: dict[str, str], mix: int) -> None:
    """Sends a text and frames of one camera now and then until the worker answers."""
    deadline = time.monotonic() + 120
    while not reader.count():
        if runner.child.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the worker gave no result: {runner.said()}")
        send_all(plan(5.0, mix, 0.5, 1), send, topics)


def measured(
    kind: str, job: str, rate: float, mix: int, seconds: float, stack: Stack, folder: Path,
    more: Mapping[str, Any] = MappingProxyType({}), during: Callable[[Runner], None] = lambda runner: None,
    tell: Callable[[Runner], str] = lambda runner: "",
) -> Row:  # fmt: skip
    """One worker under one load. `more`: of its spec; `during` runs in a thread beside; `tell` is asked at the end."""
    name = f"l{uuid.uuid4().hex[:8]}"
    topics = {stream: f"{name}.{stream}" for stream in ("texts", "frames")}
    stamped = {"message.timestamp.type": "LogAppendTime"}
    create(stack.bootstrap_servers, dict.fromkeys(topics.values(), PARTITIONS), stamped)
    spec = {**spec_of(job, stack, **topics), **more}
    empty(stack)
    send, flush = sender(stack.bootstrap_servers, linger_ms=1)
    with running(kind, spec, folder) as runner:
        reader = Reader(spec)
        wake(runner, reader, send, topics, mix)
        threading.Thread(target=during, args=(runner,), daemon=True).start()
        late = send_all(plan(rate, mix, WARM_SECONDS + seconds, 13), send, topics)
        ended_us = time.time_ns() // 1000
        flush()
        events = appended(stack.bootstrap_servers, topics)
        texts = sum(event.stream == "texts" for event in events)
        deadline = time.monotonic() + LAST_SECONDS
        while reader.count() < texts and time.monotonic() < deadline:
            time.sleep(0.2)
        results, batch, came = reader.close(), batch_ms(runner), tell(runner)
    from_us = ended_us - round((seconds + TAIL_SECONDS) * 1e6)
    needed = {text: at for text, at in all_needed_us(events).items() if at is None or at >= from_us}
    seen = {result.text: at for result, at in results}
    good = right([result for result, _ in results], expected(events), scores=job == "noop")
    return Row(rate, latencies_ms(seen, needed), late, batch, good, came)


def main() -> None:
    """Measures what the worker can do, then its latency at parts of that."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.latency", description=__doc__)
    parser.add_argument("--job", choices=("shipped", "noop"), default="shipped")
    parser.add_argument("--mix", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument("--loads", default="25,50,80", help="percent of the capacity")
    parser.add_argument("--capacity", type=float, help="pairs/s; measured over a backlog where not given")
    parser.add_argument("--only", choices=[kind for kind in KINDS if kind.startswith("worker")], default="worker")
    given = parser.parse_args()
    if told := absent(given.only):
        parser.error(told)
    with tempfile.TemporaryDirectory() as name, embedded(Path(os.environ.get("FUSION_CACHE", ".cache")), say) as stack:
        folder, capacity = Path(name), given.capacity
        if capacity is None:
            backlog = backlog_of((given.job, given.mix), 800)
            events = backlog.events()
            backlog.feed(stack.bootstrap_servers, events)
            capacity = race(given.only, given.job, backlog, expected(events), stack, folder).pairs_per_second
            say(f"capacity: {capacity:.0f} pairs/s over a backlog")
        print(f"{given.only}, {given.job} job, {given.mix} frames a text, {given.seconds:g} s a load, {machine()}\n")
        print("| load | pairs/s | n | p50 ms | p95 ms | p99 ms | most | a batch ms | the sender's own p99 | right |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        for part in map(float, given.loads.split(",")):
            rate = capacity * part / 100
            print(
                line(part, measured(given.only, given.job, rate, given.mix, given.seconds, stack, folder)), flush=True
            )


def line(part: float, row: Row) -> str:
    """A row of the table."""
    told = [percentile(row.found, p) for p in (0.5, 0.95, 0.99)] if row.found else [float("nan")] * 3
    most = max(row.found, default=float("nan"))
    cells = [f"{part:g} %", f"{row.rate:.0f}", str(len(row.found)), *(f"{one:.0f}" for one in [*told, most, row.batch])]
    return f"| {' | '.join([*cells, f'{percentile(row.late, 0.99):.0f}', f'{row.right:.1%}'])} |"


if __name__ == "__main__":
    main()
