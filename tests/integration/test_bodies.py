"""Bodies are read from a real Kafka by their places; a worker that keeps none gives the results of one that does."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.consumer.fetcher import Fetcher

from tests.chaos.checker import content, findings
from tests.story import minutes_ago, story
from tests.town import town
from worker.broker.admin import is_gone
from worker.broker.bodies import BodyReader
from worker.errors import Poison
from worker.records import Partition, Record, Reference

SOON_SECONDS = 30.0
BATCH_BYTES = 16_384  # of a producer that is told nothing


class Place:
    """A topic of three partitions, each with records of its own, and a reader."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.servers, self.topic = bootstrap_servers, f"b{uuid.uuid4().hex[:10]}"
        self.warned: list[tuple[str, int]] = []
        self.failed: list[BaseException] = []
        self.admin(lambda admin: admin.create_topics([NewTopic(self.topic, 3, 1)]))
        self.reader = BodyReader({"bootstrap_servers": [bootstrap_servers]}, self, self.failed.append)

    def warning(self, event: str, **fields: Any) -> None:
        """As a log."""
        self.warned.append((fields["topic"], fields["partition"]))

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None

    def admin(self, act: Callable[[Any], object]) -> None:
        """Something that only an admin can do."""
        client = KafkaAdminClient(bootstrap_servers=self.servers)
        act(client)
        client.close()

    def fill(self, count: int, codec: str | None = None) -> None:
        """So many records in each partition, in batches."""
        with closing(KafkaProducer(bootstrap_servers=self.servers, linger_ms=20, compression_type=codec)) as producer:
            for n in range(count):
                for number in range(3):
                    producer.send(self.topic, partition=number, key=b"k", value=body(number, n), headers=[("h", b"v")])
            producer.flush()

    def at(self, number: int, offset: int) -> Reference:
        """The place of a record."""
        return Reference(Partition(self.topic, number), offset, len(body(number, offset)))

    def read(self, wanted: Sequence[Reference]) -> dict[Reference, Record | Poison | None]:
        """Waits until all have arrived."""
        self.reader.want(wanted)
        found: dict[Reference, Record | Poison | None] = {}
        until(lambda: found.update(self.reader.arrived()) or found.keys() >= set(wanted))
        return found


def body(number: int, offset: int) -> bytes:
    """Of the record at a place."""
    return b"%d/%d " % (number, offset) * 400


def until(found: Callable[[], object]) -> None:
    """Waits until it is so."""
    deadline = time.monotonic() + SOON_SECONDS
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def place(stack: Any) -> Iterator[Place]:
    """A Place whose reader is closed at the end, in bounded time."""
    made = Place(stack.bootstrap_servers)
    yield made
    began = time.monotonic()
    made.reader.close()
    assert time.monotonic() - began < 5
    assert made.failed == []


@pytest.mark.parametrize("codec", [None, "gzip"])
def test_scattered_places_come_whole(place: Place, codec: str | None) -> None:
    """In any order, of all partitions, each record as it is, and no other; nothing is begun before one is wanted."""
    assert not place.reader._threads
    place.fill(1_000, codec)
    chance = Random(1)
    for _ in range(3):
        wanted = [place.at(chance.randrange(3), chance.randrange(1_000)) for _ in range(100)]
        found = place.read(wanted)
        assert found.keys() == set(wanted)
        for one, record in found.items():
            assert isinstance(record, Record)
            assert (record.lies_on, record.offset, record.key) == (one.partition, one.offset, b"k")
            assert record.value == body(one.partition.number, one.offset)
            assert record.headers == (("h", b"v"),)
    assert place.warned == []


