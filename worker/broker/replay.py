"""Dead letters -> the topics they came from, each once, as they were (CONTRACT section 3)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError

from schemas import names
from worker.broker.admin import partitions_of
from worker.broker.rebalance import membership_of
from worker.broker.sink import TransactionalSink
from worker.broker.unpack import strict_consumer
from worker.errors import ConfigError, Poison, Retryable, Unreachable
from worker.records import Outgoing, Partition, Record

STAGES = ("VALIDATE", "ALIGN", "DECODE", "MODEL", "PUBLISH")
POLL_MS = 200
# Records of a transaction; a dead letter may be a frame of some megabytes.
BATCH = 50
TRANSACTION_TIMEOUT_SECONDS = 60.0
REPLAYED_TYPE = "fusion.replayed.v1"
# The partition of a record that only Redis had, and whose place nobody knows.
_NOWHERE = "-1"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to replay and under whose names.

    Attributes:
        dead_letter_topic: where they are.
        topics: the input topics; a letter that came from another is left alone.
        mask: what masks a letter of before [privacy] was on; None: nothing is masked.
        group_id: with the stage appended remembers what was sent back, so that a second call does not send it again.
    """

    dead_letter_topic: str
    topics: tuple[str, ...]
    group_id: str
    startup_timeout_seconds: float
    commit_timeout_seconds: float
    mask: Callable[[Record], Record | Poison] | None = None


@dataclass(slots=True)
class Replayed:
    """Counts: sent back, and passed over: they came from a topic that is not ours, or are not all there."""

    sent: int = 0
    skipped: int = 0


def replay(
    connection: Mapping[str, Any],
    plan: Plan,
    *,
    stages: Sequence[str],
    limit: int | None,
    dry_run: bool,
    say: Callable[[str], None],
) -> Replayed:
    """Sends back the letters of these stages that are on the dead-letter topic now and were not sent back before.

    Each stage is a consumer group of its own, so that one may be replayed now and another later. Letters and the
    group's offsets go into one transaction a batch: each letter is sent back once.

    Raises:
        Unreachable: Kafka did not answer, or refused a letter.
        ConfigError: there is no dead-letter topic.
    """
    partitions = partitions_of(connection, [plan.dead_letter_topic], plan.startup_timeout_seconds)
    if not partitions:
        raise ConfigError(f"output.dead_letter_topic = {plan.dead_letter_topic!r}: no such topic")
    places = [TopicPartition(plan.dead_letter_topic, n) for n in range(partitions[plan.dead_letter_topic])]
    done = Replayed()
    try:
        for stage in stages:
            with _reader(connection, plan, stage) as consumer, _sink(connection, plan, stage) as sink:
                ends = consumer.end_offsets(places)
                for batch, membership in _batches(consumer, ends, plan.startup_timeout_seconds):
                    taken = _send(batch, plan, stage, limit, done, say)
                    if taken and not dry_run:
                        sink.publish(*taken, membership)
                    if limit is not None and done.sent >= limit:
                        return done
    except KafkaError as error:
        raise Unreachable(f"Kafka did not answer the replay ({type(error).__name__}: {error})") from error
    except Retryable as error:
        raise Unreachable(f"Kafka did not take the letters: {error}; what was sent before stays sent") from error
    return done


def _send(
    batch: Sequence[Any], plan: Plan, stage: str, limit: int | None, done: Replayed, say: Callable[[str], None]
) -> tuple[list[Outgoing], dict[Partition, tuple[int, str]]]:
    """What goes back, and up to where; stops at the limit."""
    outgoing: list[Outgoing] = []
    offsets: dict[Partition, tuple[int, str]] = {}
    for letter in batch:
        if limit is not None and done.sent >= limit:
            break
        headers = dict(letter.headers)
        if headers.get(names.ERRORS_STAGE) == stage.encode():
            back = letter_back(letter.key, letter.value, letter.headers)
            back, unmasked = (back, "") if back is None else _masked(back, plan)
            told = f"{letter.topic}/{letter.partition}/{letter.offset}"
            if back is None or (why := unmasked or _kept_back(back, plan)):
                done.skipped += 1
                say(f"{told}: passed over, {why if back else 'it does not say where it came from'}")
            else:
                done.sent += 1
                outgoing.append(back)
                say(f"{told} -> {back.topic}")
        offsets[Partition(letter.topic, letter.partition)] = (letter.offset + 1, "")
    return outgoing, offsets


