"""Outgoing records + offsets -> one Kafka transaction, fenced by the group's generation."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kafka import KafkaProducer, TopicPartition
from kafka.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    IllegalGenerationError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from kafka.structs import OffsetAndMetadata

from worker.broker.delivery import Delivery
from worker.broker.faults import is_refusal, translated
from worker.broker.steps import NoAnswerError, Steps
from worker.errors import Retryable, StaleMember, TooLarge, Uncertain
from worker.records import Outgoing, Partition

# At the default 16 KiB each 30 KB record is a batch of its own and costs 4 times as much (PARTS 0.4).
BATCH_SIZE_BYTES = 256 * 1024
# The wait after CONCURRENT_TRANSACTIONS sets the cost of a commit: 220 ms with 100, 23 ms with 5 (PARTS 12).
RETRY_BACKOFF_MS = 5
# How long a producer's thread may take to hear that it is over; most hear it at once.
_END_SECONDS = 5.0
# A dead letter is as large as the record that came; the broker's own limit is the one that counts.
MAX_REQUEST_BYTES = 64 * 2**20
_STALE_MEMBER = (
    CommitFailedError,
    FencedInstanceIdError,
    IllegalGenerationError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)


class TransactionalSink:
    """One transactional producer. Not thread-safe.

    Guarantees: `publish` returns only after the commit; StaleMember, TooLarge and plain Retryable mean that nothing was
    published; Uncertain means that nobody knows, and that the producer was thrown away.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        transactional_id: str,
        transaction_timeout_seconds: float,
        commit_timeout_seconds: float,
    ) -> None:
        """`options`: kafka-python connection options."""
        self._options = {
            **options,
            "transactional_id": transactional_id,
            "transaction_timeout_ms": int(transaction_timeout_seconds * 1000),
        }
        self._timeout, self._steps = commit_timeout_seconds, Steps("transaction")
        self._producer: Any = None

    def publish(
        self, outgoing: Sequence[Outgoing], offsets: Mapping[Partition, tuple[int, str]], membership: Any
    ) -> None:
        """Publishes all of it and commits the offsets, or nothing.

        1. A producer with this slot's id exists; making it ends whatever its predecessor left open.
        2. The records are sent.
        3. The offsets join the transaction under the captured membership, so a stale owner is refused.
        4. The commit is watched: it was seen never to return after a broker's restart (PARTS 0.2).
        """
        if membership is None or membership.generation_id < 0:
            raise StaleMember("no membership of the group yet")
        self._open()
        # A step that had no answer in time may go on in its thread, one day: it must not find the next producer there.
        producer, delivery = self._producer, Delivery(self._producer, outgoing)
        try:
            self._watch(lambda: _transact(producer, delivery, offsets, membership))
        except TooLarge as error:
            self._abort(error)
        except KafkaError as error:
            self._abort(delivery.refused() or error)

    def fence(self) -> None:
        """Ends what an earlier producer of this id left open; nothing that it still sends is accepted from now on.

        Raises:
            Uncertain: Kafka did not answer.
        """
        self._open()

    def _abort(self, error: KafkaError | TooLarge) -> None:
        """Ends the transaction and throws the producer away.

        kafka-python 3.0.12 keeps the offsets of a refused transaction and commits them with the next one, for
        partitions that others own by now: records were lost and doubled by it.
        """
        try:
            self._watch(self._producer.abort_transaction)
        except KafkaError as worse:
            raise Uncertain(f"transaction: {type(error).__name__}: {error}; abort: {worse}") from error
        finally:
            self._discard()
        if isinstance(error, TooLarge):
            raise error
        if is_refusal(error):
            raise translated(error) from error
        if isinstance(error, _STALE_MEMBER):
            stale = StaleMember(f"{type(error).__name__}: {error}")
            stale.is_unknown = UnknownMemberIdError.__name__ in str(error)
            raise stale from error
        raise Retryable(f"transaction aborted: {type(error).__name__}: {error}") from error

    def _open(self) -> None:
        if self._producer is None:
            try:
                self._producer = self._watch(self._make, late=_end)
            except KafkaError as error:
                if is_refusal(error):
                    raise translated(error) from error
                raise Uncertain(f"no producer: {type(error).__name__}: {error}") from error

    def _make(self) -> Any:
        producer = plain_producer(self._options, max_block_ms=int(self._timeout * 1000))
        try:
            producer.init_transactions()
        except KafkaError:
            _end(producer)
            raise
        return producer

    def _watch(self, step: Callable[[], Any], late: Callable[[Any], None] = lambda found: None) -> Any:
        """What the step gives. One that takes too long is left behind; `late` gets what it gives one day."""
        try:
            return self._steps.run(step, late, self._timeout + 1.0)
        except NoAnswerError:
            self._discard()
            raise Uncertain(f"a transaction had no answer for {self._timeout:g} s") from None

    def _discard(self) -> threading.Thread:
        producer, self._producer = self._producer, None
        ending = threading.Thread(target=_end, args=(producer,), name="end of a producer", daemon=True)
        ending.start()
        return ending

    def close(self) -> None:
        """Ends the producer; an open transaction is aborted by Kafka."""
        self._steps.end()
        self._discard().join(_END_SECONDS)


