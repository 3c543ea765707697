"""Outgoing records -> a producer, each with an answer of its own; of those that are too large it is told which."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Sequence
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError
from kafka.record.default_records import DefaultRecordBatchBuilder

from worker.errors import TooLarge
from worker.records import Outgoing

_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
# A producer that has failed answers all that it holds at once; only what is under way to a broker takes longer.
_ANSWERS_SECONDS = 1.0


class Delivery:
    """The records of one transaction, or of one flush, on their way.

    Guarantees: a record that was refused for its size is told by its number, however kafka-python 3.0.12 passes the
    refusal on: it fails the records that it had not sent yet with the same error, and its `flush` ends with "Future not
    done" when a batch was split. So the answers are awaited one by one, and the first refusal is the true one.
    """

    def __init__(self, producer: Any, outgoing: Sequence[Outgoing]) -> None:
        self._producer, self._outgoing = producer, outgoing
        self._sent: list[Any] = []
        self._refused: list[tuple[int, KafkaError]] = []

    def send(self) -> None:
        """Hands all of it to the producer.

        Raises:
            TooLarge: the client's own limit, `max_request_size`, refuses some record.
            KafkaError: the producer has failed.
        """
        for number, out in enumerate(self._outgoing):
            try:
                sent = send(self._producer, out)
            except _TOO_LARGE as error:
                raise self._too_large(number, error) from error
            sent.add_errback(functools.partial(self._failed, number))
            self._sent.append(sent)

    def wait(self) -> None:
        """Returns once all of it is acknowledged. Raises KafkaError."""
        for sent in self._sent:
            sent.get()

    def refused(self) -> TooLarge | None:
        """After a KafkaError: whether some record was too large."""
        deadline = time.monotonic() + _ANSWERS_SECONDS
        for sent in self._sent:
            if self._refused:
                return self._too_large(*self._refused[0])
            with contextlib.suppress(KafkaError):
                sent.get(timeout=max(0.0, deadline - time.monotonic()))
        return self._too_large(*self._refused[0]) if self._refused else None

    def _failed(self, number: int, error: KafkaError) -> None:
        if isinstance(error, _TOO_LARGE):
            self._refused.append((number, error))

    def _too_large(self, number: int, error: KafkaError) -> TooLarge:
        """What is as large and goes to the same topic would be refused next."""
        out, size = self._outgoing[number], _bytes(self._outgoing[number])
        places = [n for n, one in enumerate(self._outgoing) if one.topic == out.topic and _bytes(one) >= size]
        return TooLarge(f"{type(error).__name__}: {error}", tuple(places))


def send(producer: Any, out: Outgoing) -> Any:
    """The future of one record, of any shape that Kafka can deliver.

    `send` of kafka-python 3.0.12 refuses a record with neither key nor value, and a header without a value; both are in
    Kafka, and what it does below that check takes them.
    """
    if (out.key is not None or out.value is not None) and all(value is not None for _, value in out.headers):
        return producer.send(
            out.topic, key=out.key, value=out.value, headers=list(out.headers), timestamp_ms=out.timestamp_ms
        )
    producer.partitions_for(out.topic)
    producer._ensure_valid_record_size(producer._estimate_size_in_bytes(out.key, out.value, out.headers))
    number = producer._partition(out.topic, None, out.key, out.value, out.key, out.value)
    place = TopicPartition(out.topic, number)
    transaction = producer._transaction_manager
    if transaction and transaction.is_transactional():
        transaction.maybe_add_partition_to_transaction(place)
    sent, *_ = producer._accumulator.append(place, out.timestamp_ms, out.key, out.value, _Headers(out.headers))
    producer._sender.wakeup()
    return sent


class _Headers(list[tuple[str, bytes | None]]):
    """Headers of which kafka-python does not sum up the values' lengths for its metadata: one may have none."""

    def __bool__(self) -> bool:
        return False


def _bytes(out: Outgoing) -> int:
    """Its size on the wire, as far as records differ in it."""
    return int(DefaultRecordBatchBuilder.size_of(out.key, out.value, out.headers))
