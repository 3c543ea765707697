"""Messages and frames of feeds, from the other program to Kafka: `python -m tests.bench.presets [--messages 10000]`.

A preset of `feed mqtt`: a backlog of QoS 1 that mosquitto keeps for a feed that was away, then messages at an even pace
to one that listens. `feed video`: a clip of 1920 x 1080 at 30 frames a second from GStreamer's RTSP server, sent 640
wide. Told, a run each: events a second and processor time an event, and from the time that the message or the camera's
clock tells to a reader of the topic; of frames those alone whose clock a second sender report has confirmed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import av
import paho.mqtt.client as paho
from kafka import KafkaConsumer, TopicPartition
from paho.mqtt.enums import CallbackAPIVersion

from tests.bench.camera import CLIP_SECONDS, RATE, draw
from tests.bench.measure import processor_seconds, tree
from tests.bench.openloop import percentile
from tests.bench.table import machine
from tests.feeds import Feeds
from tests.integration.test_feed_mqtt import frigate_event
from tests.messages import MessageFeeds
from tests.mosquitto import Mosquitto, mosquitto
from tests.rtsp import served
from worker.demo.stack import open_stack

# mosquitto keeps 1,000 messages of a session, unless it is told otherwise.
KEEPS_ALL = ["max_queued_messages 0"]
PACE, CLIPS = 100, 4
CONFIRMED_MS = 100


def _reading(number: int) -> str:
    """A plug's message, as Zigbee2MQTT sends it."""
    told = {"state": "ON", "power": 17.5 + number % 9, "voltage": 231, "energy": number / 100, "linkquality": 96}
    return json.dumps(told | {"last_seen": datetime.now(UTC).isoformat()})


PRESETS: dict[str, Callable[[int], tuple[str, str]]] = {
    "frigate": lambda number: ("frigate/events", frigate_event(number % 2)),
    "zigbee2mqtt": lambda number: (f"zigbee2mqtt/plug-{number % 50}", _reading(number)),
}


class Seen:
    """What a reader of a topic sees, from now on."""

    def __init__(self, address: str, topic: str, clock: str) -> None:
        """`clock`: the `ce_clock` of those whose age counts."""
        self._consumer = KafkaConsumer(bootstrap_servers=address, group_id=None, fetch_max_wait_ms=20)
        self._consumer.assign([TopicPartition(topic, 0)])
        self._consumer.seek_to_end()
        self._consumer.position(TopicPartition(topic, 0))
        self._clock, self.ages_ms = clock.encode(), list[float]()
        self.count = 0

    def until(self, count: int, seconds: float = 600) -> None:
        """Reads until there are so many.

        Raises:
            TimeoutError: they do not come.
        """
        deadline = time.monotonic() + seconds
        while self.count < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.count} of {count} events")
            for batch in self._consumer.poll(timeout_ms=20).values():
                now = time.time()
                for record in batch:
                    self.count += 1
                    told = dict(record.headers)
                    sure = self._clock == b"device" or int(told["ce_clockerrorms"]) < CONFIRMED_MS
                    if told["ce_clock"] == self._clock and sure:
                        at = datetime.fromisoformat(told["ce_time"].decode())
                        self.ages_ms.append((now - at.timestamp()) * 1000)

    def close(self) -> None:
        """Leaves."""
        self._consumer.close()


def _spent(process: subprocess.Popen[bytes]) -> float:
    return processor_seconds(tree(process.pid)) or 0.0


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def backlog(made: MessageFeeds, broker: Mosquitto, preset: str, count: int) -> tuple[float, float]:
    """Events a second, and milliseconds of processor time an event, from the hundredth on."""
    told = {"host": "127.0.0.1", "port": broker.port}
    _end(made.listening("mqtt", "--preset", preset, **told))
    broker.publish(*map(PRESETS[preset], range(count)))
    with closing(Seen(made.connection["bootstrap_servers"][0], made.topics["readings"], "device")) as seen:
        feed = made.start("mqtt", "--preset", preset, **told)
        seen.until(100)
        first, before, began = seen.count, _spent(feed), time.monotonic()
        seen.until(count)
        took, spent = time.monotonic() - began, _spent(feed) - before
    _end(feed)
    return (count - first) / took, spent * 1000 / (count - first)


