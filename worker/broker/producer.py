"""Records -> Kafka, outside any transaction: for feeds and tools, idempotent and acknowledged by all replicas."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kafka.errors import KafkaError

from worker.broker.sink import PlainSink, plain_producer
from worker.errors import Unreachable
from worker.records import Outgoing

# A few milliseconds fill a batch with a feed's neighbours; more would be seen in the latency of a paced feed.
LINGER_MS = 5
CLOSE_SECONDS = 10.0


class RecordProducer:
    """Produces records in the order given; what `flush` returned from is in Kafka once, whatever was retried."""

    def __init__(self, connection: Mapping[str, Any]) -> None:
        """`connection`: what `connection_options` gives."""
        self._failed: list[Exception] = []
        self._producer = plain_producer(connection, linger_ms=LINGER_MS, enable_idempotence=True, acks="all")

    def send(self, record: Outgoing, timestamp_ms: int) -> None:
        """Hands one record over; it leaves within a few milliseconds.

        Raises:
            Unreachable: Kafka does not take this record, or did not take an earlier one.
        """
        try:
            sent = self._producer.send(
                record.topic,
                key=record.key,
                value=record.value,
                headers=list(record.headers),
                timestamp_ms=timestamp_ms,
            )
        except KafkaError as error:
            raise _refused(error) from error
        sent.add_errback(self._failed.append)
        self._raise_failed()

    def flush(self) -> None:
        """Waits until Kafka has acknowledged every record.

        Raises:
            Unreachable: one was not taken.
        """
        try:
            self._producer.flush()
        except KafkaError as error:
            raise _refused(error) from error
        self._raise_failed()

    def _raise_failed(self) -> None:
        if self._failed:
            raise _refused(self._failed[0])

    def close(self, timeout_seconds: float = CLOSE_SECONDS) -> None:
        """Ends the producer; what was not flushed may be lost."""
        self._producer.close(timeout=timeout_seconds)


class SpareProducer:
    """Produces records of which some may be lost or come twice. It asks for Kafka when there is one to send, and anew
    after a failure."""

    def __init__(self, connection: Mapping[str, Any]) -> None:
        """As RecordProducer."""
        self._connection = connection
        self._producer: RecordProducer | None = None

    def send(self, record: Outgoing, timestamp_ms: int) -> None:
        """As RecordProducer.send; also raises Unreachable where no broker answers."""
        try:
            self._producer = self._producer or RecordProducer(self._connection)
            self._producer.send(record, timestamp_ms)
        except (KafkaError, Unreachable) as error:
            self.close()
            raise _refused(error) from error

    def close(self) -> None:
        """Ends the producer, within a second."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(KafkaError):
                producer.close(1.0)


@contextlib.contextmanager
def live_publisher(connection: Mapping[str, Any]) -> Iterator[Callable[[Sequence[Outgoing]], None]]:
    """A function that returns when Kafka has acknowledged all that it was given, in the order given. It asks for Kafka
    with the first records, and anew after a failure; what failed may be there in part.

    It raises Retryable, TooLarge (some are too large, and nothing is known of the others), or Unreachable (rights).
    """
    options = {**connection, "enable_idempotence": True, "acks": "all", "linger_ms": LINGER_MS}
    with contextlib.closing(PlainSink(options, lambda _: None)) as sink:
        yield lambda records: sink.publish(records, {}, None)


@contextlib.contextmanager
def record_producer(connection: Mapping[str, Any]) -> Iterator[RecordProducer]:
    """A RecordProducer that is closed at the end.

    Raises:
        Unreachable: no broker answered.
    """
    try:
        producer = RecordProducer(connection)
    except KafkaError as error:
        raise _refused(error) from error
    with contextlib.closing(producer):
        yield producer


def _refused(error: Exception) -> Unreachable:
    return Unreachable(f"Kafka did not take a record ({type(error).__name__}: {error}); do the broker and topic exist?")
