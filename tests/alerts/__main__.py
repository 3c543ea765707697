"""Each alert by its real fault, as a table: `python -m tests.alerts [NAME ...]`; about ten minutes in all."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.alerts.faults import FAULTS
from tests.alerts.watch import SCALE, Fired
from tests.chaos.ground import ground


def table(fired: Sequence[Fired]) -> str:
    """Markdown."""
    lines = ["| alert | fault | after, s | beside it | remedy | over after, s |", "|---|---|---|---|---|---|"]
    for one in fired:
        ended = "" if one.ended_seconds is None else f"{one.ended_seconds:.1f}"
        beside = ", ".join(one.beside) or "-"
        lines.append(f"| {one.alert} | {one.fault} | {one.after_seconds:.1f} | {beside} | {one.remedy} | {ended} |")
    return "\n".join(lines)


def main() -> None:
    """Runs the faults that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(fault.__name__ for fault in FAULTS))
    parser.add_argument("--json", type=Path, help="a file for the same, with the summaries")
    given = parser.parse_args()
    fired: list[Fired] = []
    with tempfile.TemporaryDirectory(prefix="fusion-alerts-") as name, ground(Path(name)) as stand:
        for fault in FAULTS:
            if given.names and fault.__name__ not in given.names:
                continue
            folder = Path(name) / fault.__name__
            folder.mkdir()
            found = fault(stand, folder)
            fired += found
            told = ", ".join(f"{one.alert} {one.after_seconds:.1f} s" for one in found)
            print(f"{fault.__name__}: {told}", flush=True)
    print(f"\nTimes of the rules divided by {SCALE}.\n\n{table(fired)}")
    if given.json:
        given.json.write_text(json.dumps([asdict(one) for one in fired], indent=2))


if __name__ == "__main__":
    main()
