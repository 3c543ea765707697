"""Fusion against a simulation's truth, through a real worker, while frames are lost, readings late and clocks wrong.

`python -m tests.bench.sumo --model DIR`: DIR is what `fusion-worker train --data sumo` made (docs/examples/sumo.toml).
A row is a way to go wrong. `right`: labels as the simulation's step was; `true frame`: the frame that was matched is
the one that was taken nearest to the report, by no clock but the simulation's; `as the rule`: frame and readings are
those that the rule picks of what was sent.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import oracle
from tests.bench.table import machine
from tests.town import Town, town
from worker.broker.options import connection_options
from worker.demo.stack import embedded
from worker.durations import format_duration
from worker.feeds.faults import Faults, injected
from worker.feeds.produce import Produced, feed
from worker.feeds.story import FeedEvent
from worker.feeds.sumo.events import FRAMES_PER_SECOND, STREAMS, TEXTS_PER_SECOND, sumo_events
from worker.from_settings import rules_of
from worker.settings import load
from worker.training.intervals import wilson

SECOND = 1_000_000
EXAMPLE = Path(__file__).parents[2] / "docs/examples/sumo.toml"
RULES = rules_of(load(EXAMPLE, [], {}).settings)
WAYS = {
    "nothing": Faults(),
    "30 % of frames lost": Faults(lose={"frames": 0.3}),
    "loops 2 s late": Faults(late_us={"loops": 2 * SECOND}),
    "camera's clock 0.3 s ahead": Faults(skew_us={"frames": 3 * SECOND // 10}),
    "camera's clock 5 s ahead": Faults(skew_us={"frames": 5 * SECOND}),
    "camera dead": Faults(lose={"frames": 1.0}),
    "camera and loops dead": Faults(lose={"frames": 1.0, "loops": 1.0}),
    "20 % lost, loops 2 s late, clock 0.3 s ahead": Faults(
        lose={"frames": 0.2}, late_us={"loops": 2 * SECOND}, skew_us={"frames": 3 * SECOND // 10}
    ),
}


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a story.

    Attributes:
        reports: how many were sent.
        lost: those without a result; `doubled`: those with more than one; `dead`: dead letters.
        right, ruled: results whose label is true, and whose inputs are those that the rule picks.
        framed, true_frames: results with a frame, and with the one that was truly nearest.
    """

    reports: int
    lost: int
    doubled: int
    dead: int
    right: int
    ruled: int
    framed: int
    true_frames: int


def played(made: Town, events: Sequence[FeedEvent], faults: Faults, seconds: float, speed: float) -> Played:
    """Sends the events with the faults to a town with a worker, and holds its results against what was true."""
    heard: list[Produced] = []
    topics = {stream: f"{made.name}.{stream}" for stream in STREAMS}
    connection = connection_options({"bootstrap_servers": made.stack.bootstrap_servers})
    made.start()
    feed(
        connection, topics, injected(iter(events), faults, 0), seconds=seconds, seed=0, speed=speed,
        say=lambda _: None, prefix="s", heard=heard.append,
    )  # fmt: skip
    reports = [one for one in heard if one.event.stream == "texts"]
    made.read_until(lambda: len(made.results) + len(made.dead) >= len(reports), 300)
    assert made.stop() == [0]
    made.read(1.0)
    return _judged(made, events, heard)


def _judged(made: Town, events: Sequence[FeedEvent], heard: Sequence[Produced]) -> Played:
    told: dict[str, list[dict[str, Any]]] = {}
    for result in made.results:
        told.setdefault(result["inputs"]["texts"]["id"], []).append(result)
    taken: dict[str, list[tuple[int, str]]] = {}
    for event in events:
        if event.stream == "frames":
            taken.setdefault(event.key, []).append((event.time_us, f"s-{event.id}"))
    sent: dict[str, dict[str, list[tuple[int, str]]]] = {}
    for one in heard:
        sent.setdefault(one.event.stream, {}).setdefault(one.event.key, []).append((one.time_us, one.id))
    counts = dict.fromkeys(("lost", "doubled", "right", "ruled", "framed", "true_frames"), 0)
    reports = [one for one in heard if one.event.stream == "texts"]
    for report in reports:
        results = told.get(report.id, [])
        counts["lost"] += not results
        counts["doubled"] += len(results) > 1
        if results:
            inputs = results[0]["inputs"]
            frame, loops = inputs.get("frames", {}).get("id"), [one["id"] for one in inputs.get("loops", ())]
            wanted = [oracle.match(RULES[s], report.time_us, sent.get(s, {}).get(report.event.key, ())) for s in RULES]
            nearest = oracle.match(RULES["frames"], report.event.time_us, taken[report.event.key])
            counts["right"] += results[0]["label"] == report.event.label
            counts["ruled"] += [[frame] if frame else [], loops] == [[one.id for one in found] for found in wanted]
            counts["framed"] += frame is not None
            counts["true_frames"] += [frame] == [one.id for one in nearest]
    return Played(len(reports), dead=len(made.dead), **counts)


@contextlib.contextmanager
def sumo_town(stack: Any, folder: Path, model: Path) -> Iterator[Town]:
    """A town of docs/examples/sumo.toml, for workers with this model."""
    with town(stack, folder, dict.fromkeys(STREAMS, 2), cost_ms=None) as made:
        at = {
            "kafka.bootstrap_servers": stack.bootstrap_servers, "kafka.group_id": made.name,
            "redis.url": stack.redis_url, "output.topic": f"{made.name}.fusions", "http.port": 0,
            "output.dead_letter_topic": f"{made.name}.dead", "model.path": model, "log.format": "json",
            **{f"streams.{stream}.topic": f"{made.name}.{stream}" for stream in STREAMS},
        }  # fmt: skip
        settings = load(EXAMPLE, [f"{key}={value}" for key, value in at.items()], {}).settings
        made.settings = json.loads(json.dumps(settings.model_dump(), default=format_duration))
        yield made


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sumo", description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--junctions", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--speed", type=float, default=6.0)
    parser.add_argument("--texts-per-second", type=float, default=TEXTS_PER_SECOND)
    parser.add_argument("--seed", type=int, default=77)
    given = parser.parse_args()
    drawn = sumo_events(given.seed, given.junctions, given.seconds, FRAMES_PER_SECOND, given.texts_per_second)
    events = list(drawn)
    print("| what goes wrong | reports | lost, doubled, dead | as the rule | true frame | right, 95 % |")
    print("|---|---|---|---|---|---|", flush=True)
    cache = Path(os.environ.get("FUSION_CACHE", ".cache"))
    with tempfile.TemporaryDirectory() as folder, embedded(cache, lambda _: None) as stack:
        for name, faults in WAYS.items():
            with sumo_town(stack, Path(folder), given.model) as made:
                got = played(made, events, faults, given.seconds, given.speed)
            low, high = wilson(got.right, got.reports)
            print(
                f"| {name} | {got.reports} | {got.lost}, {got.doubled}, {got.dead} | {got.ruled} | "
                f"{got.true_frames} of {got.framed} | {got.right / got.reports:.3f} ({low:.3f} to {high:.3f}) |",
                flush=True,
            )
    print(f"\n`python -m tests.bench.sumo {' '.join(sys.argv[1:])}`, {machine()}")


if __name__ == "__main__":
    main()
