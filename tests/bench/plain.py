"""kafka-python as a good engineer would tune it: large fetches, batches of 16, a commit every five seconds.

At least once at best: what it holds when it dies is lost, and a rebalance empties its dictionary.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from kafka import KafkaConsumer, KafkaProducer

from tests.bench.job import BATCH, MODELS, aligned
from tests.bench.nearest import Came, Nearest, Pair, result

COMMIT_SECONDS = 5.0


def run(spec: Mapping[str, Any]) -> None:
    """Reads, matches, asks the model and writes until somebody ends it."""
    model = MODELS[spec["job"]]()
    consumer = KafkaConsumer(
        spec["texts"], spec["frames"], bootstrap_servers=spec["kafka"], group_id=spec["group"],
        auto_offset_reset="earliest", enable_auto_commit=False, fetch_max_bytes=32 * 2**20,
        max_partition_fetch_bytes=8 * 2**20, receive_buffer_bytes=4 * 2**20, max_poll_records=500,
    )  # fmt: skip
    producer = KafkaProducer(bootstrap_servers=spec["kafka"], batch_size=256 * 1024, linger_ms=5)
    keys: dict[bytes, Nearest] = {}
    ready: list[tuple[bytes, Pair]] = []
    committed = time.monotonic()
    while True:
        polled = consumer.poll(timeout_ms=100)
        for records in polled.values():
            for record in records:
                ready += [(record.key, pair) for pair in _matched(keys, record, spec["texts"])]
        ready = _answer(model, producer, spec["out"], ready, all_of_them=not polled)
        if time.monotonic() - committed > COMMIT_SECONDS:
            producer.flush()
            consumer.commit()
            committed = time.monotonic()


def _matched(keys: dict[bytes, Nearest], record: Any, texts: str) -> Iterator[Pair]:
    nearest = keys.get(record.key) or keys.setdefault(record.key, Nearest())
    came = Came(record.timestamp, f"{record.topic}/{record.partition}/{record.offset}", record.value)
    return nearest.text(came) if record.topic == texts else nearest.frame(came)


def _answer(model: Any, producer: Any, out: str, ready: list[tuple[bytes, Pair]], all_of_them: bool) -> Any:
    """Answers whole batches, and the rest too when nothing more is there; returns what is left."""
    left = iter(ready)
    for _ in range(-(-len(ready) // BATCH) if all_of_them else len(ready) // BATCH):
        batch = list(islice(left, BATCH))
        for (key, pair), verdict in zip(batch, verdicts(model, [pair for _, pair in batch]), strict=True):
            producer.send(out, key=key, value=result(*pair, verdict))
    return list(left)


def verdicts(model: Any, pairs: Sequence[Pair]) -> Any:
    """Of one batch."""
    items = [aligned(text.body, frame and frame.body, frame.id if frame else "") for text, frame in pairs]
    return model.infer([model.prepare(item) for item in items])
