"""The junction that SUMO simulates: frames, readings, reports and truth of one step."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from worker.cli import main
from worker.feeds.story import FeedEvent
from worker.feeds.sumo import events as sumo
from worker.feeds.sumo.simulate import HERE
from worker.feeds.sumo.trace import CENTRE, EMERGENCY, LABELS, VIEW, Recorder, Row, Trace
from worker.feeds.sumo.view import frame, reading, step_of

SECONDS = 240.0


@pytest.fixture(scope="module")
def trace() -> Trace:
    """Four minutes of a junction."""
    return sumo.simulated([3, 1], SECONDS)


@pytest.fixture(scope="module")
def story() -> list[FeedEvent]:
    """A minute of two junctions."""
    return list(sumo.sumo_events(4, 2, 60.0, 2.0, 0.5))


def test_the_truth_is_the_step_s(trace: Trace) -> None:
    """Each label is what its step shows: crashed ones, an emergency vehicle, many that halt in view, else none."""
    assert len(trace) == SECONDS * 5
    assert len({trace.label(step) for step in range(len(trace))}) >= 3
    for step in range(0, len(trace), 7):
        rows = trace.vehicles(step)
        halting = [
            row
            for row in rows
            if row.speed < 1 and abs(row.x - CENTRE[0]) < VIEW[0] and abs(row.y - CENTRE[1]) < VIEW[1]
        ]
        wanted = "congestion" if len(halting) >= 11 else "free_flow"
        wanted = "emergency" if any(row.kind == EMERGENCY for row in rows) else wanted
        wanted = "accident" if any(row.crashed for row in rows) else wanted
        assert trace.label(step) == wanted


def test_the_same_seed_is_the_same_life(trace: Trace) -> None:
    """To the last vehicle; another seed is another."""
    again, other = sumo.simulated([3, 1], SECONDS), sumo.simulated([3, 2], SECONDS)
    assert np.array_equal(trace.rows, again.rows)
    assert np.array_equal(trace.loops, again.loops)
    assert not np.array_equal(trace.labels, other.labels)


def test_speeds_and_counts_are_those_of_a_town(trace: Trace) -> None:
    """In metres a second, per cent and vehicles."""
    assert 0 <= trace.rows[:, 5].min() <= trace.rows[:, 5].max() < 30
    assert (trace.loops[..., 1] <= 100).all()
    entered = trace.loops[..., 0].sum()
    assert 20 < entered < 600


def test_a_frame_shows_each_vehicle_where_it_is() -> None:
    """One north of the middle lies in the upper half, one south of it in the lower, one out of view nowhere."""
    recorder = Recorder()
    lit = Row(150.0, 180.0, np.pi, 6.5, 2.2, 0.0, EMERGENCY, False)
    for rows in ([], [lit], [lit._replace(y=120.0)], [lit._replace(y=290.0)]):
        recorder.add(rows, [(0, 0.0)] * 4, [np.nan] * 4, 0)
    made = recorder.trace()
    pictures = [
        np.asarray(Image.open(io.BytesIO(frame(np.random.default_rng(1), made, step))), float) for step in range(4)
    ]
    changed = [np.abs(picture - pictures[0]).max(axis=2) > 60 for picture in pictures]
    assert [bool(one.any()) for one in changed] == [False, True, True, False]
    (up, left), (down, _) = (np.argwhere(one).mean(axis=0) for one in changed[1:3])
    assert up < 60 < 180 < down + 30
    assert abs(left - 160) < 3
    assert pictures[1].shape == (240, 320, 3)


def test_a_reading_is_its_second_s(trace: Trace) -> None:
    """Loops count who came onto them, radar tells the speed of who comes, null for nobody."""
    told = [json.loads(reading(trace, second)) for second in range(1, int(SECONDS) + 1)]
    assert sum(one["north_count"] for one in told) == trace.loops[:, 0, 0].sum() > 0
    assert any(one["north_speed"] is None for one in told)
    assert any(one["north_speed"] for one in told)
    assert all(0 <= one["south_occupied"] <= 100 for one in told)


def test_the_story_has_the_truth_of_each_moment(story: list[FeedEvent]) -> None:
    """Events of both junctions in order, no id twice; each label is that of its step in the simulation."""
    assert [one.time_us for one in story] == sorted(one.time_us for one in story)
    assert len({one.id for one in story}) == len(story)
    lives = {f"junction-{n}": sumo.simulated([4, n], 60.0) for n in (1, 2)}
    assert {one.key for one in story} == set(lives)
    assert {one.stream for one in story} == set(sumo.STREAMS)
    assert all(one.label == lives[one.key].label(step_of(one.time_us)) for one in story)
    counts = {stream: sum(one.stream == stream for one in story) for stream in sumo.STREAMS}
    assert counts["loops"] == 2 * 59
    assert abs(counts["frames"] - 240) <= 2


def test_a_moment_for_training_is_what_the_worker_would_match() -> None:
    """Five readings of the seconds before the report, a frame at most 100 ms away, one of the labels."""
    made = list(sumo.moments([5, 1], 12, "train"))
    assert len(made) == 12
    for one in made:
        assert [int(at // 1_000_000) for at, _ in one.readings] == [-5, -4, -3, -2, -1]
        assert abs(one.frame[0]) <= 100_000
        assert one.label in LABELS


def test_without_sumo_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """For the feed and for training; exit 2."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "libsumo" else found(name, *more)
    )
    for command in (["feed", "--story", "sumo"], ["train", "--data", "sumo", "--out", str(tmp_path)]):
        assert main(command) == 2
        assert "pip install 'fusion-worker[sumo]'" in capsys.readouterr().err


def test_the_network_says_how_it_was_made() -> None:
    """In its head, without a path of anybody's machine."""
    assert "Made by netconvert 1.28.0" in (HERE / "junction.net.xml").read_text(encoding="utf-8")
