"""The loops that the worker is held against, each in a process of its own; prints anchors per second.

`python -m tests.bench.loops bare SPEC` runs the model over the events in memory; `plain` is the loop that one would
write first: kafka-python, a dictionary of frames, batches, one commit a batch, at least once.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer

from worker.feeds.junction import junction_events
from worker.model.runtime import ModelRuntime
from worker.records import Aligned, Event, Record

BATCH = 32
WARM = 100  # anchors before the clock starts: first batches are slow everywhere


def model(evidence: bool = False) -> ModelRuntime:
    """The model that ships, as the worker loads it."""
    modalities = {"texts": "text", "frames": "image"}
    return ModelRuntime(
        path=None, device="auto", precision="auto", anchor="texts", modalities=modalities, evidence=evidence
    )


def aligned(text: bytes, frame: bytes | None) -> Aligned:
    """A text with its frame."""
    record = Record("texts", 0, 0, 0, b"", text)
    anchor = Event("texts", "", "", "", 0, "text/plain", text, record)
    frames = (Event("frames", "", "", "", 0, "image/jpeg", frame, record),) if frame is not None else ()
    return Aligned(anchor, {"frames": frames} if frames else {}, {}, True)


def batches_in_memory(spec: dict[str, Any]) -> Iterator[list[Aligned]]:
    """All pairs, without Kafka, Redis or matching."""
    events = list(junction_events(**spec["events"]))
    frames = [event.body for event in events if event.stream == "frames"]
    texts = [event.body for event in events if event.stream == "texts"]
    pairs = [aligned(text, frame) for text, frame in zip(texts, frames, strict=False)]
    for start in range(0, len(pairs), BATCH):
        yield pairs[start : start + BATCH]


def plain(spec: dict[str, Any]) -> float:
    """Anchors per second of the plain loop."""
    served = model()
    consumer = KafkaConsumer(
        spec["texts"], spec["frames"], bootstrap_servers=spec["kafka"], group_id=f"{spec['texts']}.{time.time()}",
        auto_offset_reset="earliest", enable_auto_commit=False,
    )  # fmt: skip
    producer = KafkaProducer(bootstrap_servers=spec["kafka"], batch_size=256 * 1024)
    frames: dict[bytes, bytes] = {}
    waiting: list[Any] = []
    done, began, warm = 0, 0.0, 0
    while done < spec["anchors"]:
        for records in consumer.poll(timeout_ms=100).values():
            for record in records:
                if record.topic == spec["frames"]:
                    frames[record.key] = record.value
                else:
                    waiting.append(record)
        # It has no event time: a text takes the frame of its key that is there.
        while ready := [text for text in waiting if text.key in frames][:BATCH]:
            if len(ready) < BATCH and done + len(ready) < spec["anchors"]:
                break
            waiting = [text for text in waiting if text not in ready]
            batch = [aligned(text.value, frames[text.key]) for text in ready]
            for verdict in served.infer([served.prepare(one) for one in batch]):
                producer.send(spec["out"], json.dumps({"label": verdict.label, "scores": verdict.scores}).encode())
            producer.flush()
            consumer.commit()
            done += len(batch)
            if not began and done >= WARM:
                began, warm = time.perf_counter(), done
    return (done - warm) / (time.perf_counter() - began)


def bare(spec: dict[str, Any]) -> float:
    """Anchors per second of decoding and the model alone."""
    served, done, began, warm = model(), 0, 0.0, 0
    for batch in batches_in_memory(spec):
        served.infer([served.prepare(one) for one in batch])
        done += len(batch)
        if not began and done >= WARM:
            began, warm = time.perf_counter(), done
    return (done - warm) / (time.perf_counter() - began)


if __name__ == "__main__":
    print({"bare": bare, "plain": plain}[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text())))
