"""`make bench`: every contender on the same backlogs, on one broker, in turn; the oracle checks each result.

One contender alone: `python -m tests.bench --job noop --mix 6 --only worker --rounds 1 --texts 1000`. Contenders:
bare, plain, bytewax, worker, worker-librdkafka, worker-at-least-once, worker-before (with --before).
`--scale`: one, two and four workers on one backlog, and how long results stop when one comes or goes.
docs/performance.md says what the columns mean.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.backlog import FRAME_BYTES, NO_OP_FRAMES, Backlog, backlog_of, expected
from tests.bench.contenders import KINDS, absent
from tests.bench.judge import Figures
from tests.bench.measure import processor_seconds, tree
from tests.bench.race import race, say
from tests.bench.scale import scale
from tests.bench.table import machine, table
from worker.demo.stack import Stack, embedded

Part = tuple[str, int]  # job and mix


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--job", choices=("shipped", "noop", "both"), default="both")
    parser.add_argument("--mix", default="6,20", help="frames per text, separated by commas")
    help_texts = f"texts of the shipped job; the no-op job has {NO_OP_FRAMES} times as many frames"
    parser.add_argument("--texts", type=int, default=800, help=help_texts)
    parser.add_argument("--frame-bytes", type=int, default=FRAME_BYTES, help="of a frame, 16 KB at least")
    parser.add_argument("--only", default=",".join(KINDS), help="contenders, separated by commas")
    parser.add_argument("--before", default="", help="an earlier state's source: takes part as worker-before")
    parser.add_argument("--scale", action="store_true", help="pools of workers; takes --rounds and --texts")
    found = parser.parse_args(given)
    found.before = os.path.abspath(found.before) if found.before else ""
    found.mixes = [int(mix) for mix in found.mix.split(",")]
    found.kinds = [kind for kind in found.only.split(",") if kind != "worker-before" or found.before]
    if strangers := [kind for kind in found.kinds if kind not in KINDS]:
        parser.error(f"no contender is named {', '.join(strangers)}; there are {', '.join(KINDS)}")
    return found


def main() -> None:
    """Runs the rounds and prints the tables."""
    given = arguments()
    if given.scale:
        scale(given.rounds, given.texts)
        return
    for line in filter(None, map(absent, given.kinds)):
        print(line, flush=True)
    kinds = [kind for kind in given.kinds if absent(kind) is None]
    parts = [(job, mix) for job in ("shipped", "noop") if given.job in (job, "both") for mix in given.mixes]
    figures: dict[Part, dict[str, list[Figures]]] = {part: {} for part in parts}
    backlogs = {part: backlog_of(part, given.texts, given.frame_bytes) for part in parts}
    with tempfile.TemporaryDirectory() as name, embedded(Path(os.environ.get("FUSION_CACHE", ".cache")), say) as stack:
        for part in parts:
            _rounds(part, backlogs[part], kinds, given, stack, Path(name), figures[part])
    print(f"\n`python -m tests.bench {' '.join(sys.argv[1:])}`, {machine()}".replace(" `", "`"))
    for part in parts:
        print("\n" + table(*part, figures[part], backlogs[part].texts))


def _rounds(
    part: Part, backlog: Backlog, kinds: Sequence[str], given: argparse.Namespace, stack: Stack, folder: Path,
    figures: dict[str, list[Figures]],
) -> None:  # fmt: skip
    """All rounds of one backlog; who begins moves on by one each round."""
    job, mix = part
    taking = [kind for kind in kinds if kind != "bare" or (job == "shipped" and mix == given.mixes[0])]
    events = backlog.events()
    oracle, began, before = expected(events), time.monotonic(), processor_seconds(tree(stack.kafka.pid))
    backlog.feed(stack.bootstrap_servers, events)
    took, spent = time.monotonic() - began, processor_seconds(tree(stack.kafka.pid)) - before
    say(f"{job} {mix}:1: {len(events)} events fed in {took:.1f} s, broker {spent / len(events) * 1e6:.0f} us each")
    for number in range(given.rounds):
        turn = number % len(taking)
        for kind in [*taking[turn:], *taking[:turn]]:
            one = race(kind, job, backlog, oracle, stack, folder, given.before)
            figures.setdefault(kind, []).append(one)
            say(
                f"{job} {mix}:1, round {number + 1}, {kind}: {one.pairs_per_second:.0f} pairs/s, {one.pair_us:.0f} us "
                f"a pair (Redis {one.redis_us:.0f}), broker {one.broker_us:.0f}, {one.right:.1%} right"
            )
    backlog.drop(stack.bootstrap_servers)


if __name__ == "__main__":
    main()
