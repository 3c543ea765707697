"""`fusion-worker feed video`: a file and a real RTSP server, to a real Kafka, with what goes wrong with cameras."""

from __future__ import annotations

import re
import signal
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.feeds import Feeds, Frame
from tests.prometheus_tools import wait_until
from tests.rtsp import draw, served

RATE, SECONDS = 15, 40
START = "2026-01-01T12:00:00Z"
START_US = 1_767_268_800_000_000


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty seconds of numbered pictures."""
    return draw(tmp_path_factory.mktemp("clip") / "clip.mp4", SECONDS, RATE)


@pytest.fixture
def feeds(stack: Any, tmp_path: Path) -> Iterator[Feeds]:
    """A topic of its own."""
    made = Feeds(stack, tmp_path)
    yield made
    made.close()


def in_order(frames: Sequence[Frame]) -> bool:
    """No id comes twice, and no time goes back."""
    times = [frame.time_us for frame in frames]
    return len({frame.id for frame in frames}) == len(frames) and times == sorted(set(times))


def test_a_file_is_sent_whole_in_its_own_time(feeds: Feeds, clip: Path) -> None:
    """Each picture once, at the start plus its place; the same file under the same start is the same events."""
    for _ in range(2):
        assert feeds.run(str(clip), "--start", START, "--speed", "0", "--size", "160") == 0
    frames = feeds.wait_for(2 * SECONDS * RATE)
    first, second = frames[: SECONDS * RATE], frames[SECONDS * RATE :]
    assert [frame.number for frame in first] == list(range(SECONDS * RATE))
    assert all(abs(f.time_us - START_US - f.number * 1e6 / RATE) <= 1 for f in first)
    assert {(frame.key, frame.clock, frame.error_us) for frame in first} == {("clip", "container", 0)}
    assert [(frame.id, frame.time_us) for frame in first] == [(frame.id, frame.time_us) for frame in second]
    assert in_order(first)


def test_rtsp_gives_the_frames_of_the_file_at_their_distances(feeds: Feeds, clip: Path) -> None:
    """By the sender's clock; each frame lies at the file's distance to the last within the errors that both state. The
    server is killed and comes back: frames within 5 s, no id twice, no time going back, told once each."""
    with served(clip, "joe", "s3cret") as server:
        feed = feeds.start(f"junction-12={server.url('joe:s3cret')}", "--hold", "10s")
        before = list(feeds.wait_for(6 * RATE))
        assert {(frame.key, frame.clock) for frame in before} == {("junction-12", "sender_ntp")}
        numbers = [frame.number for frame in before]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        last = before[-1]
        for frame in before:
            off_us = (last.time_us - frame.time_us) - (last.number - frame.number) * 1e6 / RATE
            assert abs(off_us) <= frame.error_us + last.error_us
            assert frame.time_us <= frame.arrived_us + frame.error_us
        server.stop()
        wait_until(lambda: "nobody listens there" in feeds.log(), 10, "the loss is told")
        count, back = len(feeds.read()), time.time()
        server.start()
        feeds.wait_for(count + 2 * RATE)
        assert feeds.frames[count].arrived_us / 1e6 - back < 5
        assert in_order(feeds.frames)
        feed.send_signal(signal.SIGTERM)
        assert feed.wait(20) == 0
    assert feeds.log().count("nobody listens there") == 1
    assert "video plays again" in feeds.log()
    assert "s3cret" not in feeds.log()


def test_a_wrong_password_is_one_line_and_the_other_cameras_play(feeds: Feeds, clip: Path) -> None:
    """A live source is asked again; /readyz says why it is not ready, /metrics counts, and no line has the password."""
    with served(clip, "joe", "s3cret") as server:
        feed = feeds.start(
            f"good={server.url('joe:s3cret')}", f"bad={server.url('joe:wr0ng')}", "dead=rtsp://127.0.0.1:9/x",
            "--hold", "0ms", "--rate", "5",
        )  # fmt: skip
        frames = feeds.wait_for(10)
        assert {(frame.key, frame.clock) for frame in frames} <= {("good", "arrival"), ("good", "sender_ntp")}
        assert frames[0].clock == "arrival"
        found = wait_until(lambda: re.search(r'"port": (\d+)', feeds.log()), 10, "the port")
        with pytest.raises(urllib.error.HTTPError) as answer:
            urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/readyz", timeout=5)
        said = answer.value.read().decode()
        assert "video bad: rtsp://[redacted]@127.0.0.1" in said
        assert "user or password is wrong" in said
        assert "video dead: rtsp://127.0.0.1:9/x: nobody listens there" in said
        wait_until(lambda: feeds.read()[-1].clock == "sender_ntp", 20, "a sender report")
        with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/metrics", timeout=5) as page:
            metrics = page.read().decode()
        assert 'fusion_feed_clock_changes_total{clock="sender_ntp",key="good"} 1.0' in metrics
        feed.send_signal(signal.SIGTERM)
        assert feed.wait(20) == 0
    assert in_order(feeds.frames)
    assert feeds.log().count("user or password is wrong") == 1
    assert "wr0ng" not in feeds.log()


def test_mjpeg_is_passed_through_and_a_folder_is_played_again(feeds: Feeds, tmp_path: Path) -> None:
    """Bytes as they are in the file while the size is right; with `--loop` times go on."""
    folder = tmp_path / "clips"
    folder.mkdir()
    path = draw(folder / "a.avi", 2, RATE, "mjpeg")
    feed = feeds.start(str(folder), "--loop", "--speed", "0", "--start", START)
    frames = feeds.wait_for(5 * RATE)
    feed.send_signal(signal.SIGTERM)
    assert feed.wait(20) == 0
    assert [frame.number for frame in frames[: 3 * RATE]] == [*range(2 * RATE), *range(RATE)]
    assert all(frame.body in path.read_bytes() for frame in frames[: 2 * RATE])
    assert in_order(feeds.read())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("none.mp4", None, "there is no such file or folder"), ("text.mp4", b"no video at all", "no video that PyAV")],
)
def test_a_file_that_is_no_video_ends_with_2(feeds: Feeds, tmp_path: Path, name: str, content: Any, said: str) -> None:
    """In one line that names it."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert feeds.run(str(tmp_path / name)) == 2
    assert [line for line in feeds.log().splitlines() if said in line and name in line]
