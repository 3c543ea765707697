"""What a worker does in a cluster -> the least ACLs for it, and which of them this user lacks."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kafka.errors import (
    InvalidTransactionTimeoutError,
    KafkaError,
    TransactionalIdAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from worker.broker.admin import ANSWER_TIMEOUT_SECONDS, described_topics, group_operations
from worker.broker.faults import is_refusal, translated
from worker.broker.sink import plain_producer
from worker.errors import ConfigError, Retryable, Unreachable

# No worker has it: slots are numbers. Asking for a producer of this id shows the right, and ends nobody's transaction.
_TRIAL = "check"


@dataclass(frozen=True, slots=True)
class Right:
    """One rule that allows something, in Kafka's own words.

    Attributes:
        pattern: LITERAL, or PREFIXED: all names that begin so.
    """

    operation: Literal["READ", "WRITE", "DESCRIBE"]
    resource: Literal["TOPIC", "GROUP", "TRANSACTIONAL_ID"]
    pattern: Literal["LITERAL", "PREFIXED"]
    name: str

    def __str__(self) -> str:
        what = self.resource.lower().replace("_", " ")
        return f"{self.operation} on {what} {self.name!r}{' (prefixed)' if self.pattern == 'PREFIXED' else ''}"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a worker of these settings names in the cluster.

    Attributes:
        told_of: topics that only commands look at.
        transaction_seconds: after these the broker is to end a transaction; None: there are none.
    """

    read: Sequence[str]
    written: Sequence[str]
    told_of: Sequence[str]
    group_id: str
    transaction_seconds: float | None


def least_rights(needs: Needs) -> list[Right]:
    """All that `run` needs and no more; READ and WRITE let describe too. The cluster itself is asked for nothing that
    needs a right: brokers from 2.8 on let whoever may write to a topic be an idempotent producer."""
    rights = [
        *(Right("READ", "TOPIC", "LITERAL", name) for name in needs.read),
        Right("READ", "GROUP", "LITERAL", needs.group_id),
        *(Right("WRITE", "TOPIC", "LITERAL", name) for name in needs.written),
        *(Right("DESCRIBE", "TOPIC", "LITERAL", name) for name in needs.told_of),
    ]
    if needs.transaction_seconds is not None:
        rights.append(Right("WRITE", "TRANSACTIONAL_ID", "PREFIXED", f"{needs.group_id}-"))
    return rights


def ensure_rights(options: Mapping[str, Any], needs: Needs) -> dict[str, int]:
    """Asks the cluster what this user may do, before anything is read.

    Args:
        options: what `connection_options` gives.

    Returns:
        The number of partitions of each topic.

    Raises:
        Unreachable: rights are missing; the sentence names each. Or no answer.
        ConfigError: a topic does not exist, or the brokers take no transactions of that length.
    """
    topics = {
        topic["name"]: topic for topic in described_topics(options, [*needs.read, *needs.written, *needs.told_of])
    }
    absent = [name for name, topic in topics.items() if topic["error_code"] == UnknownTopicOrPartitionError.errno]
    missing = [right for right in least_rights(needs) if not _is_given(options, needs, right, topics, absent)]
    if missing:
        user = options.get("sasl_plain_username")
        raise Unreachable(
            f"Kafka lets {f'user {user!r}' if user else 'this user'} do too little; missing: "
            f"{', '.join(map(str, missing))} (docs/security.md has all that a worker needs)"
        )
    if absent:
        raise ConfigError(
            f"topics that do not exist: {', '.join(absent)}; `fusion-worker topics` creates them, "
            "or name others in streams.*.topic, output.topic, output.dead_letter_topic and [review]"
        )
    return {name: len(topic["partitions"]) for name, topic in topics.items()}


def _is_given(
    options: Mapping[str, Any], needs: Needs, right: Right, topics: Mapping[str, Any], absent: Sequence[str]
) -> bool:
    if right.resource == "TRANSACTIONAL_ID":
        return bool(absent) or _may_transact(options, f"{right.name}{_TRIAL}", needs.transaction_seconds or 0.0)
    operations: Sequence[str] | None
    if right.resource == "GROUP":
        operations = group_operations(options, needs.group_id)
    elif right.name in absent:
        return True
    else:
        operations = () if topics[right.name]["error_code"] else topics[right.name]["authorized_operations"]
    return operations is None or right.operation in operations


def _may_transact(options: Mapping[str, Any], transactional_id: str, seconds: float) -> bool:
    """Tries it: no question tells of this right, nor of the longest transaction without one more."""
    milliseconds = int(ANSWER_TIMEOUT_SECONDS * 1000)
    given = {**options, "transactional_id": transactional_id, "transaction_timeout_ms": int(seconds * 1000)}
    producer = plain_producer(given, max_block_ms=milliseconds)
    try:
        producer.init_transactions()
    except TransactionalIdAuthorizationFailedError:
        return False
    except KafkaError as error:
        if InvalidTransactionTimeoutError.__name__ in str(error):  # kafka-python 3.0.12 wraps it into a KafkaError.
            raise ConfigError(
                f"delivery.transaction_timeout = {seconds:g}s is over the brokers' transaction.max.timeout.ms; lower "
                "the one or raise the other"
            ) from error
        if is_refusal(error):
            raise translated(error) from error
        raise Retryable(f"Kafka: no transactional producer: {type(error).__name__}: {error}") from error
    finally:
        with contextlib.suppress(KafkaError):
            producer.close(timeout=0)
    return True
