"""One camera, device, file or folder -> events of its frames."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av.error

from schemas.names import JPEG
from worker.errors import ConfigError, Fatal
from worker.feeds.outlet import LiveEvent, Outlet
from worker.feeds.video.clock import Clock, SourceClock, Stamp
from worker.feeds.video.container import Unplayable, is_live, opened, sender_us, unplayable, written_us
from worker.feeds.video.pictures import Chooser, Wanted, is_whole
from worker.ops.catalogue import Name
from worker.ports.ops import Health, Log
from worker.redaction import without_secrets

SOURCE = "/fusion-worker/feeds/video/"
TYPE = "camera.frame"
# Seconds before a lost camera is asked again; doubled up to the second.
_AGAIN_SECONDS, _AT_MOST_SECONDS = 0.2, 2.0
# What waits for the sender's clock.
_HELD_BYTES = 32 * 2**20
# `creation_time` has whole seconds in most files, and recorders write the end as well as the beginning.
_WRITTEN_ERROR_US = 1_000_000
PICTURES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, slots=True)
class Spec:
    """One source. `start_us`: when a file began; `speed`: of a file, 0 as fast as possible; `picture_seconds`: between
    the pictures of a folder."""

    key: str
    address: str
    stream: str
    topic: str
    wanted: Wanted
    hold_us: int = 3_000_000
    start_us: int | None = None
    speed: float = 1.0
    loop: bool = False
    picture_seconds: float = 1.0


class VideoSource:
    """Plays one source into an outlet.

    Guarantees: no id comes twice and no event time goes back, over reconnections and loops; each event says by which
    clock its time is; a live source that is lost is told once and asked again within two seconds, without end.
    """

    def __init__(
        self, spec: Spec, outlet: Outlet, observer: Any, health: Health, log: Log,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:  # fmt: skip
        """`observer` hears counts; `now_us` is the wall clock."""
        self._spec, self._outlet, self._observer, self._health = spec, outlet, observer, health
        self._log, self._now_us = log, now_us
        self._clock = SourceClock(spec.hold_us, self._clock_changed)
        self._chooser = Chooser(spec.wanted)
        self._stop = threading.Event()
        self._lost: str | None = None
        self._again_seconds, self._sent, self._next_us = _AGAIN_SECONDS, 0, 0
        self._playing = without_secrets(spec.address)
        self.name = f"video {spec.key}"

    def run(self, stop: threading.Event) -> None:
        """Plays until `stop`; a file until its end.

        Raises:
            ConfigError: a file that is not there or is no video.
            Fatal: no picture of a file could be decoded; Kafka refuses.
        """
        self._stop = stop
        if is_live(self._spec.address):
            self._run_live()
        else:
            self._run_files()

    def _run_live(self) -> None:
        self._health.block(self.name, "has not begun to play")
        while not self._stop.is_set():
            try:
                with opened(self._spec.address, self._spec.wanted.rate) as container:
                    self._clock.connected()
                    self._play(container, self._as_it_arrives(container))
                reason = f"{without_secrets(self._spec.address)}: the stream ended"
            except Unplayable as error:
                reason = str(error)
            if self._stop.is_set():
                return
            self._health.block(self.name, reason)
            if reason != self._lost:
                self._log.warning("video lost; asked again", key=self._spec.key, reason=reason)
            self._lost = reason
            self._stop.wait(self._again_seconds)
            self._again_seconds = min(2 * self._again_seconds, _AT_MOST_SECONDS)

    def _plays(self) -> None:
        """A frame has come."""
        if self._lost is not None:
            self._log.info("video plays again", key=self._spec.key)
        if self._lost is not None or not self._sent:
            self._health.clear(self.name)
        self._lost, self._again_seconds = None, _AGAIN_SECONDS

    def _as_it_arrives(self, container: Any) -> Iterator[tuple[Any, int]]:
        """Packets with their presentation time, once it is known by which clock they go."""
        held: list[tuple[Any, int]] = []
        size = 0
        for packet, pts_us in self._packets(container):
            now_us = self._now_us()
            self._clock.hear(pts_us, now_us, sender_us(packet))
            held.append((packet, pts_us))
            size += packet.size
            if self._clock.ready(now_us) or size > _HELD_BYTES:
                yield from held
                held, size = [], 0
        yield from held

    def _packets(self, container: Any) -> Iterator[tuple[Any, int]]:
        video = container.streams.video[0]
        try:
            for packet in container.demux(video):
                if self._stop.is_set():
                    return
                if packet.size and (at := packet.pts if packet.pts is not None else packet.dts) is not None:
                    yield packet, int(at * packet.time_base * 1_000_000)
        except (av.error.FFmpegError, OSError) as error:
            if is_live(self._spec.address):
                raise unplayable(self._spec.address, error) from None
            self._broken("it cannot be read any further")

    def _play(self, container: Any, packets: Iterator[tuple[Any, int]], picture: bool = False) -> int:
        """How many frames there were, sent or not; `picture`: it is a file of one."""
        video = container.streams.video[0]
        video.thread_type = "SLICE"  # Threads by frame would hold back a frame each.
        codec, width, frames = video.codec_context.name, video.codec_context.width, 0
        for packet, pts_us in packets:
            if picture and not is_whole(bytes(packet)):
                self._broken("it is no whole JPEG")
                continue
            ready = codec == "mjpeg" and self._chooser.as_it_comes(codec, bytes(packet), width)
            if ready and not self._chooser.looks:
                self._offer(pts_us, None, lambda packet=packet: (JPEG, bytes(packet)))  # type: ignore[misc]
                frames += 1
                continue
            for frame in self._decoded(packet):
                at = pts_us if frame.pts is None else int(frame.pts * frame.time_base * 1_000_000)
                made = (lambda p=packet: (JPEG, bytes(p))) if ready else (lambda f=frame: self._chooser.jpeg(f))
                self._offer(at, frame, made)
                frames += 1
        return frames

    def _decoded(self, packet: Any) -> list[Any]:
        try:
            return list(packet.decode())
        except (av.error.FFmpegError, OSError):
            self._broken("it cannot be decoded")
            return []

    def _broken(self, why: str) -> None:
        self._observer.count(Name.FEED_DROPPED, stream=self._spec.stream, reason="broken")
        self._log.warning("a broken picture is left out", key=self._spec.key, reason=f"{self._playing}: {why}")

    def _offer(self, pts_us: int, frame: Any, make: Callable[[], tuple[str, bytes]]) -> None:
        """Stamps one frame and sends it, if it is due and shows something new."""
        stamp = self._clock.stamp(pts_us)
        self._plays()
        if not self._chooser.due(stamp.time_us) or not (frame is None or self._chooser.moved(frame, stamp.time_us)):
            return
        content_type, body = make()
        spec, self._sent = self._spec, self._sent + 1
        event = LiveEvent(
            spec.stream, spec.topic, spec.key, f"{spec.key}-{stamp.time_us}", SOURCE + spec.key, TYPE, stamp.time_us,
            content_type, body, stamp.attributes(),
        )  # fmt: skip
        self._outlet.put(event, wait=not is_live(spec.address))

    def _clock_changed(self, clock: Clock, why: str) -> None:
        self._observer.count(Name.FEED_CLOCK, key=self._spec.key, clock=str(clock))
        self._log.warning("another clock tells the frames' times", key=self._spec.key, clock=str(clock), reason=why)

    def _run_files(self) -> None:
        files = files_of(self._spec.address)
        while not self._stop.is_set():
            before = self._sent
            for path in files:
                if not self._stop.is_set():
                    self._play_file(path)
            if not self._spec.loop or self._sent == before:
                break
        if not self._sent and not self._stop.is_set():
            raise Fatal(f"{self._spec.address}: no picture of it could be decoded")

    def _play_file(self, path: Path) -> None:
        """What cannot be played of a folder costs that file alone, and no time."""
        self._playing, picture = str(path), path.suffix.lower() in PICTURES
        try:
            container = opened(str(path))
        except Unplayable as error:
            if not Path(self._spec.address).is_dir():
                raise ConfigError(f"SOURCE: {error}") from error
            self._broken(str(error).removeprefix(f"{path}: "))
            return
        with container:
            first_us = container.start_time or 0
            start = self._start(container)
            self._clock.connected(Stamp(start.time_us - first_us, start.clock, start.error_us, 0))
            if not self._play(container, self._paced(container, first_us), picture):
                return
            lasts_us = int(self._spec.picture_seconds * 1e6) if picture else int(container.duration or 0)
            if picture:
                self._wait_until(self._last_pace + self._spec.picture_seconds)
            self._next_us = start.time_us + max(1, lasts_us)

    def _start(self, container: Any) -> Stamp:
        """When presentation time 0 is: as told, as the file says, or now; a second file goes on from there."""
        if self._next_us:
            return Stamp(self._next_us, self._first.clock, self._first.error_us, 0)
        if self._spec.start_us is not None:
            self._first = Stamp(self._spec.start_us, Clock.CONTAINER, 0, 0)
        elif (written := written_us(container)) is not None:
            self._first = Stamp(written, Clock.CONTAINER, _WRITTEN_ERROR_US, 0)
        else:
            ahead_us = int(container.duration or 0) if self._spec.speed == 0 else 0
            self._first = Stamp(self._now_us() - ahead_us, Clock.ARRIVAL, 0, 0)
        return self._first

    _first = Stamp(0, Clock.ARRIVAL, 0, 0)
    _last_pace = 0.0

    def _paced(self, container: Any, first_us: int) -> Iterator[tuple[Any, int]]:
        """A file's packets, each when it is due."""
        began = self._last_pace = time.monotonic()
        for packet, pts_us in self._packets(container):
            if self._spec.speed:
                self._wait_until(began + (pts_us - first_us) / 1e6 / self._spec.speed)
            yield packet, pts_us

    def _wait_until(self, monotonic_seconds: float) -> None:
        if self._spec.speed:
            self._stop.wait(max(0.0, monotonic_seconds - time.monotonic()))


def files_of(address: str) -> list[Path]:
    """The file, or a folder's in the order of their names.

    Raises:
        ConfigError: nothing is there.
    """
    path = Path(address)
    if not path.exists():
        raise ConfigError(f"SOURCE: {address}: there is no such file or folder")
    if not path.is_dir():
        return [path]
    if files := sorted(one for one in path.iterdir() if one.is_file() and not one.name.startswith(".")):
        return files
    raise ConfigError(f"SOURCE: {address}: the folder is empty")
