"""What goes wrong on purpose: `feed --lose --late --skew`."""

from __future__ import annotations

import pytest

from worker.cli import main
from worker.feeds.faults import Faults, injected
from worker.feeds.junction import junction_events

SECOND = 1_000_000
EVENTS = list(junction_events(5, 2, 40.0, 5.0, 1.0))


def test_without_faults_the_story_is_as_it_was() -> None:
    """Each event once, sent at its time."""
    told = list(injected(iter(EVENTS), Faults(), 0))
    assert [(one.id, one.time_us, one.sent_us) for one in told] == [
        (one.id, one.time_us, one.time_us) for one in EVENTS
    ]
    assert [one.body for one in told] == [one.body for one in EVENTS]


def test_what_is_lost_is_of_its_stream_and_the_same_for_the_same_seed() -> None:
    """A share of the frames, no text; what is left is what it was."""
    told = list(injected(iter(EVENTS), Faults(lose={"frames": 0.3}), 1))
    kept = {one.id for one in told}
    frames = [one.id for one in EVENTS if one.stream == "frames"]
    assert 0.6 < len(kept & set(frames)) / len(frames) < 0.8
    assert {one.id for one in EVENTS if one.stream == "texts"} <= kept
    assert kept == {one.id for one in injected(iter(EVENTS), Faults(lose={"frames": 0.3}), 1)}
    assert kept != {one.id for one in injected(iter(EVENTS), Faults(lose={"frames": 0.3}), 2)}


def test_what_is_late_keeps_its_time_and_what_a_wrong_clock_tells_is_sent_in_time() -> None:
    """All in the order in which it is sent, which no more is that of the times."""
    faults = Faults(late_us={"texts": 2 * SECOND}, skew_us={"frames": -3 * SECOND})
    told = list(injected(iter(EVENTS), faults, 0))
    assert [one.sent_us for one in told] == sorted(one.sent_us for one in told)
    by_id = {one.id: one for one in told}
    for event in EVENTS:
        off = (0, 2 * SECOND) if event.stream == "texts" else (-3 * SECOND, 0)
        one = by_id[event.id]
        assert (one.time_us - event.time_us, one.sent_us - event.time_us) == off
    assert [one.time_us for one in told] != sorted(one.time_us for one in told)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--lose", "frames"), "'frames' is not STREAM=VALUE"),
        (("--lose", "frames=2"), "'2' is not a number from 0 to 1"),
        (("--late", "frames=soon"), "soon"),
        (("--skew", "frames=-soon"), "soon"),
        (("--lose", "loops=0.1"), "the story has no stream 'loops'; it has frames, texts"),
    ],
)
def test_what_is_no_fault_is_one_line_and_exit_2(
    given: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before Kafka is asked for anything."""
    assert main(["feed", *given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