def test_no_more_is_fetched_than_a_run_spans(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a lone body its batch; neighbours come in one go."""
    place.fill(1_000)
    fetched: list[int] = []
    handled = Fetcher._handle_fetch_response

    def counted(self: Fetcher, node: int, offsets: Any, at: float, response: Any) -> None:
        fetched.extend(len(part.records or b"") for topic in response.responses for part in topic.partitions)
        handled(self, node, offsets, at, response)

    monkeypatch.setattr(Fetcher, "_handle_fetch_response", counted)
    place.read([place.at(0, 500)])
    assert max(fetched) <= 2 * BATCH_BYTES
    place.read([place.at(0, offset) for offset in range(500, 560)])
    assert max(fetched) >= 60 * len(body(0, 500)) - BATCH_BYTES


def test_what_is_gone_is_told(place: Place) -> None:
    """What retention took, what lies past the end, what a transaction has given up; what is beside it comes."""
    place.fill(100)
    producer = KafkaProducer(bootstrap_servers=place.servers, transactional_id=place.topic)
    with closing(producer):
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(place.topic, partition=1, value=b"given up")
        producer.flush()
        producer.abort_transaction()
    place.admin(lambda admin: admin.delete_records({TopicPartition(place.topic, 0): 50}))
    gone = [place.at(0, 3), place.at(0, 49), place.at(1, 100), place.at(2, 100), place.at(2, 7_000)]
    there = [place.at(0, 50), place.at(0, 99), place.at(1, 99), place.at(2, 0)]
    found = place.read([*gone, *there])
    assert [found[one] for one in gone] == [None] * 5
    assert all(isinstance(found[one], Record) for one in there)


def test_a_deleted_topic_is_told_and_stops_nobody(place: Place) -> None:
    """Its bodies are gone; those of another topic come meanwhile."""
    place.fill(20)
    other = Place(place.servers)
    other.fill(20)
    assert isinstance(place.read([place.at(0, 5)])[place.at(0, 5)], Record)
    place.admin(lambda admin: admin.delete_topics([place.topic]))
    until(lambda: is_gone({"bootstrap_servers": [place.servers]}, Partition(place.topic, 0), 5.0))
    lost = [place.at(1, 6), place.at(2, 6)]
    place.reader.want(lost)
    there = [other.at(n, 10) for n in range(3)]
    arrived = place.read([*lost, *there])
    assert [arrived[one] for one in lost] == [None, None]
    assert all(isinstance(arrived[one], Record) for one in there)
    assert place.reader.slow == ()
    other.reader.close()


def test_what_nobody_wants_any_more_is_not_asked_for(place: Place) -> None:
    """A partition that was revoked leaves nothing behind that is tried for ever."""
    place.reader.want([place.at(0, 5)])
    until(lambda: place.reader.slow or place.reader.arrived())
    place.reader.unwant([place.at(0, 5)])
    until(lambda: not place.reader.slow)


def test_three_that_keep_nothing_give_the_results_of_one_that_keeps_all(stack: Any, tmp_path: Path) -> None:
    """Byte for byte, over 4 + 3 partitions: every large frame (33 KB) is fetched again, and `bodies_total` tells so."""
    plain = story(5, minutes_ago(30), keys=8, anchors_per_key=25)
    events = [replace(e, body=e.body + bytes(31_000)) if len(e.body) > 2_000 else e for e in plain]
    with town(stack, tmp_path, limits={"body_cache_bytes": 1}) as made:
        workers = made.start(3)
        made.read_until(
            lambda: sum("fusion_consumer_lag_records{" in one for one in made.ask("metrics").values()) == 3, 120
        )
        made.feed(events)
        made.read_until(lambda: len(made.results) >= 200)
        told = made.metrics()
        assert made.stop() == [0] * len(workers)
        found = findings(events, made)
        assert not found, str(found)
        assert total(told, "kafka") > 50
        assert total(told, "ring") == 0
        made.settings["limits"] = {"body_cache_bytes": 2**28}
        with made.twin() as ample:
            ample.start()
            ample.read_until(lambda: len(ample.results) >= 200)
            told = ample.metrics()
            assert ample.stop() == [0]
            assert content(ample.raw) == content(made.raw)
            assert total(told, "ring") > 50
            assert total(told, "kafka") == total(told, "expired") == 0


def total(metrics: str, where: str) -> int:
    """Of all workers."""
    lines = [line for line in metrics.splitlines() if line.startswith(f'fusion_bodies_total{{from="{where}"}}')]
    return sum(int(float(line.split()[-1])) for line in lines)