def _masked(back: Outgoing, plan: Plan) -> tuple[Outgoing, str]:
    """The letter as [privacy] asks, and why it cannot be sent so."""
    if plan.mask is None or back.topic not in plan.topics or any(name == names.PRIVACY for name, _ in back.headers):
        return back, ""
    stamp = -1 if back.timestamp_ms is None else back.timestamp_ms
    made = plan.mask(Record(back.topic, -1, -1, stamp, back.key, back.value, back.headers))
    if isinstance(made, Poison):
        return back, f"it is from before [privacy] was on and cannot be masked ({made.reason})"
    return replace(back, value=made.value, headers=made.headers), ""


def _kept_back(back: Outgoing, plan: Plan) -> str:
    """Why a letter is not sent; empty for one that is."""
    if back.topic not in plan.topics:
        return f"it came from {back.topic}"
    if any(name == names.VALUE_OMITTED for name, _ in back.headers) and (
        names.PRIVACY, names.PRIVACY_LEFT_OUT.encode()
    ) in back.headers:  # fmt: skip
        return f"[privacy] has left its body out; send it again from {back.topic} itself"
    left_out = ", ".join(f"{name} = {(raw or b'').decode()}" for name, raw in back.headers if name in names.OMITTED)
    if left_out:
        return f"the dead-letter topic did not take all of it ({left_out}); send it again from {back.topic} itself"
    return ""


def letter_back(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> Outgoing | None:
    """The record as it was; None when the letter does not say where it came from.

    `fusion.attempts` stays, so that the next dead letter counts on. A plain record's id and time are its place and
    timestamp, which a second record does not share: it goes back as a CloudEvent that says them.
    """
    told = {name.lower(): raw or b"" for name, raw in headers}
    place = [told.get(name, b"").decode(errors="replace") for name in names.ERRORS_PLACE]
    if not all(place) or place[1] == _NOWHERE:
        return None
    kept = [
        (name, raw) for name, raw in headers
        if not name.startswith(names.ERRORS_PREFIX) and name != names.TIMESTAMP
    ]  # fmt: skip
    stamp = told.get(names.TIMESTAMP, b"")
    # A record that had no timestamp (-1) goes back without one; a letter that does not say gets the time of now.
    timestamp_ms = int(stamp) if stamp.removeprefix(b"-").isdigit() else None
    structured = (
        told.get(names.CONTENT_TYPE, b"").strip().lower().startswith(names.STRUCTURED.partition("+")[0].encode())
    )
    if not structured and not any(name.startswith(names.CE_PREFIX) for name in told):
        attributes = (names.SPEC_VERSION, "/".join(place), place[0], REPLAYED_TYPE)
        kinds = (names.CE_SPECVERSION, names.CE_ID, names.CE_SOURCE, names.CE_TYPE)
        kept += [(kind, attribute.encode()) for kind, attribute in zip(kinds, attributes, strict=True)]
    return Outgoing(place[0], key, value, tuple(kept), timestamp_ms)


def _batches(consumer: Any, ends: Mapping[Any, int], timeout_seconds: float) -> Iterator[tuple[list[Any], Any]]:
    """Letters below `ends` of the partitions that the group gives us, with the membership they were read under."""
    deadline, membership = time.monotonic() + timeout_seconds, None
    while True:
        polled = consumer.poll(timeout_ms=POLL_MS, max_records=BATCH)
        before, membership, assigned = membership, membership_of(consumer), consumer.assignment()
        if before is not None and before.member_id != membership.member_id:
            raise Unreachable("the replay's group has evicted this process, and others may have sent on; run it again")
        letters = [one for records in polled.values() for one in records]
        within = [one for one in letters if one.offset < ends[TopicPartition(one.topic, one.partition)]]
        if within:
            yield within, membership
        if not assigned and time.monotonic() > deadline:
            raise Unreachable("the replay's group gives this process no partition; does another replay run?")
        if assigned and all(consumer.position(place) >= ends[place] for place in assigned):
            return


@contextlib.contextmanager
def _reader(connection: Mapping[str, Any], plan: Plan, stage: str) -> Iterator[Any]:
    consumer = strict_consumer(
        **connection,
        group_id=f"{plan.group_id}-{stage.lower()}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    try:
        consumer.subscribe([plan.dead_letter_topic])
        yield consumer
    finally:
        consumer.close(autocommit=False)


@contextlib.contextmanager
def _sink(connection: Mapping[str, Any], plan: Plan, stage: str) -> Iterator[TransactionalSink]:
    own_id = f"{plan.group_id}-{stage.lower()}"
    sink = TransactionalSink(connection, own_id, TRANSACTION_TIMEOUT_SECONDS, plan.commit_timeout_seconds)
    with contextlib.closing(sink):
        yield sink
