"""The contenders, each started in a process of its own: `python -m tests.bench.contenders KIND SPEC.json`."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

KINDS = ("bare", "plain", "bytewax", "worker", "worker-librdkafka", "worker-at-least-once", "worker-before")


def absent(kind: str) -> str | None:
    """Why a contender cannot take part here, in one line; None: it can."""
    from worker.config import Kafka

    def missing(module: str) -> bool:
        return importlib.util.find_spec(module) is None

    if kind == "bytewax" and (missing("bytewax") or missing("confluent_kafka")):
        return "bytewax is left out: it is not installed (the extra `bench`)"
    if kind == "worker-librdkafka" and "fetcher" not in Kafka.model_fields:
        return "worker-librdkafka is left out: this worker has no setting kafka.fetcher"
    if kind == "worker-librdkafka" and missing("confluent_kafka"):
        return "worker-librdkafka is left out: confluent-kafka is not installed (the extra `fast`)"
    return None


def settings(kind: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The worker's configuration: the defaults but for names, the guarantee and the fetcher."""
    from worker.config import Kafka

    told: dict[str, Any] = {
        "kafka": {"bootstrap_servers": spec["kafka"], "group_id": spec["group"]},
        "redis": {"url": spec["redis"]},
        "streams": {
            "texts": {"topic": spec["texts"], "modality": "text", "role": "anchor"},
            "frames": {"topic": spec["frames"], "modality": "image", "role": "context"},
        },
        "output": {"topic": spec["out"], "dead_letter_topic": spec["dead"]},
        "delivery": {"guarantee": "at_least_once" if kind == "worker-at-least-once" else "exactly_once"},
        "http": {"port": 0},
        "model": spec.get("model", {}),
        "log": {"format": "json"},
    }
    if "fetcher" in Kafka.model_fields:
        told["kafka"]["fetcher"] = "librdkafka" if kind == "worker-librdkafka" else "kafka-python"
    return told


def serve(kind: str, spec: Mapping[str, Any]) -> None:
    """The worker itself."""
    from tests.bench.job import MODELS
    from worker import assemble
    from worker.config import Settings

    if "shadow_priority" in spec:
        from worker.model import shadow

        shadow.PRIORITY = spec["shadow_priority"]
    if spec["job"] != "shipped":
        assemble.model_of = lambda settings: MODELS[spec["job"]]()
    sys.exit(assemble.run(Settings.model_validate(settings(kind, spec))))


def bare(spec: Mapping[str, Any]) -> None:
    """Decode, tokenise and infer over pairs in memory; no Kafka, no Redis, no matching. Prints its results."""
    from tests.bench.backlog import Backlog
    from tests.bench.job import BATCH, MODELS
    from tests.bench.nearest import Came
    from tests.bench.plain import verdicts
    from tests.story import nearest_frame

    events = Backlog(**spec["backlog"]).events()
    came = {event.id: Came(event.time_us // 1000, event.id, event.body) for event in events}
    pairs = [(came[text], came[frame] if frame else None) for text, frame in nearest_frame(events).items()]
    model, told = MODELS[spec["job"]](), []
    for start in range(0, len(pairs), BATCH):
        batch = pairs[start : start + BATCH]
        for (text, frame), verdict in zip(batch, verdicts(model, batch), strict=True):
            told.append((time.time(), text.id, frame and frame.id, verdict.score))
    print(json.dumps(told))


def main(arguments: Sequence[str]) -> None:
    """Runs one."""
    kind, spec = arguments[0], json.loads(Path(arguments[1]).read_text())
    if kind == "worker-before":
        sys.path.insert(0, spec["before"])  # before anything of the worker is imported
    if kind == "bare":
        bare(spec)
    elif kind == "plain":
        importlib.import_module("tests.bench.plain").run(spec)
    elif kind == "bytewax":
        importlib.import_module("tests.bench.dataflow").run(spec)
    else:
        serve(kind, spec)


if __name__ == "__main__":
    main(sys.argv[1:])