def _end(producer: Any) -> None:
    """Ends a producer at once, whatever it has under way.

    `close(0)` of kafka-python 3.0.12 alone does not: it flushes first, which raises while records are under way, and so
    leaves the sender at work: that goes on with the transaction as soon as Kafka is back.
    """
    if producer is not None:
        producer._sender.force_close()
        producer._sender.join(_END_SECONDS)
        with contextlib.suppress(KafkaError):
            producer.close(timeout=0)


class PlainSink:
    """At least once: records are acknowledged first, offsets are committed after, by the source."""

    def __init__(
        self, options: Mapping[str, Any], commit: Callable[[Mapping[Partition, tuple[int, str]]], None]
    ) -> None:
        self._options, self._commit = options, commit
        self._producer: Any = None

    def fence(self) -> None:
        """Nothing is ever left open."""

    def publish(
        self, outgoing: Sequence[Outgoing], offsets: Mapping[Partition, tuple[int, str]], membership: Any
    ) -> None:
        """Publishes, waits for the acknowledgements, then hands the offsets on. A repeat may publish twice.

        A refusal ends an idempotent producer of kafka-python 3.0.12 for good; the next call makes another.
        """
        delivery = None
        try:
            self._producer = self._producer or plain_producer(self._options)
            delivery = Delivery(self._producer, outgoing)
            delivery.send()
            delivery.wait()
        except TooLarge:
            self.close()
            raise
        except KafkaError as error:
            refused = delivery.refused() if delivery else None
            self.close()
            if is_refusal(error):
                raise translated(error) from error
            raise refused or Retryable(f"publish: {type(error).__name__}: {error}") from error
        self._commit(offsets)

    def close(self) -> None:
        """Ends the producer."""
        producer, self._producer = self._producer, None
        _end(producer)


def _transact(producer: Any, delivery: Delivery, offsets: Mapping[Partition, tuple[int, str]], membership: Any) -> None:
    producer.begin_transaction()
    delivery.send()
    producer.send_offsets_to_transaction(
        {TopicPartition(p.topic, p.number): OffsetAndMetadata(o, m, -1) for p, (o, m) in offsets.items()}, membership
    )
    delivery.wait()
    producer.commit_transaction()


def plain_producer(options: Mapping[str, Any], **more: Any) -> Any:
    """A kafka-python producer with the measured settings of PARTS 12, murmur2 partitions and acks from all."""
    return KafkaProducer(
        **{
            "batch_size": BATCH_SIZE_BYTES,
            "linger_ms": 0,
            "retry_backoff_ms": RETRY_BACKOFF_MS,
            "max_request_size": MAX_REQUEST_BYTES,
            "allow_auto_create_topics": False,
            **options,
            **more,
        }
    )
