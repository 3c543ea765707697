"""Models that answer -> how fast each is, in turn on the same items, as a worker would ask them."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from worker.model.items import Item
from worker.model.runtime import ModelRuntime

BATCH = 32
_BATCHES_A_LANE = 2


@dataclass(slots=True)
class Times:
    """Of one model, a number per round.

    Attributes:
        latency_ms: of one item by itself.
        throughput: items a second, in batches of BATCH on as many lanes as the model has.
        ratio: throughput over that of the first model in the same round.
        processor: the same of processor time, which other programs on the machine disturb less.
    """

    latency_ms: list[float] = field(default_factory=list)
    throughput: list[float] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def race(
    models: Mapping[str, ModelRuntime], items: Sequence[Item], rounds: int, step: Callable[[], object]
) -> dict[str, Times]:
    """Runs all in every round, each time in another order, since a machine is not equally busy from moment to moment;
    `step` is called after each turn. A round before the first is not counted: in it memory is taken."""
    times = {name: Times() for name in models}
    used: dict[str, list[float]] = {name: [] for name in models}
    lanes = max(model.lanes for model in models.values())
    batches = [[items[(n * BATCH + m) % len(items)] for m in range(BATCH)] for n in range(_BATCHES_A_LANE * lanes)]
    with ThreadPoolExecutor(lanes) as pool:
        for number in range(rounds + 1):
            for name, model in random.Random(number).sample(list(models.items()), len(models)):
                began, used_before = time.perf_counter(), time.process_time()
                list(pool.map(model.infer, batches))
                taken, used_now = time.perf_counter() - began, time.process_time() - used_before
                began = time.perf_counter()
                pool.submit(model.infer, batches[0][:1]).result()
                if number:
                    times[name].latency_ms.append(1000 * (time.perf_counter() - began))
                    times[name].throughput.append(len(batches) * BATCH / taken)
                    used[name].append(used_now)
                step()
    first = next(iter(models))
    for name, one in times.items():
        one.ratio = [mine / other for mine, other in zip(one.throughput, times[first].throughput, strict=True)]
        one.processor = [other / mine for mine, other in zip(used[name], used[first], strict=True)]
    return times


@dataclass(frozen=True, slots=True)
class Row:
    """A model in the table; `accuracy` per presence pattern."""

    name: str
    size_bytes: int
    times: Times
    accuracy: Mapping[str, float]


def table(rows: Sequence[Row]) -> list[str]:
    """A line per model."""
    wide = max(len(row.name) for row in rows)
    shown = list(rows[0].accuracy)
    head = f"{'':<{wide}}  size MB  latency ms  items/s  x items/s  {'(range)':<14}  x processor  {'(range)':<14}"
    lines = [head + "".join(f"  {name:>{max(8, len(name))}}" for name in shown)]
    for row in rows:
        latency, speed = (statistics.median(one) for one in (row.times.latency_ms, row.times.throughput))
        told = "".join(f"  {row.accuracy[name]:>{max(8, len(name))}.3f}" for name in shown)
        lines.append(
            f"{row.name:<{wide}}  {row.size_bytes / 1e6:7.2f}  {latency:10.1f}  {speed:7.0f}  "
            f"{_spread(row.times.ratio, 9)}  {_spread(row.times.processor, 11)}{told}"
        )
    return lines


def _spread(ratios: Sequence[float], wide: int) -> str:
    return f"{statistics.median(ratios):{wide}.2f}  {f'({min(ratios):.2f} to {max(ratios):.2f})':<14}"
