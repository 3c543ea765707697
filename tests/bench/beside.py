"""What a shadow model and swaps of the model cost the results: `python -m tests.bench.beside`.

Latency of one worker with the model that ships, in the open loop of `tests.bench.latency`, at one load: alone, with a
shadow of the same kind at the least priority and at an ordinary one, and with a SIGHUP every few seconds, by which the
folder's other version is taken over. In turn, as often as asked for; the quotient is against `alone` of the same round.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.latency import Row, measured
from tests.bench.openloop import percentile
from tests.bench.race import Runner, say
from tests.bench.table import machine
from worker.demo.stack import embedded
from worker.model.folder import folder_of
from worker.model.sums import write_sums

Way = tuple[dict[str, Any], Callable[[Runner], None]]


def nothing(_: Runner) -> None:
    """Nothing happens beside the load."""


def versions(folder: Path) -> list[Path]:
    """The model that ships, under two versions."""
    made = []
    for name in ("one", "two"):
        shutil.copytree(folder_of(None), folder / name)
        config = folder / name / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "version": name}))
        write_sums(folder / name)
        made.append(folder / name)
    return made


def swapping(link: Path, folders: list[Path], every_seconds: float) -> Callable[[Runner], None]:
    """Leads the link to the other folder and sends SIGHUP, again and again."""

    def swap(runner: Runner) -> None:
        number = 0
        with contextlib.suppress(OSError):
            while runner.child.poll() is None:
                time.sleep(every_seconds)
                number += 1
                (new := link.with_suffix(".new")).symlink_to(folders[number % 2])
                os.replace(new, link)
                runner.child.send_signal(signal.SIGHUP)

    return swap


def counts(runner: Runner) -> str:
    """What came of the shadow, and of the swaps, by the worker's own metrics."""
    wanted = r'^fusion_(?:shadow_items|model_reloads)_total{outcome="(\w+)"} (\S+)$'
    found = re.findall(wanted, runner.ask("metrics") or "", re.MULTILINE)
    return ", ".join(f"{name} {float(number):.0f}" for name, number in found if float(number))


def line(way: str, rate: float, row: Row, alone: Row) -> str:
    """A row of the table."""
    told = [percentile(row.found, part) for part in (0.5, 0.95, 0.99)]
    times = told[2] / percentile(alone.found, 0.99)
    cells = [way, f"{rate:g}", str(len(row.found)), *(f"{one:.0f}" for one in told), f"{times:.2f}"]
    return f"| {' | '.join([*cells, f'{percentile(row.late, 0.99):.0f}', f'{row.right:.1%}', row.came])} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.beside", description=__doc__)
    parser.add_argument("--rate", type=float, default=10.0, help="pairs a second")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each")
    parser.add_argument("--every", type=float, default=5.0, help="seconds from one swap to the next")
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, embedded(Path(os.environ.get("FUSION_CACHE", ".cache")), say) as stack:
        folder = Path(name)
        folders, link = versions(folder), folder / "now"
        link.symlink_to(folders[0])
        shadow = {"path": str(folders[0]), "shadow": str(folders[1])}
        ways: dict[str, Way] = {
            "alone": ({}, nothing),
            "shadow": ({"model": shadow}, nothing),
            "shadow, ordinary priority": ({"model": shadow, "shadow_priority": 0}, nothing),
            f"a swap every {given.every:g} s": ({"model": {"path": str(link)}}, swapping(link, folders, given.every)),
        }
        print(f"{given.seconds:g} s each, 6 frames a text, {machine()}\n")
        print("| beside it | pairs/s | n | p50 ms | p95 ms | p99 ms | times alone | sender's own p99 | right | came |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        for _ in range(given.rounds):
            rows: dict[str, Row] = {}
            for way, (more, during) in ways.items():
                rows[way] = measured(
                    "worker", "shipped", given.rate, 6, given.seconds, stack, folder, more, during, counts
                )
                print(line(way, given.rate, rows[way], rows["alone"]), flush=True)


if __name__ == "__main__":
    main()
