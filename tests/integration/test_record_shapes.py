"""Whatever shape of record Kafka can deliver, its dead letter is published as it came, and goes back as it was."""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from tests.story import Fed, headers_of, minutes_ago
from tests.town import town
from tests.unit.incoming import JPEG
from worker.broker.delivery import Delivery, send
from worker.broker.reader import record_of
from worker.broker.replay import letter_back
from worker.broker.sink import PlainSink, TransactionalSink, plain_producer
from worker.records import Outgoing, Record, Rejected, Stage
from worker.stages.publish import ResultWriter

KEYS = (None, b"", b"k", b"\xff\x00")
VALUES = (None, b"", b"v", b"\xff" * 300)
HEADERS: tuple[tuple[tuple[str, bytes | None], ...], ...] = (
    (),
    (("null", None),),
    (("empty", b""), ("null", None)),
    (("twice", b"1"), ("twice", None), ("twice", b"1")),
    (("ключ-🔑", b"\xff"), ("", b"a name of no length")),
    (("ce_id", None), ("content-type", None)),
    (("ce_specversion", b"1.0"), ("ce_id", b"e"), ("ce_source", b"s"), ("ce_type", b"t")),
)
FAR_MS = 4_102_444_800_000
TIMES_MS = (-1, 0, 1, 1_600_000_000_000, FAR_MS)
SHAPES = list(itertools.product(KEYS, VALUES, HEADERS, TIMES_MS))


@pytest.fixture
def topics(stack: Any) -> tuple[str, str]:
    """An input topic that takes any timestamp, and one for dead letters."""
    name = f"t{uuid.uuid4().hex[:10]}"
    admin = KafkaAdminClient(bootstrap_servers=stack.bootstrap_servers)
    any_time = {"message.timestamp.after.max.ms": str(2**63 - 1)}
    admin.create_topics([NewTopic(f"{name}.in", 1, 1, topic_configs=any_time), NewTopic(f"{name}.dead", 1, 1)])
    admin.close()
    return f"{name}.in", f"{name}.dead"


def publish(stack: Any, guarantee: str, outgoing: Sequence[Outgoing]) -> None:
    """By the worker's own sink."""
    connection = {"bootstrap_servers": stack.bootstrap_servers}
    if guarantee == "at_least_once":
        with contextlib.closing(PlainSink(connection, lambda offsets: None)) as plain:
            plain.publish(outgoing, {}, None)
        return
    with contextlib.closing(TransactionalSink(connection, uuid.uuid4().hex, 30.0, 30.0)) as sink:
        sink.fence()
        delivery = Delivery(sink._producer, outgoing)
        sink._producer.begin_transaction()
        delivery.send()
        delivery.wait()
        sink._producer.commit_transaction()


def read(stack: Any, topic: str, begin: int = 0) -> Iterator[Record]:
    """What readers see, from an offset on."""
    reader = KafkaConsumer(bootstrap_servers=stack.bootstrap_servers, isolation_level="read_committed")
    place = TopicPartition(topic, 0)
    reader.assign([place])
    end = reader.end_offsets([place])[place]
    reader.seek(place, begin)
    while reader.position(place) < end:
        for records in reader.poll(timeout_ms=500).values():
            yield from map(record_of, records)
    reader.close()


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_every_shape_is_a_dead_letter_as_it_came_and_goes_back(
    stack: Any, topics: tuple[str, str], guarantee: str
) -> None:
    """Null, empty and binary keys and values, null headers, duplicates, any name, no timestamp or one far off."""
    source, dead = topics
    writer = ResultWriter("fusions", dead, source="/t", model_name="m", model_version="1")
    publish(stack, guarantee, [Outgoing(source, key, value, headers, at) for key, value, headers, at in SHAPES])
    came = list(read(stack, source))
    assert [(one.key, one.value, one.headers, one.timestamp_ms) for one in came] == SHAPES
    letters = [writer.dead_letter(Rejected(one, Stage.VALIDATE, "bad", "it is bad")) for one in came]
    publish(stack, guarantee, letters)
    told = list(read(stack, dead))
    assert [(one.key, one.value) for one in told] == [(one.key, one.value) for one in came]
    for letter, one in zip(told, came, strict=True):
        assert letter.headers[: len(one.headers)] == one.headers
    back = [letter_back(one.key, one.value, one.headers) for one in told]
    assert all(back)
    end = came[-1].offset + 1
    publish(stack, guarantee, [one for one in back if one])
    for again, one in zip((r for r in read(stack, source, end) if r.offset >= end), came, strict=True):
        assert (again.key, again.value, again.timestamp_ms) == (one.key, one.value, one.timestamp_ms)
        assert again.headers[: len(one.headers)] == one.headers


def test_a_connectors_delete_marker_does_not_end_the_worker(stack: Any, tmp_path: Path) -> None:
    """Records with neither key nor value, and null headers, on every input: dead letters, and the good go on."""
    at = minutes_ago(5)
    with town(stack, tmp_path, {"texts": 1, "frames": 1}) as made:
        producer = plain_producer({"bootstrap_servers": stack.bootstrap_servers})
        for stream in ("texts", "frames"):
            for key, headers in ((None, ()), (None, (("h", None),)), (b"k", (("h", None),))):
                send(producer, Outgoing(f"{made.name}.{stream}", key, None, headers)).get(timeout=30)
        producer.close()
        good = headers_of(Fed(at, "texts", "k", "t"))
        made.send("texts", "k", b"hello", good)
        made.feed([Fed(at, "frames", "k", "f", JPEG)])
        made.start()
        made.read_until(lambda: len(made.results) >= 1 and len(made.dead) >= 6)
        assert made.stop() == [0]
        assert (
            sorted((letter.key or b"", letter.value) for letter in made.dead) == [(b"", None)] * 4 + [(b"k", None)] * 2
        )
        assert [dict(letter.headers)["h"] for letter in made.dead if "h" in dict(letter.headers)] == [None] * 4
