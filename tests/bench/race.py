"""One contender over one backlog: started, read until every text has its result, ended."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import redis
from kafka import KafkaConsumer, TopicPartition

from tests.bench.backlog import Backlog, Expected, create
from tests.bench.judge import Figures, Result, judged
from tests.bench.measure import Watch
from worker.demo.stack import Stack

OUT_PARTITIONS = 2
FEWEST = 20  # results; with fewer nothing lies between a tenth and nine tenths
START_SECONDS, QUIET_SECONDS = 120.0, 30.0


@dataclass(frozen=True)
class Runner:
    """A contender's process.

    Attributes:
        printed: the file with what it prints.
        log: the file with what it says of itself.
    """

    child: subprocess.Popen[bytes]
    printed: Path
    log: Path

    def said(self) -> str:
        """The end of its log, without what the Kafka client says."""
        lines = self.log.read_text(errors="replace").splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith('{"logger": "kafka.'))[-2000:]

    def ask(self, path: str) -> str | None:
        """What a worker answers to this path; None: it does not listen yet, or says that it is not ready."""
        said = (self.log.read_text() + self.printed.read_text()).splitlines()
        ports = [json.loads(line)["port"] for line in said if '"listening"' in line]
        with contextlib.suppress(urllib.error.HTTPError):
            for port in ports:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
                    return str(answer.read().decode())
        return None


def spec_of(job: str, stack: Stack, texts: str, frames: str) -> dict[str, Any]:
    """What a contender is told, with a group and output topics of its own, which it finds made."""
    name = f"b{uuid.uuid4().hex[:8]}"
    spec = {
        "job": job, "kafka": stack.bootstrap_servers, "redis": stack.redis_url, "group": name, "out": f"{name}.out",
        "dead": f"{name}.dead", "texts": texts, "frames": frames,
    }  # fmt: skip
    create(stack.bootstrap_servers, {spec["out"]: OUT_PARTITIONS}, {"message.timestamp.type": "LogAppendTime"})
    create(stack.bootstrap_servers, {spec["dead"]: 1})
    return spec


@contextlib.contextmanager
def running(kind: str, spec: Mapping[str, Any], folder: Path) -> Iterator[Runner]:
    """A contender that is ended at the end."""
    path, log, printed = (
        folder / f"{spec['group']}-{spec.get('number', 0)}.{name}" for name in ("json", "log", "printed")
    )
    path.write_text(json.dumps(spec))
    with log.open("wb") as err, printed.open("wb") as out:
        command = [sys.executable, "-m", "tests.bench.contenders", kind, str(path)]
        child = subprocess.Popen(command, stdout=out, stderr=err)
    try:
        yield Runner(child, printed, log)
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def race(
    kind: str, job: str, backlog: Backlog, oracle: Mapping[str, Expected], stack: Stack, folder: Path, before: str = ""
) -> Figures:
    """The figures of one run; `before` is the folder of an earlier state's source, for the contender of that name.

    Raises:
        RuntimeError: it ended by itself, or no result came; with the end of what it said.
    """
    spec = spec_of(job, stack, backlog.topic("texts"), backlog.topic("frames"))
    empty(stack)
    with running(kind, {**spec, "backlog": asdict(backlog), "before": before}, folder) as runner:
        pids = {"contender": runner.child.pid}
        if kind != "bare":
            pids |= {"broker": stack.kafka.pid} | ({"redis": stack.redis.pid} if kind.startswith("worker") else {})
        watch = Watch(pids, [one for one in pids if one != "broker"])
        try:
            results = list(_printed(runner) if kind == "bare" else read_all([runner], spec, len(oracle)))
            ended = runner.child.poll() if kind != "bare" else None
        finally:
            watch.close()
    if ended is not None or len(results) < FEWEST:
        raise RuntimeError(f"{kind} ended with {ended} after {len(results)} results: {runner.said()}")
    return judged(results, watch.samples, watch.peak, oracle, backlog.mix, scores=job == "noop")


def empty(stack: Stack) -> None:
    """Takes what earlier contenders left out of Redis, and its memory of how much memory it had."""
    with redis.Redis.from_url(stack.redis_url) as client:
        client.flushall()
    Path(f"/proc/{stack.redis.pid}/clear_refs").write_text("5")


def _printed(runner: Runner) -> Iterator[Result]:
    runner.child.wait(600)
    for told in json.loads(runner.printed.read_text().splitlines()[-1]):
        yield Result(*told)


def read_all(runners: Sequence[Runner], spec: Mapping[str, Any], texts: int) -> Iterator[Result]:
    """Results until every text has one, or no more come. Few, large fetches: the reader shares the cores."""
    reader = reader_of(spec, fetch_min_bytes=2**18, fetch_max_wait_ms=500, max_poll_records=100_000)
    seen: set[str] = set()
    deadline, more = time.monotonic() + START_SECONDS, True
    while more and time.monotonic() < deadline:
        more = len(seen) < texts  # once all are there, one more look: a second result for a text is a wrong one
        for found in reader.poll(timeout_ms=500).values():
            for record in found:
                result = result_of(record)
                seen.add(result.text)
                yield result
            deadline = time.monotonic() + QUIET_SECONDS
        if more and any(runner.child.poll() is not None for runner in runners):
            break
    reader.close()


def reader_of(spec: Mapping[str, Any], **options: Any) -> KafkaConsumer:
    """A read_committed consumer of a contender's results, from their begin."""
    reader = KafkaConsumer(
        bootstrap_servers=spec["kafka"], isolation_level="read_committed", auto_offset_reset="earliest", group_id=None,
        **options,
    )  # fmt: skip
    reader.assign([TopicPartition(spec["out"], number) for number in range(OUT_PARTITIONS)])
    reader.seek_to_beginning()
    return reader


def result_of(record: Any) -> Result:
    """A result as any contender writes it."""
    told = json.loads(record.value)
    frame = told["inputs"].get("frames", {}).get("id")
    return Result(record.timestamp / 1000, told["inputs"]["texts"]["id"], frame, told["score"])


def say(line: str) -> None:
    """Progress, apart from the table."""
    print(line, file=sys.stderr, flush=True)
