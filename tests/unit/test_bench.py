"""The bench's own arithmetic: what it calls right, between which moments it measures, what its table says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.backlog import FRAME_BYTES, Backlog, Expected, expected
from tests.bench.contenders import KINDS, absent, settings
from tests.bench.job import NoOp
from tests.bench.judge import Figures, Result, amiss, judged, marks, right
from tests.bench.measure import Sample, Watch, processor_seconds, spent_between, tree
from tests.bench.nearest import Came, Nearest
from tests.bench.openloop import latencies_ms, longest_silence, needed_us, percentile, plan
from tests.bench.plain import verdicts
from tests.bench.scale import hits, together
from tests.bench.table import table
from tests.story import Fed
from worker.config import Settings

BACKLOG = Backlog("b", texts=64, mix=3, start_us=1_000_000_000)


@pytest.fixture(scope="module")
def events() -> list[Fed]:
    """All events of a small backlog."""
    return BACKLOG.events()


@pytest.fixture(scope="module")
def oracle(events: list[Fed]) -> dict[str, Expected]:
    """The right answers."""
    return expected(events)


def answers(events: list[Fed]) -> list[Result]:
    """What the hand-written match and the no-op model say."""
    keys: dict[str, Nearest] = {}
    pairs = []
    for event in events:
        nearest = keys.setdefault(event.key, Nearest())
        came = Came(event.time_us // 1000, event.id, event.body)
        pairs += nearest.text(came) if event.stream == "texts" else nearest.frame(came)
    told = zip(pairs, verdicts(NoOp(), pairs), strict=True)
    return [Result(float(n), text.id, frame and frame.id, said.score) for n, ((text, frame), said) in enumerate(told)]


def test_the_match_by_hand_is_right(events: list[Fed], oracle: dict[str, Expected]) -> None:
    """It and the oracle agree on every text, whichever stream is read ahead."""
    assert right(answers(events), oracle, scores=True) == 1.0
    texts_first = sorted(events, key=lambda event: (event.stream != "texts", event.time_us))
    frames_first = sorted(events, key=lambda event: (event.stream != "frames", event.time_us))
    assert right(answers(texts_first), oracle, scores=True) == 1.0
    assert right(answers(frames_first), oracle, scores=True) == 1.0


def test_two_results_that_are_swapped_are_wrong(events: list[Fed], oracle: dict[str, Expected]) -> None:
    """Swapped frames are told by their ids, swapped verdicts by the no-op model's scores."""
    found = answers(events)
    one, other = found[3], found[4]
    frames = [*found[:3], one._replace(frame=other.frame), other._replace(frame=one.frame), *found[5:]]
    assert right(frames, oracle, scores=False) == pytest.approx(1 - 2 / 64)
    verdicts_only = [*found[:3], one._replace(score=other.score), other._replace(score=one.score), *found[5:]]
    assert right(verdicts_only, oracle, scores=True) == pytest.approx(1 - 2 / 64)


def test_a_second_result_a_lost_one_and_a_stranger_are_wrong(events: list[Fed], oracle: dict[str, Expected]) -> None:
    """Each text has one result, and there are no others."""
    found = answers(events)
    assert right([*found, found[0]], oracle, scores=True) == pytest.approx(63 / 64)
    assert right(found[1:], oracle, scores=True) == pytest.approx(63 / 64)
    assert right([*found, found[0]._replace(text="nobody")], oracle, scores=True) == pytest.approx(64 / 65)
    assert amiss(found, oracle) == (0, 0, 0)
    assert amiss([*found[2:], found[3], found[4], found[5]._replace(score=2.0)], oracle) == (2, 3, 1)
    assert amiss([*found, found[0]._replace(text="nobody")], oracle) == (0, 0, 1)


def test_a_backlog_is_the_same_for_everybody(events: list[Fed]) -> None:
    """Its events, their places and their bodies come from the seed; the mix and the sizes are as asked."""
    assert BACKLOG.events() == events
    assert [event.body for event in BACKLOG.events()] == [event.body for event in events]
    frames = [event for event in events if event.stream == "frames"]
    assert {len(event.body) for event in frames} == {FRAME_BYTES}
    assert len({event.body for event in frames}) > 40
    assert 3.0 <= len(frames) / 64 <= 6.0
    assert len({event.id for event in events}) == len(events)
    large = replace(BACKLOG, frame_bytes=300_000).events()
    assert {len(event.body) for event in large if event.stream == "frames"} == {300_000}


def test_topics_of_a_backlog_may_be_of_unequal_size(events: list[Fed]) -> None:
    """Three partitions of texts beside four of frames; the answers are about the same events."""
    uneven = replace(BACKLOG, texts_partitions=3).events()
    places = {(event.stream, event.id.split("/")[1]) for event in uneven}
    assert places == {*(("texts", n) for n in "012"), *(("frames", n) for n in "0123")}
    assert [event.body for event in uneven] == [event.body for event in events]


def test_a_pool_is_one_contender() -> None:
    """Its processor time and its bodies are all workers' together."""
    samples = [Sample(1.0, {"0": 1.0, "1": 2.5, "redis": 0.5, "broker": 4.0})]
    assert together(samples) == [Sample(1.0, {"contender": 3.5, "redis": 0.5, "broker": 4.0})]
    told = [f'fusion_bodies_total{{from="ring"}} {ring}\nfusion_bodies_total{{from="kafka"}} 10' for ring in (10, 50)]
    assert hits(told) == pytest.approx(60 / 80)


