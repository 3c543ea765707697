"""`make chaos`: kills and FLUSHALLs by the hundred, a soak of every fault, or the corners; held against the oracle.

`python -m tests.chaos --kills 200 --flushes 30 --anchors 10000` is the proof of CONTRACT section 4; `--soak MINUTES`
strikes with everything, at random; `--corners` is the storm of clocks, nights, fail-over, refusals, poison, eviction,
codecs and growth, `--parts clocks,poison` of some of them, `--parts each` of each by itself. The seed is printed and
repeats the choice of faults.
"""

from __future__ import annotations

import argparse
import random
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.memory import MIB, resident_bytes
from tests.chaos.checker import content, findings, undisturbed
from tests.chaos.corners import PARTS, corners
from tests.chaos.ground import Ground, ground
from tests.chaos.storm import Storm, backlog, settings
from tests.story import Fed
from tests.town import FETCHERS, Town, town

PATIENCE_SECONDS = 120.0
EVERYTHING = (
    "kill", "kill", "kill", "terminate", "freeze", "flush", "flush", "freeze_redis", "restart_redis", "freeze_kafka",
    "restart_kafka",
)  # fmt: skip
# A story's chunk per fault in a soak; enough that workers are busy for some seconds.
SOAK_ANCHORS = 600


def storm(stand: Ground, folder: Path, seed: int, anchors: int, workers: int, faults: Sequence[str]) -> bool:
    """One story under these faults; True when nothing is wrong."""
    events = backlog(seed, anchors)
    with town(stand, folder, **settings(stand)) as made:
        began = time.monotonic()
        made.start(workers)
        raging = Storm(stand, made, seed)
        raging.rage(events, faults, PATIENCE_SECONDS, say=lambda line: print(line, flush=True))
        made.read(2.0)
        codes = made.stop()
        seconds = time.monotonic() - began
        return report(made, events, raging, seconds, codes)


def report(made: Town, events: Sequence[Fed], raging: Storm, seconds: float, codes: Sequence[int]) -> bool:
    """Prints the books; True when nothing is wrong."""
    anchors = sum(event.stream == "texts" for event in events)
    found = findings(events, made)
    calm = content(made.raw) == undisturbed(made, anchors)
    struck = ", ".join(f"{count} {fault}" for fault, count in sorted(raging.struck.items()))
    print(f"\n{anchors} anchors, struck: {struck}; {seconds:.0f} s")
    print(f"results {len(made.raw)}, dead letters {len(made.dead)}; {found}")
    print(f"same bytes as one worker in peace: {'yes' if calm else 'NO'}; last workers ended with {sorted(codes)}")
    return not found and calm and not any(codes)


def soak(stand: Ground, folder: Path, seed: int, workers: int, minutes: float) -> bool:
    """Stories one after the other on the same servers, each under faults of every kind."""
    rng, until, good, told = random.Random(seed), time.monotonic() + minutes * 60, True, []
    while good and time.monotonic() < until:
        faults = [rng.choice(EVERYTHING) for _ in range(8)]
        good = storm(stand, folder, rng.randrange(2**31), SOAK_ANCHORS, workers, faults)
        told.append(resident_bytes(stand.valkey.pid) / MIB)
    print(f"\n{len(told)} stories; Redis' memory after each (MiB): {', '.join(f'{size:.0f}' for size in told)}")
    return good


def all_corners(stand: Ground, folder: Path, seed: int, given: argparse.Namespace) -> bool:
    """The corners' storm, of the parts that are asked for; True when nothing is wrong."""
    storms = [{part} for part in PARTS] if given.parts == "each" else [set((given.parts or ",".join(PARTS)).split(","))]
    good = True
    for number, parts in enumerate(storms):
        own = folder / f"storm-{number}"
        own.mkdir()
        try:
            found = corners(
                stand, own, seed, parts, rounds=given.rounds, keys=given.keys, refusal_seconds=given.refusal,
                workers=given.workers, patience_seconds=PATIENCE_SECONDS, say=lambda line: print(line, flush=True),
            )  # fmt: skip
        except AssertionError as error:
            print(f"{'+'.join(sorted(parts))} seed {seed}: {error}", flush=True)
            found = None
        good = good and found is not None and not found
    return good


def main() -> int:
    """Runs, prints, and says by its exit code whether anything was lost, doubled, changed or out of order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--flushes", type=int, default=30)
    parser.add_argument("--anchors", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    parser.add_argument("--corners", action="store_true")
    parser.add_argument("--parts", help=f"of the corners: {', '.join(PARTS)}, separated by commas; or each")
    parser.add_argument("--rounds", type=int, default=3, help="how often each fault of the corners strikes")
    parser.add_argument("--keys", type=int, default=10)
    parser.add_argument("--refusal", type=float, default=60.0, metavar="SECONDS", help="how long Kafka commits nothing")
    parser.add_argument("--fetcher", choices=("both", *FETCHERS), default="both", help="both: half of the workers each")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    faults = ["kill"] * given.kills + ["flush"] * given.flushes
    random.Random(given.seed).shuffle(faults)
    with tempfile.TemporaryDirectory(prefix="fusion-chaos-") as name, ground(Path(name), given.fetcher) as stand:
        if given.soak is not None:
            good = soak(stand, Path(name), given.seed, given.workers, given.soak)
        elif given.corners:
            good = all_corners(stand, Path(name), given.seed, given)
        else:
            good = storm(stand, Path(name), given.seed, given.anchors, given.workers, faults)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
