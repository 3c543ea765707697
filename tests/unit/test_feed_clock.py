"""The clock of a video source: which one tells a frame's time, how sure it is, and that time does not go back."""

from __future__ import annotations

import itertools

import pytest

from worker.feeds.video.clock import TRUST_US, Clock, SourceClock, Stamp

SECOND = 1_000_000
NOW = 1_700_000_000 * SECOND
FRAME = 40_000


def clock_of(heard: list[str], hold_seconds: float = 3) -> SourceClock:
    """A clock; `heard` gets what it changes to."""
    return SourceClock(int(hold_seconds * SECOND), lambda clock, why: heard.append(clock))


def test_frames_wait_for_a_sender_report_and_then_go_by_it() -> None:
    """Held frames get the sender's times too, not those of their arrival."""
    clock = clock_of([])
    for number in range(5):
        clock.hear(number * FRAME, NOW + number * FRAME, None)
        assert not clock.ready(NOW + number * FRAME)
    clock.hear(5 * FRAME, NOW + 5 * FRAME, NOW + 5 * FRAME - 250_000)
    assert clock.ready(NOW + 5 * FRAME)
    first = clock.stamp(0)
    assert (first.time_us, first.clock) == (NOW - 250_000, Clock.SENDER_NTP)
    assert first.attributes() == {"clock": "sender_ntp", "clockerrorms": "100"}


def test_a_second_report_says_how_sure_the_first_was() -> None:
    """The error is what the reports differ by; a report that comes to the same leaves a millisecond."""
    clock = clock_of([])
    clock.hear(0, NOW, NOW)
    clock.stamp(0)
    clock.hear(FRAME, NOW + FRAME, NOW + FRAME + 66_000)
    assert clock.stamp(FRAME).error_us == 66_000
    clock.hear(2 * FRAME, NOW, NOW + 2 * FRAME + 66_300)
    assert clock.stamp(2 * FRAME).error_us == 1_000
    clock.connected()
    clock.hear(0, NOW + SECOND, NOW + SECOND)
    clock.hear(16 * SECOND, NOW + 17 * SECOND, NOW + 17 * SECOND)
    assert clock.stamp(16 * SECOND).error_us == 1_000


def test_without_a_report_frames_go_by_arrival_and_a_later_one_is_told() -> None:
    """After `hold` the least delay tells the times, the spread the error; the change of clock is heard once."""
    heard: list[str] = []
    clock = clock_of(heard, 1)
    for number, late in enumerate((30_000, 0, 90_000, *[20_000] * 30)):
        clock.hear(number * FRAME, NOW + number * FRAME + late, None)
    assert clock.ready(NOW + 2 * SECOND)
    stamp = clock.stamp(0)
    assert (stamp.time_us, stamp.clock, stamp.error_us) == (NOW, Clock.ARRIVAL, 91_000)
    clock.hear(40 * FRAME, NOW + 40 * FRAME, NOW + 40 * FRAME - 50_000)
    assert clock.stamp(40 * FRAME).clock is Clock.SENDER_NTP
    clock.stamp(41 * FRAME)
    assert heard == ["sender_ntp"]


@pytest.mark.parametrize("off_us", [-TRUST_US - 2 * SECOND, TRUST_US + 2 * SECOND])
def test_a_sender_without_a_clock_is_not_believed(off_us: int) -> None:
    """A camera that was never set tells 1970; its frames do not wait, and go by their arrival."""
    clock = clock_of([])
    clock.hear(0, NOW, NOW + off_us)
    assert clock.ready(NOW)
    assert clock.stamp(0) == Stamp(NOW, Clock.ARRIVAL, 1_000, 0)


def test_time_never_goes_back_and_the_event_says_what_was_moved() -> None:
    """A clock set back by a second: event time runs at half speed until it is caught up."""
    clock = clock_of([])
    clock.hear(0, NOW, NOW)
    times = [clock.stamp(0)]
    for number in range(1, 100):
        at = number * FRAME
        clock.hear(at, NOW + at, NOW + at - SECOND)
        times.append(clock.stamp(at))
    assert all(a.time_us < b.time_us for a, b in itertools.pairwise(times))
    assert times[1].attributes()["clockmovedms"] == "980"
    assert times[1].error_us == SECOND + times[1].moved_us
    assert (times[-1].moved_us, "clockmovedms" in times[-1].attributes()) == (0, False)
    assert times[-1].time_us == NOW + 99 * FRAME - SECOND


def test_a_new_connection_with_an_earlier_clock_goes_on_after_the_last_frame() -> None:
    """Also when all presentation times begin anew."""
    clock = clock_of([])
    clock.hear(9 * SECOND, NOW, NOW)
    last = clock.stamp(9 * SECOND)
    clock.connected()
    clock.hear(0, NOW, NOW - SECOND)
    assert clock.stamp(0).time_us == last.time_us + 1
    assert clock.stamp(FRAME).time_us == last.time_us + 1 + FRAME // 2


def test_a_file_goes_by_its_beginning() -> None:
    """Presentation time 0 is at the start given."""
    clock = clock_of([])
    clock.connected(Stamp(NOW, Clock.CONTAINER, 0, 0))
    assert clock.ready(NOW)
    assert clock.stamp(FRAME) == Stamp(NOW + FRAME, Clock.CONTAINER, 0, 0)