def test_costs_are_taken_between_a_tenth_and_nine_tenths() -> None:
    """10 results a second for 10 seconds at half a processor: 50,000 us a pair, whatever came before and after."""
    results = [Result(100 + n / 10, f"t{n}", None, 0.0) for n in range(100)]
    assert marks([one.at for one in results]) == (101.0, 109.0, 80)
    spent = {90.0: 0.0, 100.0: 9.0, 105.0: 11.5, 110.0: 14.0, 120.0: 99.0}
    samples = [Sample(at, {"contender": used, "redis": used / 10, "broker": used}) for at, used in spent.items()]
    assert spent_between(samples, "contender", 101.0, 109.0) == pytest.approx(4.0)
    found = judged(results, samples, 7, {f"t{n}": Expected(None, 0.0) for n in range(100)}, 4, scores=True)
    assert found.pairs_per_second == pytest.approx(10.0)
    assert found.pair_us == pytest.approx(55_000)
    assert found.event_us == pytest.approx(11_000)
    assert (found.redis_us, found.broker_us) == (pytest.approx(5_000), pytest.approx(50_000))
    assert (found.peak_bytes, found.right) == (7, 1.0)


def test_a_process_is_measured_with_its_children() -> None:
    """Its processor time grows while it works, and it has peak memory; of one that ended there is nothing."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        assert child.pid in {process.pid for process in tree(os.getpid())}
        watch = Watch({"child": child.pid}, ["child"])
        while not watch.samples or watch.samples[-1].spent["child"] < 0.2:
            assert child.poll() is None
        watch.close()
        child.kill()
    assert watch.peak > 2**20
    spent = [one.spent["child"] for one in watch.samples]
    assert spent == sorted(spent)
    assert processor_seconds(tree(child.pid)) is None


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that is half as fast in the second round changes no ratio."""

    def one(rate: float, cost: float) -> Figures:
        return Figures(rate, cost, cost / 7, 0.0, 0.0, 2**20, 1.0)

    told = table("noop", 6, {"plain": [one(200, 50), one(100, 100)], "worker": [one(100, 100), one(50, 200)]}, 64)
    plain = next(line for line in told.splitlines() if line.startswith("| plain"))
    assert [cell.strip() for cell in plain.split("|")][2:6] == [
        "150 (100 to 200)", "2.00 (2.00 to 2.00)", "75 (50 to 100)", "0.50 (0.50 to 0.50)",
    ]  # fmt: skip
    assert [cell.strip() for cell in plain.split("|")][11:13] == ["900 (600 to 1200)", "0.0 (0.0 to 0.0)"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("worker")])
def test_the_worker_gets_settings_that_it_takes(kind: str) -> None:
    """Each form of the worker begins with a valid configuration, or says in one line why it is left out."""
    names = {name: name for name in ("group", "texts", "frames", "out", "dead")}
    spec = {**names, "kafka": "localhost:9092", "redis": "redis://localhost:6379/0"}
    told = absent(kind)
    assert (told is not None and "left out" in told) or Settings.model_validate(settings(kind, spec))


@pytest.mark.parametrize(
    ("frames_ms", "wanted_ms"),
    [
        ([900, 1050], 1050),  # 50 after is nearer than 100 before
        ([900, 1200], 1200),  # nothing nearer than 100 can come once time is 1,100
        ([1000, 1100], 1000),  # none is nearer than this one
        ([200, 1600], 1600),  # nothing within reach
        ([200, 1500, 1600], 1500),  # the edge counts
        ([950, 960, 1001], 1001),
        ([900], None),
    ],
)
def test_a_result_waits_for_the_first_frame_after_which_none_is_nearer(
    frames_ms: list[int], wanted_ms: int | None
) -> None:
    """A text of 1,000 ms: what came before that frame does not count as the worker's time."""
    found = needed_us(1_000_000, [one * 1000 for one in frames_ms])
    assert found == (None if wanted_ms is None else wanted_ms * 1000)


def test_latency_begins_with_the_last_needed_event() -> None:
    """Texts without a result, and those whose last event did not come, are left out."""
    needed = {"a": 1_000_000, "b": 2_000_000, "c": None, "d": 4_000_000}
    assert latencies_ms({"a": 1.05, "b": 2.2, "c": 9.9}, needed) == pytest.approx([50.0, 200.0])
    assert [percentile(range(1, 101), part) for part in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]


def test_an_open_loop_is_planned_before_it_begins() -> None:
    """The rate and the mix are as asked, a camera sends ten frames a second, and the last text has frames after it."""
    events = plan(60.0, mix=5, seconds=10.0, seed=1)
    texts = [one for one in events if one.stream == "texts"]
    frames = [one for one in events if one.stream == "frames"]
    assert len(texts) == 600
    assert len({one.key for one in frames}) == 30
    assert len(frames) / 11.5 == pytest.approx(300, rel=0.01)
    assert max(one.at for one in frames) > max(one.at for one in texts) + 1.0
    assert [one.at for one in events] == sorted(one.at for one in events)


def test_a_silence_is_a_partitions_own() -> None:
    """Other partitions' results do not end it, the span's ends bound it."""
    results = [(0, 1.0), (0, 2.0), (1, 1.5), (0, 6.0), (1, 3.0), (1, 5.5), (0, 9.0), (1, 9.5)]
    assert longest_silence(results, 0.0, 10.0) == pytest.approx(4.0)
    assert longest_silence(results, 0.0, 5.0) == pytest.approx(3.0)


def test_the_worker_before_is_the_earlier_source(tmp_path: Path) -> None:
    """It is loaded from the folder that `--before` names, not from here."""
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "__init__.py").write_text("raise SystemExit('the earlier one')")
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"before": str(tmp_path), "job": "noop"}))
    command = [sys.executable, "-m", "tests.bench.contenders", "worker-before", str(spec)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (1, "the earlier one")
