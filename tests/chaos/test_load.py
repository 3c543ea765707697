"""Clocks, order and load on whole workers: what is told, what is shed, and that memory has its bounds."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.bench.memory import MIB, resident_bytes
from tests.chaos.ground import Ground
from tests.chaos.storm import settings
from tests.story import Fed, headers_of, minutes_ago, nearest_frame, story
from tests.town import Town, town, verdicts
from tests.unit.incoming import JPEG


def warnings(made: Town) -> list[dict[str, Any]]:
    """The warnings of the workers' log."""
    path = made.folder / f"{made.name}.log"
    told = [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
    return [line for line in told if line["level"] == "warning" and "logger" not in line]


@pytest.mark.long
def test_a_clock_that_is_off_is_named_with_its_offset(ground: Ground, tmp_path: Path) -> None:
    """One frame a text, stamped 5 s late by one camera: a warning names it and the correction, a metric the offset."""
    start = minutes_ago(60)
    wide = {"frames": {"before": "10s", "after": "10s"}}
    with town(ground, tmp_path, **settings(ground, streams=wide)) as made:
        events = []
        for n in range(80):
            at = start + n * 30_000_000
            events += [Fed(at, "texts", "k", f"t{n}", b"now"), Fed(at + 5_000_000, "frames", "k", f"f{n}", JPEG)]
        end = start + 81 * 30_000_000
        made.feed([*sorted(events), Fed(end, "frames", "k", "end", JPEG)])
        made.start()
        made.read_until(lambda: len(made.results) >= 80)
        assert 'source_offset_seconds{source="/tests",stream="frames"} 5.0' in made.metrics()
        (told,) = [line for line in warnings(made) if line["event"] == "a source's clock is off"]
        assert (told["source"], told["stream"], told["offset_seconds"]) == ("/tests", "frames", 5.0)
        assert "-5.000 s" in told["action"]
        assert made.stop() == [0]


def test_a_key_on_two_partitions_is_told_once(ground: Ground, tmp_path: Path) -> None:
    """Two producers with two partitioners: every anchor has its result, and one line says which promise is lost."""
    events = story(2, minutes_ago(10), keys=3, anchors_per_key=10)
    with town(ground, tmp_path, **settings(ground)) as made:
        for event in events:
            if event.stream == "texts" and event.id.endswith(("1", "3")):
                key, headers = event.key.encode(), headers_of(event)
                made.producers.send(f"{made.name}.texts", key, event.body, headers, partition=3)
            else:
                made.feed([event])
        made.start()
        made.read_until(lambda: len(made.results) >= 30)
        assert verdicts(made.results) == nearest_frame(events)
        told = [line for line in warnings(made) if line["event"].startswith("a key lies on two partitions")]
        assert len(told) == 1
        assert told[0]["lost"] == "results of such keys may come out of order"
        assert made.stop() == [0]


def test_stale_anchors_are_shed_without_the_model(ground: Ground, tmp_path: Path) -> None:
    """What waited past max_age gets a result that says so, what is fresh goes through the model; order is kept."""
    changes = settings(ground, limits={"shed": "stale", "max_age": "3s"})
    old, new = (story(seed, minutes_ago(10 - seed), keys=4, anchors_per_key=10) for seed in (1, 2))
    new = [Fed(e.time_us, e.stream, e.key, "new-" + e.id, e.body) for e in new]
    with town(ground, tmp_path, {"texts": 1}, **changes) as made:
        made.feed(old)
        waited = time.monotonic() + 3.5
        while time.monotonic() < waited:
            made.read()
        made.start()
        made.read_until(lambda: len(made.results) >= 40)
        made.feed(new)
        made.read_until(lambda: len(made.results) >= 80)
        shed = [r for r in made.results if r["label"] == "shed"]
        assert {r["inputs"]["texts"]["id"] for r in shed} == {e.id for e in old if e.stream == "texts"}
        assert all(r["missing"] == {"frames": "shed"} and r["scores"] == {} and r["score"] == 0 for r in shed)
        fresh = [r for r in made.results if r["label"] != "shed"]
        assert verdicts(fresh) == nearest_frame(new)
        offsets: dict[str, int] = {}
        for result in made.results:
            assert result["inputs"]["texts"]["offset"] > offsets.get(result["key"], -1)
            offsets[result["key"]] = result["inputs"]["texts"]["offset"]
        assert 'results_total{complete="true",label="shed"} 40.0' in made.metrics()
        assert made.stop() == [0]


def test_disorder_within_lateness_and_duplicates_change_nothing(ground: Ground, tmp_path: Path) -> None:
    """Frames come up to 2 s out of order, and one in ten twice; what comes still later is counted."""
    rng = random.Random(6)
    events = story(6, minutes_ago(20), keys=5, anchors_per_key=40)
    frames = [event for event in events if event.stream == "frames"]
    late = {id(event): event.time_us + rng.randrange(1_900_000) for event in frames}
    shuffled = sorted(events, key=lambda event: late.get(id(event), event.time_us))
    fed = [copy for event in shuffled for copy in ([event] * 2 if event in frames and rng.random() < 0.1 else [event])]
    tail = [Fed(events[-1].time_us + 10_000_000, "frames", f"junction-{n}", f"end-{n}", JPEG) for n in range(5)]
    patient = {"frames": {"lateness": "2s"}}
    with town(ground, tmp_path, **settings(ground, streams=patient)) as made:
        made.start(2)
        made.feed([*fed, *tail])
        made.read_until(lambda: len(made.results) >= 200)
        assert verdicts(made.results) == nearest_frame(events)
        assert 'late_events_total{stream="frames"} 0.0' in made.metrics()
        made.feed([Fed(events[0].time_us, "frames", "junction-0", "far too late", JPEG)])
        made.read_until(lambda: 'late_events_total{stream="frames"} 1.0' in made.metrics())
        assert made.stop() == [0, 0]


@pytest.mark.long
def test_offsets_too_far_apart_pause_the_partition_and_say_so(ground: Ground, tmp_path: Path) -> None:
    """Half of 20,000 anchors wait, at random: reading pauses while the metadata fits, and goes on afterwards."""
    rng = random.Random(7)
    start = minutes_ago(20)
    keys = [rng.choice(("silent", "alive")) for _ in range(20_000)]
    texts = [Fed(start + n * 1000, "texts", key, f"{key}-{n}", b"now") for n, key in enumerate(keys)]
    frames = {key: Fed(start + 30_000_000, "frames", key, f"{key}-end", JPEG) for key in ("silent", "alive")}
    with town(ground, tmp_path, {"texts": 1}, **settings(ground, cost_ms=1.0, model={"max_batch": 64})) as made:
        made.feed([frames["alive"], *texts])
        made.start()
        made.read_until(lambda: "reading pauses: finished offsets lie too far apart" in made.log())
        assert len(made.results) < keys.count("alive")
        made.feed([frames["silent"]])
        made.read_until(lambda: len(made.results) >= 20_000, 120)
        made.read(1.0)
        assert len({r["inputs"]["texts"]["id"] for r in made.results}) == len(made.results) == 20_000
        assert made.stop() == [0]


@pytest.mark.long
def test_ten_times_too_much_is_read_as_it_can_be(ground: Ground, tmp_path: Path) -> None:
    """A backlog far past every bound: memory stays, lag is told, the worker is ready, and nothing is lost."""
    limits = {"limits": {"max_pending_anchors": 200, "max_pending_bytes": "64KiB"}}
    events = story(5, minutes_ago(30), keys=10, anchors_per_key=300)
    with town(ground, tmp_path, {"texts": 2}, **settings(ground, **limits)) as made:
        made.start()
        made.read_until(lambda: all("ready" in said for said in made.ask("readyz").values()) and bool(made.ports()))
        (worker,) = made.workers
        before = resident_bytes(worker.pid)
        made.feed(events)
        most_pending = 0.0
        while len(made.results) < 3_000:
            made.read_until(lambda: True)
            made.read()
            pending = [line for line in made.metrics().splitlines() if line.startswith("fusion_pending_anchors ")]
            most_pending = max(most_pending, *(float(line.split()[1]) for line in pending))
            assert all(said == "ready\n" for said in made.ask("readyz").values())
        assert verdicts(made.results) == nearest_frame(events)
        # A poll may bring max_poll_records more than the bound, and those on their way to the commit count as well.
        assert most_pending <= 200 + 500 + 500
        assert resident_bytes(worker.pid) - before < 64 * MIB
        assert made.stop() == [0]


def test_a_full_worker_still_reads_the_partition_that_holds_all_up(ground: Ground, tmp_path: Path) -> None:
    """One partition fills the bound with anchors that no frame may be read for before the others' anchors are known."""
    limits = {"limits": {"max_pending_anchors": 50}, "streams": {"frames": {"horizon": "30s"}}}
    events = story(8, minutes_ago(30), keys=12, anchors_per_key=60, spacing_us=5_000_000)
    with town(ground, tmp_path, {"texts": 4}, **settings(ground, **limits)) as made:
        made.feed(events)
        made.start()
        made.read_until(lambda: len(made.results) >= 720)
        assert verdicts(made.results) == nearest_frame(events)
        assert made.stop() == [0]
