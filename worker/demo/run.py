"""The demo: real servers and workers, a junction's half minute, and a check that nothing was lost or changed."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from worker.broker.admin import NewTopic, create_topics
from worker.broker.reader import CommittedReader
from worker.demo.board import Board, board
from worker.demo.pool import Pool
from worker.demo.stack import Stack, open_stack
from worker.demo.tally import Tally
from worker.errors import Fatal
from worker.feeds.junction import STREAMS, junction_events
from worker.feeds.produce import feed

PARTITIONS = {"texts": 4, "frames": 3, "fusions": 2, "fusions.dead": 1}
FRAMES_PER_SECOND, TEXTS_PER_SECOND = 5.0, 1.0
# After the feed's end: frames, waits of at most `max_wait`, a killed worker's session and a slow machine.
PATIENCE_SECONDS = 90.0
READ_SECONDS = 0.1
# So long is each story that `--keep` goes on with.
KEPT_SECONDS = 60.0
# Of each partition's log with `--keep`, bytes; Kafka looks at it every five minutes.
_BOUNDED = {"segment.bytes": str(1 << 24), "retention.bytes": str(1 << 26)}


@dataclass(frozen=True, slots=True)
class Plan:
    """What the demo plays: so many junctions for so long, on so many workers, one of them killed or not; `keep`: it
    goes on until Ctrl-C."""

    seconds: float
    workers: int
    junctions: int
    kill: bool
    seed: int
    keep: bool


def demo(
    cache: Path, *, seconds: float, workers: int, junctions: int, kill: bool, json_path: Path | None, seed: int,
    keep: bool = False,
) -> int:  # fmt: skip
    """Runs the demo and prints its summary.

    1. Starts Kafka and Valkey and creates the topics.
    2. Starts the workers and waits until each is ready.
    3. Feeds the junctions in real time and shows the results as they are committed.
    4. Waits until every text has its outcome; with `keep` the junctions go on until Ctrl-C, uncounted.
    5. Stops the workers, and holds all results against the oracle.

    Returns:
        0, or 1 when something was lost, doubled or matched otherwise than the oracle says.

    Raises:
        ConfigError: something that the machine needs is missing.
        Unreachable: a server or worker did not start or ended by itself.
    """
    plan = Plan(seconds, workers, junctions, kill, seed, keep)
    tally = Tally()
    with (
        TemporaryDirectory(prefix="fusion-demo-") as folder,
        board(tally) as shown,
        open_stack(cache, shown.say) as stack,
    ):
        connection = {"bootstrap_servers": stack.bootstrap_servers.split(",")}
        # Servers that were given may have seen a demo before, and may hold topics of these names.
        prefix = f"demo-{secrets.token_hex(4)}." if stack.kind == "given" else ""
        topics = {name: prefix + name for name in PARTITIONS}
        configs = _BOUNDED if keep else {}
        wanted = [NewTopic(topics[name], count, 1, configs) for name, count in PARTITIONS.items()]
        create_topics(connection, wanted, 30.0)
        with Pool(Path(folder), stack.bootstrap_servers, stack.redis_url, prefix, evidence=keep) as pool:
            shown.say(f"starting {workers} workers")
            pool.start(workers)
            shown.say(f"they show themselves at {' and '.join(pool.pages())}")
            with contextlib.closing(CommittedReader(connection, [topics["fusions"], topics["fusions.dead"]])) as reader:
                _play(plan, connection, topics, reader, pool, tally, shown)
            metrics = pool.metrics()
            if keep:
                _go_on(plan, connection, topics, pool, shown)
            shown.say("stopping the workers (SIGTERM)")
            codes = pool.stop()
    return _sum_up(plan, tally, shown, stack, metrics, codes, json_path)


def _play(
    plan: Plan,
    connection: Mapping[str, Any],
    topics: Mapping[str, str],
    reader: CommittedReader,
    pool: Pool,
    tally: Tally,
    shown: Board,
) -> None:
    """Feeds and reads until every text has its outcome."""
    with _feeding(plan, connection, topics, tally) as fed:
        shown.say(f"feeding {plan.junctions} junctions for {plan.seconds:g} s")
        began, killed = time.monotonic(), not plan.kill
        deadline = began + plan.seconds + PATIENCE_SECONDS
        while not (fed.is_set() and tally.settled):
            for record in reader.read(READ_SECONDS):
                tally.committed(record)
            pool.look()
            if not killed and time.monotonic() - began > plan.seconds / 2:
                shown.say(f"killing worker {pool.kill()} with SIGKILL and starting another")
                killed = True
            shown.show(pool.states())
            if time.monotonic() > deadline:
                break
    while not reader.at_end():
        for record in reader.read(READ_SECONDS):
            tally.committed(record)
    shown.show(pool.states())


def _go_on(
    plan: Plan, connection: Mapping[str, Any], topics: Mapping[str, str], pool: Pool, shown: Board
) -> None:  # fmt: skip
    """One story after the other, for those who look at the pages; Ctrl-C ends that."""
    shown.still()
    shown.say(f"the junctions go on; look at {' and '.join(pool.pages())}; Ctrl-C ends the demo and sums it up")
    with contextlib.suppress(KeyboardInterrupt):
        for seed in itertools.count(plan.seed + 1):
            story = replace(plan, seed=seed, seconds=KEPT_SECONDS)
            with _feeding(story, connection, topics, Tally()) as fed:
                while not fed.wait(READ_SECONDS):
                    pool.look()


@contextlib.contextmanager
def _feeding(
    plan: Plan, connection: Mapping[str, Any], topics: Mapping[str, str], tally: Tally
) -> Iterator[threading.Event]:
    """Feeds in a thread; the event is set when all was sent."""
    done, stop = threading.Event(), threading.Event()
    failed: list[Fatal] = []

    def run() -> None:
        try:
            events = junction_events(plan.seed, plan.junctions, plan.seconds, FRAMES_PER_SECOND, TEXTS_PER_SECOND)
            feed(
                connection, {name: topics[name] for name in STREAMS}, events, seconds=plan.seconds, seed=plan.seed,
                speed=1.0, say=lambda line: None, prefix=f"seed{plan.seed}", stop=stop, heard=tally.produced,
            )  # fmt: skip
        except Fatal as error:
            failed.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=run, name="feed", daemon=True)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join()
    if failed:
        raise failed[0]


def _sum_up(
    plan: Plan, tally: Tally, shown: Board, stack: Stack, metrics: Mapping[str, str], codes: list[int],
    json_path: Path | None,
) -> int:  # fmt: skip
    summary = tally.summary()
    shown.tell(
        {
            "servers": f"Kafka and Redis {stack.kind}",
            "anchors in": f"{summary.anchors}",
            "results": f"{summary.results}",
            "dead letters": f"{summary.dead_letters}",
            "unaccounted": f"{summary.unaccounted}",
            "doubled": f"{summary.doubled}",
            "pairs as the oracle's": f"{summary.right_pairs} of {summary.results}",
            "labels as they were": f"{summary.right_labels:.1%}",
            "pairs a second": f"{summary.pairs / plan.seconds:.1f} (as fast as they were fed)",
            "text to result": f"p50 {summary.p50_ms:.0f} ms, p99 {summary.p99_ms:.0f} ms, by the records' timestamps",
            "metrics were at": ", ".join(metrics),
            "workers ended with": ", ".join(str(code) for code in codes),
        }
    )
    if json_path is not None:
        json_path.write_text(tally.to_json())
    faults = summary.faults + [f"a worker ended with exit code {code}" for code in codes if code]
    for fault in faults:
        shown.say(f"WRONG: {fault}")
    return 1 if faults else 0
