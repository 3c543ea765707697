"""Where the input logs end, asked on a connection of its own: behind a parked fetch the answer takes 500 ms."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from worker.records import Partition

# The age of the answers adds to `max_wait`; asking costs the broker about a millisecond.
EVERY_SECONDS = 0.1
ANSWER_TIMEOUT_MS = 5_000


class EndsWatch:
    """Asks for the ends of the held partitions, in a thread.

    `latest` gives each partition's end with the monotonic time before which it was asked for, so a reader whose
    position has passed the end has read all that was there at that time.
    """

    def __init__(self, connection: Mapping[str, Any]) -> None:
        """`connection`: kafka-python connection options."""
        self._connection = dict(connection)
        self._wanted: tuple[TopicPartition, ...] = ()
        self._latest: dict[Partition, tuple[int, float]] = {}
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ends", daemon=True)
        self._thread.start()

    def watch(self, partitions: Iterable[Partition]) -> None:
        """From now on asks for these."""
        self._wanted = tuple(TopicPartition(p.topic, p.number) for p in partitions)

    def latest(self) -> dict[Partition, tuple[int, float]]:
        """Partition -> (end offset for a read_committed reader, monotonic seconds when it was asked for).

        Raises:
            Exception: what ended the thread; without new ends no `max_wait` would ever begin.
        """
        if self._error is not None:
            raise self._error
        return dict(self._latest)

    def close(self) -> None:
        """Ends the thread and its connection."""
        self._stop.set()
        self._thread.join(timeout=ANSWER_TIMEOUT_MS / 1000)

    def _run(self) -> None:
        try:
            self._ask()
        except BaseException as error:  # noqa: BLE001  the loop must hear of it, whatever it is
            self._error = error

    def _ask(self) -> None:
        consumer: Any = None
        while not self._stop.wait(EVERY_SECONDS):
            if not self._wanted:
                continue
            try:
                consumer = consumer or KafkaConsumer(isolation_level="read_committed", **self._connection)
                asked_at = time.monotonic()
                ends = consumer.end_offsets(list(self._wanted), timeout_ms=ANSWER_TIMEOUT_MS)
                self._latest = {Partition(tp.topic, tp.partition): (int(end), asked_at) for tp, end in ends.items()}
            except (KafkaError, KeyError):
                # No answer means no newer ends: nothing counts as caught up, and the poll reports that Kafka is away.
                # After a broker's restart kafka-python 3.0.12 stumbles (KeyError) over an answer without a partition.
                _close(consumer)
                consumer = None
        _close(consumer)


def _close(consumer: Any) -> None:
    if consumer is not None:
        with contextlib.suppress(KafkaError, KeyError):
            consumer.close(autocommit=False, timeout_ms=ANSWER_TIMEOUT_MS)
