"""One camera of 1080p through feed, worker and page: `python -m tests.bench.camera [--rate 30] [--size 1920]`.

A clip of 1920 x 1080 at 30 frames a second, textured as a street is, runs in a loop through `feed video` in its own
time; a text a second comes by another producer; one worker fuses them with the model that ships and serves its page to
one who looks. Told: frames a second on the topic, processor time of feed and worker, and text to result.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from PIL import Image

from tests.bench.measure import processor_seconds, tree
from tests.bench.openloop import percentile
from tests.bench.table import machine
from worker.broker.admin import NewTopic, create_topics
from worker.demo.pool import Pool
from worker.demo.stack import open_stack

CAMERA = "gate"
HIGH, WIDE, RATE, CLIP_SECONDS = 1080, 1920, 30, 10


def draw(path: Path) -> Path:
    """Writes the clip: a rough ground that moves by six pixels a frame."""
    import av

    rng = np.random.default_rng(1)
    small = Image.fromarray(rng.integers(0, 256, (HIGH // 12, WIDE // 12, 3), dtype=np.uint8))
    ground = np.asarray(small.resize((WIDE, HIGH), Image.Resampling.BICUBIC), np.int16)
    ground = np.clip(ground // 2 + 64 + rng.normal(0, 6, ground.shape), 0, 255).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDE, HIGH, "yuv420p"
        stream.options = {"preset": "veryfast", "g": str(RATE), "bf": "0"}
        for number in range(CLIP_SECONDS * RATE):
            picture = np.ascontiguousarray(np.roll(ground, 6 * number, axis=1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def end_of(address: str, topic: str) -> int:
    """How many records a topic of one partition has had."""
    consumer = KafkaConsumer(bootstrap_servers=address, group_id=None)
    place = TopicPartition(topic, 0)
    found = int(consumer.end_offsets([place])[place])
    consumer.close()
    return found


def tell_texts(address: str, seconds: float) -> dict[int, int]:
    """A text a second; by its offset when Kafka took it, milliseconds."""
    sent: dict[int, int] = {}
    producer = KafkaProducer(bootstrap_servers=address)
    began = time.monotonic()
    for number in range(round(seconds)):
        time.sleep(max(0.0, began + number - time.monotonic()))
        told = producer.send("texts", key=CAMERA.encode(), value=b"Lorry and van have collided at the gate").get(30)
        sent[told.offset] = told.timestamp
    producer.close()
    return sent


def latencies(address: str, sent: dict[int, int]) -> list[int]:
    """From text to result, milliseconds, of those that have a frame."""
    consumer = KafkaConsumer(bootstrap_servers=address, group_id=None, isolation_level="read_committed")
    consumer.assign([TopicPartition("fusions", 0)])
    consumer.seek_to_beginning()
    found: dict[int, int] = {}
    deadline = time.monotonic() + 60
    while len(found) < len(sent) and time.monotonic() < deadline:
        for batch in consumer.poll(timeout_ms=500).values():
            for record in batch:
                result = json.loads(record.value)
                offset = result["inputs"]["texts"]["offset"]
                if offset in sent and "frames" in result["inputs"]:
                    found[offset] = record.timestamp - sent[offset]
    consumer.close()
    return list(found.values())


def main() -> None:
    """Runs it and prints what it took."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.camera", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=30.0, help="of the feed, frames a second at most")
    parser.add_argument("--size", type=int, default=WIDE, help="width at most")
    given = parser.parse_args()
    cache = Path(os.environ.get("FUSION_CACHE", ".cache"))
    with tempfile.TemporaryDirectory() as name, open_stack(cache, print) as stack:
        address, clip = stack.bootstrap_servers, draw(Path(name) / f"{CAMERA}.mp4")
        topics = [NewTopic(topic, 1, 1) for topic in ("texts", "frames", "fusions", "fusions.dead")]
        create_topics({"bootstrap_servers": [address]}, topics, 30.0)
        with Pool(Path(name), address, stack.redis_url, "") as pool:
            pool.start(1)
            page = urllib.request.urlopen(f"{pool.pages()[0].rstrip('/')}/console/live", timeout=60)
            threading.Thread(target=lambda: all(True for _ in page), daemon=True).start()
            command = [sys.executable, "-m", "worker", "feed", "video", str(clip), "--loop", "--rate", str(given.rate)]
            command += ["--size", str(given.size), "--set", f"kafka.bootstrap_servers={address}"]
            feed = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            while end_of(address, "frames") < 2 * given.rate:
                if feed.poll() is not None:
                    sys.exit(f"the feed ended with {feed.returncode}")
                time.sleep(0.5)
            trees = {"feed": tree(feed.pid), "worker": tree(pool.pids()[0])}
            before = {who: processor_seconds(each) or 0.0 for who, each in trees.items()}
            first, began = end_of(address, "frames"), time.monotonic()
            sent = tell_texts(address, given.seconds)
            took, frames = time.monotonic() - began, end_of(address, "frames") - first
            spent = {who: (processor_seconds(each) or 0.0) - before[who] for who, each in trees.items()}
            found = latencies(address, sent)
            feed.terminate()
            feed.wait(30)
    print(f"{machine()}; {took:.0f} s, {given.rate:g} frames/s at most, width {given.size}, one text a second")
    print(f"frames/s on the topic {frames / took:.1f}; results with a frame {len(found)} of {len(sent)} texts")
    print(f"of one core: feed {spent['feed'] / took:.2f}, worker {spent['worker'] / took:.2f} (its page looked at)")
    p50, p95 = (percentile(found, part) for part in (0.5, 0.95))
    print(f"text to result p50 {p50:.0f} ms, p95 {p95:.0f} ms, n {len(found)}")


if __name__ == "__main__":
    main()
