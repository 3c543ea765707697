"""Frames of folders, files and devices -> events: which are chosen, how large, and when; what is no source says so."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.unit.test_feed_outlet import Lines, total
from worker.errors import ConfigError, Fatal
from worker.feeds.outlet import LiveEvent
from worker.feeds.video.container import Unplayable, opened
from worker.feeds.video.pictures import Wanted
from worker.feeds.video.source import Spec, VideoSource
from worker.ops.health import Health
from worker.ops.metrics import PrometheusObserver

START_US = 1_767_268_800_000_000
NEW_SCENE = 9


class Kept:
    """What an outlet is given."""

    def __init__(self) -> None:
        self.events: list[LiveEvent] = []

    def put(self, event: LiveEvent, **_: Any) -> None:
        """An event."""
        self.events.append(event)


def seen(
    folder: Path, wanted: Wanted, seconds: float = 1.0, observer: PrometheusObserver | None = None
) -> list[LiveEvent]:
    """The events of a folder's pictures, as fast as they go."""
    kept = Kept()
    spec = Spec("yard", str(folder), "frames", "t", wanted, start_us=START_US, speed=0, picture_seconds=seconds)
    source = VideoSource(spec, kept, observer or PrometheusObserver(), Health(), Lines())  # type: ignore[arg-type]
    source.run(threading.Event())
    return kept.events


def drawn(folder: Path, count: int) -> Path:
    """A camera's noise on a grey yard, into which a white van has come with picture NEW_SCENE."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(count):
        pixels = 120 + rng.integers(-6, 7, (240, 320, 3))
        if number >= NEW_SCENE:
            pixels[100:180, 100:220] = 240
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03}.jpg", quality=90)
    return folder


def second(event: LiveEvent) -> float:
    return (event.time_us - START_US) / 1e6


def test_a_still_scene_is_sent_once_and_then_every_ten_seconds(tmp_path: Path) -> None:
    """With `--motion`: noise is no motion, a van is; what watches the stream hears that the camera lives."""
    folder = drawn(tmp_path / "yard", 25)
    assert [second(one) for one in seen(folder, Wanted(motion=2.0))] == [0, NEW_SCENE, NEW_SCENE + 10]
    assert len(seen(folder, Wanted())) == 25


def test_pictures_of_a_folder_come_in_order_at_the_rate_and_size_asked_for(tmp_path: Path) -> None:
    """By their names, each 1/rate later; hidden files are none; a picture is never made larger."""
    folder = drawn(tmp_path / "yard", 4)
    (folder / ".hidden.jpg").write_bytes(b"no picture")
    events = seen(folder, Wanted(width=160, quality=40), 0.25)
    assert [second(one) for one in events] == [0, 0.25, 0.5, 0.75]
    assert [one.id for one in events] == [f"yard-{one.time_us}" for one in events]
    assert {Image.open(io.BytesIO(one.body)).size for one in events} == {(160, 120)}
    large = seen(folder, Wanted(width=160, quality=95), 0.25)
    assert sum(len(one.body) for one in large) > 1.5 * sum(len(one.body) for one in events)
    assert {Image.open(io.BytesIO(one.body)).size for one in seen(folder, Wanted(width=999))} == {(320, 240)}


def test_what_is_broken_in_a_folder_costs_itself_alone(tmp_path: Path) -> None:
    """Empty, cut, damaged, no picture at all, first or last or between: counted, and the next one is taken where it
    would be without; a folder of such alone is told as one."""
    folder, observer = drawn(tmp_path / "yard", 3), PrometheusObserver()
    whole = (folder / "000.jpg").read_bytes()
    damaged = whole[:2000] + bytes(range(256)) * 4 + whole[3024:]
    png = io.BytesIO()
    Image.open(io.BytesIO(whole)).save(png, "PNG")
    broken = {
        "000a.jpg": whole[:300], "000b.jpg": whole[: len(whole) // 2], "000c.jpg": damaged, "001a.jpg": b"no picture",
        "001b.png": png.getvalue()[: len(png.getvalue()) // 2], "9.jpg": b"", "0.db": b"\xd0\xcf\x11\xe0" * 99,
    }  # fmt: skip
    for name, content in broken.items():
        (folder / name).write_bytes(content)
    assert [second(one) for one in seen(folder, Wanted(), observer=observer)] == [0, 1, 2]
    assert total(observer, "feed_dropped_total", stream="frames", reason="broken") == len(broken)
    for number in range(3):
        (folder / f"{number:03}.jpg").unlink()
    with pytest.raises(Fatal, match="no picture of it could be decoded"):
        seen(folder, Wanted())


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    """It would play nothing, without end."""
    with pytest.raises(ConfigError, match="the folder is empty"):
        seen(tmp_path, Wanted())


@pytest.mark.parametrize(
    ("device", "said"),
    [("/dev/video-none", "there is no such file or device"), ("/dev/null", "it is no camera")],
)
def test_a_device_that_is_no_camera_is_told(device: str, said: str) -> None:
    """By Video4Linux, with the rate that is asked for; it is asked again, as a camera that may be plugged in."""
    with pytest.raises(Unplayable, match=said) as error:
        opened(device, 5.0)
    assert str(error.value).startswith(device)
