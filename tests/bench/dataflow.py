"""Bytewax with its own Kafka connector (librdkafka), one process and one worker thread.

Without recovery: it writes no snapshots, so that it could not resume where it was; that is its fastest form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.testing import run_main

from tests.bench.job import BATCH, MODELS
from tests.bench.nearest import Came, Nearest, Pair, result
from tests.bench.plain import verdicts

# Of each partition. With the connector's 1,000 it would take 130 MB of frames before it answers the first text.
READ_AT_ONCE = 100


class Matching(StatefulBatchLogic):  # type: ignore[misc]
    """The state of one key."""

    def __init__(self, texts: str) -> None:
        self._texts, self._nearest = texts, Nearest()

    def on_batch(self, values: list[KafkaSourceMessage]) -> tuple[Iterable[Pair], bool]:
        """What these records of a key decide."""
        found: list[Pair] = []
        for one in values:
            came = Came(one.timestamp[1], f"{one.topic}/{one.partition}/{one.offset}", one.value)
            found += self._nearest.text(came) if one.topic == self._texts else self._nearest.frame(came)
        return found, StatefulBatchLogic.RETAIN

    def snapshot(self) -> None:
        """Nothing is kept for a restart."""


def run(spec: Mapping[str, Any]) -> None:
    """Runs until somebody ends it."""
    model = MODELS[spec["job"]]()

    def answered(pairs: list[tuple[str, Pair]]) -> list[KafkaSinkMessage]:
        out = []
        for start in range(0, len(pairs), BATCH):
            batch = pairs[start : start + BATCH]
            for (key, pair), verdict in zip(batch, verdicts(model, [pair for _, pair in batch]), strict=True):
                out.append(KafkaSinkMessage(key.encode(), result(*pair, verdict)))
        return out

    flow = Dataflow("pairs")
    source = KafkaSource([spec["kafka"]], [spec["texts"], spec["frames"]], batch_size=READ_AT_ONCE)
    read = op.input("read", flow, source)
    keyed = op.key_on("key", read, lambda message: message.key.decode())
    matched = op.stateful_batch("match", keyed, lambda _: Matching(spec["texts"]))
    op.output("write", op.flat_map_batch("answer", matched, answered), KafkaSink([spec["kafka"]], spec["out"]))
    run_main(flow)
