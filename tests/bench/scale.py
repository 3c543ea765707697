"""`python -m tests.bench --scale`: pools of workers on one backlog, and how long results stop when one comes or goes.

The model is the no-op, the mix 6 : 1. All workers of a pool are given their partitions at once. A pool that cannot be
co-located has 3 partitions of texts and 4 of frames.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.backlog import PARTITIONS, Backlog, Expected, backlog_of, expected
from tests.bench.comings import PHASES, RATE, Pauses, comings_and_goings
from tests.bench.judge import Amiss, Figures, amiss, judged
from tests.bench.measure import Sample, Watch
from tests.bench.race import Runner, empty, read_all, running, say, spec_of
from tests.bench.table import machine, spread
from worker.demo.stack import Stack, embedded

MIX = 6
# So long the broker waits for more members of a new group: all of a pool are given their part at once.
TOGETHER = {"group.initial.rebalance.delay.ms": "3000"}


class Pool(NamedTuple):
    """So many workers of one group; the frames have `PARTITIONS`."""

    workers: int
    texts_partitions: int = PARTITIONS


POOLS = (Pool(1), Pool(2), Pool(4), Pool(1, 3), Pool(2, 3))


class Row(NamedTuple):
    """One pool in one round; `hits`: the part of all bodies that was in a worker's ring."""

    figures: Figures
    hits: float
    amiss: Amiss


@contextlib.contextmanager
def running_pool(spec: Mapping[str, Any], workers: int, folder: Path) -> Iterator[list[Runner]]:
    """Workers of one group."""
    with contextlib.ExitStack() as closing:
        yield [closing.enter_context(running("worker", {**spec, "number": n}, folder)) for n in range(workers)]


def over_a_backlog(workers: int, backlog: Backlog, oracle: Mapping[str, Expected], stack: Stack, folder: Path) -> Row:
    """A pool from its start until every text has its result."""
    spec = spec_of("noop", stack, backlog.topic("texts"), backlog.topic("frames"))
    empty(stack)
    with running_pool({**spec, "backlog": asdict(backlog), "before": ""}, workers, folder) as runners:
        pids = {str(n): runner.child.pid for n, runner in enumerate(runners)}
        watch = Watch({**pids, "redis": stack.redis.pid, "broker": stack.kafka.pid}, [*pids, "redis"])
        try:
            results = list(read_all(runners, spec, len(oracle)))
            told = [runner.ask("metrics") or "" for runner in runners]
        finally:
            watch.close()
    figures = judged(results, together(watch.samples), watch.peak, oracle, backlog.mix, scores=True)
    return Row(figures, hits(told), amiss(results, oracle))


def together(samples: Sequence[Sample]) -> list[Sample]:
    """What all workers of a pool have spent, as one contender."""
    return [
        Sample(at, {
            "redis": spent["redis"], "broker": spent["broker"],
            "contender": sum(seconds for name, seconds in spent.items() if name.isdigit()),
        })
        for at, spent in samples
    ]  # fmt: skip


def hits(told: Sequence[str]) -> float:
    """The part of all bodies that was in the ring, by the workers' metrics."""
    count: dict[str, float] = defaultdict(float)
    for place, value in re.findall(r'^fusion_bodies_total\{from="(\w+)"\} (\S+)', "\n".join(told), re.MULTILINE):
        count[place] += float(value)
    return count["ring"] / max(1.0, sum(count.values()))


def scale(rounds: int, texts: int) -> None:
    """Runs the rounds and prints the tables."""
    rows: dict[Pool, list[Row]] = {pool: [] for pool in POOLS}
    pauses: list[Pauses] = []
    cache = Path(os.environ.get("FUSION_CACHE", ".cache"))
    with tempfile.TemporaryDirectory() as name, embedded(cache, say, TOGETHER) as stack:
        even = backlog_of(("noop", MIX), texts)
        backlogs = {
            count: replace(even, name=f"{even.name}-{count}", texts_partitions=count) for count in (PARTITIONS, 3)
        }
        oracles = {}
        for count, backlog in backlogs.items():
            events = backlog.events()
            backlog.feed(stack.bootstrap_servers, events)
            oracles[count] = expected(events)
        for number in range(rounds):
            for pool in POOLS[:: -1 if number % 2 else 1]:
                count = pool.texts_partitions
                row = over_a_backlog(pool.workers, backlogs[count], oracles[count], stack, Path(name))
                rows[pool].append(row)
                say(f"round {number + 1}, {pool}: {row}")
            pauses.append(comings_and_goings(stack, Path(name)))
            say(f"round {number + 1}: {pauses[-1]}")
    print(f"`python -m tests.bench {' '.join(sys.argv[1:])}`, {machine()}".replace(" `", "`"))
    print("\n" + pools_table(rows, even.texts))
    print("\n" + pauses_table(pauses))


def pools_table(rows: Mapping[Pool, Sequence[Row]], texts: int) -> str:
    """Ratios are to one worker's in the same round."""
    base = [row.figures for row in rows[POOLS[0]]]
    lines = [
        f"**Pools, no-op model, {MIX} frames a text** ({texts} texts, n = {len(base)} rounds; median and range)",
        "",
        "| workers | partitions | pairs/s | to one's | CPU us a pair | to one's | Redis a pair | broker a pair "
        "| bodies in the ring | peak MiB | lost, doubled, wrong |",
        "|---" * 11 + "|",
    ]
    for pool, found in rows.items():
        figures = [row.figures for row in found]
        pairs = list(zip(figures, base, strict=True))
        cells = [
            str(pool.workers),
            f"{pool.texts_partitions} + {PARTITIONS}",
            spread([one.pairs_per_second for one in figures]),
            spread([one.pairs_per_second / first.pairs_per_second for one, first in pairs], ".2f"),
            spread([one.pair_us for one in figures]),
            spread([one.pair_us / first.pair_us for one, first in pairs], ".2f"),
            spread([one.redis_us for one in figures]),
            spread([one.broker_us for one in figures]),
            spread([row.hits * 100 for row in found], ".1f") + " %",
            f"{max(one.peak_bytes for one in figures) / 2**20:.0f}",
            books([row.amiss for row in found]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def pauses_table(pauses: Sequence[Pauses]) -> str:
    """Longest pauses by what happened."""
    lines = [
        f"**The longest time without a result**, {RATE:.0f} texts and {RATE * MIX:.0f} frames a second, two workers, "
        f"then three, two, one (n = {len(pauses)} rounds; seconds, median and range); lost, doubled, wrong: "
        f"{books([one.amiss for one in pauses])}",
        "",
        "| what happens | of all | of one partition of texts |",
        "|---" * 3 + "|",
    ]
    for phase in PHASES:
        told = (spread([of[phase] for of in found], ".1f") for found in (
            [one.of_all for one in pauses], [one.of_one for one in pauses],
        ))  # fmt: skip
        lines.append(f"| {' | '.join([phase, *told])} |")
    return "\n".join(lines)


def books(found: Sequence[Amiss]) -> str:
    """Of all rounds together."""
    return ", ".join(str(sum(column)) for column in zip(*found, strict=True))