def paced(made: MessageFeeds, broker: Mosquitto, preset: str, seconds: int) -> list[float]:
    """Milliseconds from a message's time to a reader of the topic, at PACE messages a second."""
    feed = made.listening("mqtt", "--preset", preset, host="127.0.0.1", port=broker.port, session="false")
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    with closing(Seen(made.connection["bootstrap_servers"][0], made.topics["readings"], "device")) as seen:
        reader = threading.Thread(target=seen.until, args=(PACE * seconds, seconds + 60))
        reader.start()
        began = time.monotonic()
        for number in range(PACE * seconds):
            time.sleep(max(0.0, began + number / PACE - time.monotonic()))
            client.publish(*PRESETS[preset](2 * number), 1)  # Even numbers: Frigate's time is now.
        reader.join()
    client.loop_stop()
    _end(feed)
    return seen.ages_ms


def _longer(clip: Path) -> Path:
    """The same clip several times, one behind the other."""
    path = clip.with_name("long.mp4")
    with av.open(str(clip)) as given, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for number in range(CLIPS):
            given.seek(0)
            for packet in given.demux(video=0):
                if packet.dts is None or packet.pts is None or packet.time_base is None:
                    continue
                ahead = int(number * CLIP_SECONDS / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts + ahead, packet.dts + ahead, stream
                out.mux(packet)
    return path


def frames(made: Feeds, address: str, clip: Path) -> tuple[float, float, list[float]]:
    """Frames a second, milliseconds of processor time a frame, and those from the camera's clock to a reader."""
    count = RATE * CLIP_SECONDS * CLIPS
    with served(clip) as server, closing(Seen(address, made.topic, "sender_ntp")) as seen:
        feed = made.start(f"gate={server.url()}", "--size", "640")
        seen.until(RATE)
        first, before, began = seen.count, _spent(feed), time.monotonic()
        seen.until(count - 3 * RATE)
        took, spent = time.monotonic() - began, _spent(feed) - before
        sent = seen.count - first
        _end(feed)
    return sent / took, spent * 1000 / sent, seen.ages_ms


@contextmanager
def _own(made: Any) -> Iterator[Any]:
    try:
        yield made
    finally:
        made.close()


def _told(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _tell(name: str, rates: Sequence[float], costs: Sequence[float], ages: Sequence[Sequence[float]]) -> None:
    p50, p95 = ([percentile(one, part) for one in ages] for part in (0.5, 0.95))
    print(
        f"| {name} | {_told(rates)} | {_told(costs)} | {_told(p50)} | {_told(p95)} | {len(rates)} x {len(ages[0])} |",
        flush=True,
    )


def main() -> None:
    """Runs it and prints what it took."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.presets", description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000, help="of a backlog")
    parser.add_argument("--seconds", type=int, default=20, help="of messages at an even pace")
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        open_stack(Path(os.environ.get("FUSION_CACHE", ".cache")), print) as stack,
    ):
        folder = Path(name)
        clip = _longer(draw(folder / "clip.mp4"))
        print(f"{machine()}; backlog {given.messages}, then {PACE} a second; medians of runs (least to most)")
        print("| feed | events/s | CPU ms an event | p50 ms | p95 ms | n |\n|---|---|---|---|---|---|")
        for preset in PRESETS:
            drained, ages = [], []
            for run in range(given.runs):
                place = folder / f"{preset}-{run}"
                with mosquitto(place, more=KEEPS_ALL, saves=False) as broker, _own(MessageFeeds(stack, place)) as made:
                    drained.append(backlog(made, broker, preset, given.messages))
                    ages.append(paced(made, broker, preset, given.seconds))
            _tell(f"mqtt, {preset}", *(list(one) for one in zip(*drained, strict=True)), ages)
        seen = []
        for run in range(given.runs):
            place = folder / f"rtsp-{run}"
            place.mkdir()
            with _own(Feeds(stack, place)) as made:
                seen.append(frames(made, stack.bootstrap_servers, clip))
        rates, costs, waits = zip(*seen, strict=True)
        _tell("video, RTSP 1080p 30/s, 640 wide", rates, costs, waits)


if __name__ == "__main__":
    main()
