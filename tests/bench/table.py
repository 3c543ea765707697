"""Figures of all rounds -> a Markdown table, and a line about the machine."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.bench.judge import Figures

BASE = "worker"
COLUMNS = (
    "contender", "pairs/s", "to the worker's", "CPU us a pair", "to the worker's", "an event", "Redis a pair",
    "broker a pair", "peak MiB", "right", "frames/s", "Redis a frame",
)  # fmt: skip


def spread(values: Sequence[float], form: str = ".0f") -> str:
    """`median (least to most)`, the median alone where there is one value."""
    middle = f"{statistics.median(values):{form}}"
    return middle if len(values) == 1 else f"{middle} ({min(values):{form}} to {max(values):{form}})"


def ratios(figures: Mapping[str, Sequence[Figures]], kind: str, of: Callable[[Figures], float]) -> list[float]:
    """Of one contender to the worker, round by round."""
    return [of(one) / of(base) for one, base in zip(figures[kind], figures.get(BASE, ()), strict=False)]


def table(job: str, mix: int, figures: Mapping[str, Sequence[Figures]], texts: int) -> str:
    """One job and mix."""
    rounds = max(map(len, figures.values()), default=0)
    lines = [
        f"**{'Shipped model' if job == 'shipped' else 'No-op model'}, {mix} frames a text** ({texts} texts, "
        f"n = {rounds} round{'s' if rounds != 1 else ''}; median and range)",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---" * len(COLUMNS) + "|",
    ]
    for kind, found in figures.items():
        rate = ratios(figures, kind, lambda one: one.pairs_per_second)
        cost = ratios(figures, kind, lambda one: one.pair_us)
        cells = [
            kind,
            spread([one.pairs_per_second for one in found]),
            spread(rate, ".2f") if rate else "",
            spread([one.pair_us for one in found]),
            spread(cost, ".2f") if cost else "",
            spread([one.event_us for one in found]),
            spread([one.redis_us for one in found]),
            spread([one.broker_us for one in found]),
            f"{max(one.peak_bytes for one in found) / 2**20:.0f}",
            f"{min(one.right for one in found):.1%}".replace("100.0%", "100 %"),
            spread([one.pairs_per_second * mix for one in found]),
            spread([one.redis_us / mix for one in found], ".1f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def machine() -> str:
    """Cores, processor, memory, Python."""
    told = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in told if line.startswith("model name")), "unknown")
    gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{len(os.sched_getaffinity(0))} cores of {model}, {gib:.0f} GiB, Python {platform.python_version()}"
