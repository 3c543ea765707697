"""From an MQTT broker through `feed mqtt`, Kafka and a worker with the model that ships, to a verdict."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.mosquitto import mosquitto
from tests.prometheus_tools import wait_until
from tests.town import town
from worker.feeds.junction import scene

LATEST = {"frames": {"match": "latest", "before": "30s", "after": "0ms", "horizon": "60s", "max_wait": "5s"}}


def test_what_frigate_sees_and_hears_becomes_a_verdict(stack: Any, tmp_path: Path) -> None:
    """The snapshot of a camera and what is said there, one verdict of both, with its inputs named after the camera."""
    accident = scene(np.random.default_rng(3), "accident")
    with town(stack, tmp_path, cost_ms=None, streams=LATEST) as made, mosquitto(tmp_path / "broker") as broker:
        made.start()
        told = {
            "kafka.bootstrap_servers": stack.bootstrap_servers, "kafka.group_id": made.name, "log.format": "json",
            "feeds.mqtt.host": "127.0.0.1", "feeds.mqtt.port": broker.port,
            "streams.texts.topic": f"{made.name}.texts", "streams.frames.topic": f"{made.name}.frames",
        }  # fmt: skip
        pairs = [part for name, value in told.items() for part in ("--set", f"{name}={value}")]
        command = [sys.executable, "-m", "worker", "feed", "mqtt", "--preset", "frigate", *pairs]
        log = tmp_path / "feed.log"
        with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as feed:
            try:
                wait_until(lambda: '"listens"' in log.read_text(), 60, "a feed that listens")
                made.read_until(lambda: bool(made.ports()), 120)
                at = time.time()
                after = {
                    "id": f"{at:.6f}-mxklsc", "camera": "junction_12", "label": "car", "frame_time": at,
                    "snapshot": {"frame_time": at, "score": 0.9},
                }  # fmt: skip
                broker.publish(
                    ("frigate/events", json.dumps({"type": "new", "before": {}, "after": after})),
                    ("frigate/junction_12/car/snapshot", accident.image),
                    ("frigate/junction_12/audio/transcription", accident.text),
                )
                made.read_until(lambda: bool(made.results), 120)
            finally:
                feed.kill()
    [result] = made.results
    assert (result["key"], result["label"], result["missing"]) == ("junction_12", "accident", {})
    assert result["inputs"]["frames"]["id"].startswith("junction_12-car-")
    assert result["inputs"]["texts"]["id"].startswith("junction_12-")
    assert '"rules": ["event", "review", "sound", "recognised", "motion"]' in log.read_text()
