"""A run of offsets of one partition -> the records that lie there, as a read_committed consumer sees them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError

from worker.broker.admin import is_gone
from worker.broker.faults import called
from worker.broker.options import FETCH_WAIT_MS
from worker.broker.reader import record_of
from worker.broker.unpack import lone_consumer
from worker.errors import Fatal, Poison, Retryable
from worker.records import Partition, Record, Reference, Stage

# A fetch asks for as much as a run spans, up to so much: with more the client reads far past the last body that is
# wanted, with less a long run takes many round trips. The broker gives whole batches, at least one.
FETCH_BYTES = 2**20
# A record's key, headers and batch take about so much beside its value: without it the last of a run comes by itself.
BESIDE_BYTES = 512
# A run that brings nothing for so long is given back. A broker's longest pauses are shorter; all others wait meanwhile.
PATIENCE_SECONDS = 1.0
# One question to a broker.
ANSWER_TIMEOUT_SECONDS = 2.0
_ANSWER_TIMEOUT_MS = int(ANSWER_TIMEOUT_SECONDS * 1000)
CLOSE_TIMEOUT_MS = 1_000

Deliver = Callable[[Reference, Record | Poison | None], None]


class Places:
    """One consumer of its own, without a group, made when it is first needed. Used by one thread.

    Its whole assignment is replaced for each run. Pausing and seeking single partitions gives no records for as long as
    the client keeps what a pause had cut off (PARTS 13).
    """

    def __init__(self, connection: Mapping[str, Any]) -> None:
        """`connection`: what `connection_options` gives."""
        self._connection = connection
        self._consumer: Any = None

    def read(self, run: Sequence[Reference], deliver: Deliver, stopped: Callable[[], bool]) -> list[Reference]:
        """Delivers the records of one partition's places, which rise: None where there is none any more, a Poison where
        its batch cannot be unpacked. Returns those of which nothing came within PATIENCE_SECONDS.

        Raises:
            Retryable: Kafka is away.
            Fatal: it refuses access.
        """
        partition = run[0].partition
        place, left = TopicPartition(partition.topic, partition.number), {one.offset: one for one in run}
        consumer = self._made()
        try:
            consumer.assign([place])
            consumer.seek(place, run[0].offset)
            consumer._fetcher.config["max_partition_fetch_bytes"] = fetch_bytes(run)
            self._read_on(place, left, deliver, stopped)
        except OffsetOutOfRangeError:
            pass
        except Fatal as error:
            deliver(left.pop(min(left)), Poison(Stage.DECODE, "unreadable", str(error)))
            self.close()
            return self.read(list(left.values()), deliver, stopped) if left else []
        except Exception as error:  # The client's own faults, whatever they are: a new one remembers nothing of them.
            raise Retryable(f"Kafka: {type(error).__name__}: {error}") from error
        return list(left.values())

    def gone(self, places: Collection[Reference], partition: Partition) -> list[Reference] | None:
        """Those that lie before the log's first offset or past its end; None where the partition itself is gone.

        Raises:
            Retryable: Kafka does not tell.
        """
        if is_gone(self._connection, partition, ANSWER_TIMEOUT_SECONDS):
            return None
        place = TopicPartition(partition.topic, partition.number)
        consumer = self._made()
        first = called(consumer.beginning_offsets, [place], timeout_ms=_ANSWER_TIMEOUT_MS)[place]
        end = called(consumer.end_offsets, [place], timeout_ms=_ANSWER_TIMEOUT_MS)[place]
        return [one for one in places if not first <= one.offset < end]

    def close(self) -> None:
        """Ends the consumer; the next question makes another."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(KafkaError):
                consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)

    def _made(self) -> Any:
        if self._consumer is None:
            self._consumer = called(lone_consumer, self._connection)
        return self._consumer

    def _read_on(
        self, place: TopicPartition, left: dict[int, Reference], deliver: Deliver, stopped: Callable[[], bool]
    ) -> None:
        """Takes out of `left` what comes, and what lies before the position and has not come: it is there no more."""
        consumer, last, position = self._made(), max(left), min(left)
        until = time.monotonic() + PATIENCE_SECONDS
        while left and not stopped() and time.monotonic() < until:
            # Of a batch that goes on behind the last one the client keeps the rest, and fetches nothing ahead.
            polled = consumer.poll(timeout_ms=4 * FETCH_WAIT_MS, max_records=last - position + 1)
            came = polled.get(place, ())
            for raw in came:
                if raw.offset in left:
                    deliver(left.pop(raw.offset), record_of(raw))
            at = came[-1].offset + 1 if came else consumer.position(place, timeout_ms=_ANSWER_TIMEOUT_MS)
            if at is None or at <= position:
                continue
            position, until = at, time.monotonic() + PATIENCE_SECONDS
            for offset in [offset for offset in left if offset < at]:
                deliver(left.pop(offset), None)


def fetch_bytes(run: Sequence[Reference]) -> int:
    """How much to ask for at once: the span of a run, all of its records taken to be as large as those wanted."""
    mean = sum(one.size for one in run) // len(run) + BESIDE_BYTES
    return min((run[-1].offset - run[0].offset + 1) * mean, FETCH_BYTES)
