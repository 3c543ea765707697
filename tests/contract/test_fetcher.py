"""worker.ports.Fetcher on a real Kafka: what kafka-python and librdkafka promise alike."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka import KafkaProducer

from tests.contract.reading import AT_ONCE, FETCH_MAX_BYTES, KINDS, Reading, offsets
from tests.unit.test_copies import Raw
from worker.errors import Fatal

Make = Callable[..., Reading]


@pytest.fixture(params=KINDS)
def make(stack: Any, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes readings that are closed at the end."""
    made: list[Reading] = []

    def one(partitions: int = 1) -> Reading:
        made.append(Reading(stack.bootstrap_servers, request.param, partitions))
        return made[-1]

    yield one
    for each in made:
        each.close()


def test_a_record_is_what_was_sent(make: Make) -> None:
    """Nothing, empty, doubled and odd: keys, values, headers and times, in each codec."""
    reading = make()
    odd: list[Any] = [("a", b""), ("a", b"2"), ("é", b"\xff"), (Raw("odd"), b"v")]
    sent = [
        (None, b"tombstone of nothing", []), (b"", b"", [("one", b"1")]), (b"k", None, odd),
        (b"\xff", b"v" * 9, odd[:2]),
    ]  # fmt: skip
    codecs = [None, "gzip", "snappy", "lz4", "zstd"]
    for codec in codecs:
        producer = KafkaProducer(bootstrap_servers=reading.servers, compression_type=codec, linger_ms=20)
        for n, (key, value, headers) in enumerate(sent):
            producer.send(reading.topic, key=key, value=value, headers=headers, timestamp_ms=1_000 + n)
        producer.flush()
        producer.close()
    reading.hold({0: 7})
    found = reading.read(len(sent) * len(codecs))
    spelt = [("a", b""), ("a", b"2"), ("é", b"\xff"), ("x-\\xff\\xfe", b"v")]
    wanted = [
        (key, value, tuple(spelt[: len(headers)] if len(headers) > 1 else headers)) for key, value, headers in sent
    ]
    assert [(one.key, one.value, one.headers) for one in found] == wanted * len(codecs)
    assert [one.timestamp_ms for one in found] == [1_000, 1_001, 1_002, 1_003] * len(codecs)
    assert offsets(found) == list(range(len(found)))
    assert {(one.topic, one.partition, one.lease) for one in found} == {(reading.topic, 0, 7)}


def test_what_was_aborted_never_comes_and_the_position_passes_it(make: Make) -> None:
    """Also where nothing but an aborted transaction and its marker is left to the end."""
    reading = make()
    reading.transaction([b"a", b"b"], commits=True)  # 0, 1, marker 2
    reading.transaction([b"gone"], commits=False)  # 3, marker 4
    reading.transaction([b"c"], commits=True)  # 5, marker 6
    reading.transaction([b"gone", b"gone"], commits=False)  # 7, 8, marker 9
    reading.hold({0: 1})
    found = reading.until(lambda: reading.fetcher.position(reading.at(0)) == 10)
    assert [one.value for one in found] == [b"a", b"b", b"c"]
    reading.transaction([b"gone"], commits=False)
    assert reading.until(lambda: reading.fetcher.position(reading.at(0)) == 12) == []


def test_an_open_transaction_is_waited_for(make: Make) -> None:
    """What lies behind its first record does not come before it has ended, and then in order."""
    reading = make()
    producer = KafkaProducer(bootstrap_servers=reading.servers, transactional_id=reading.topic)
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(reading.topic, value=b"open", partition=0).get(10)
    reading.send(1)
    reading.hold({0: 1})
    for _ in range(10):
        assert reading.poll() == []
    assert reading.fetcher.position(reading.at(0)) == 0
    producer.commit_transaction()
    producer.close()
    assert [one.value for one in reading.read(2)] == [b"open", b"0:"]


def test_paused_partitions_bring_nothing_and_go_on_where_they_stood(make: Make) -> None:
    """Again and again, with records buffered on the way, in all mixtures: each comes once, in order."""
    reading, dice = make(3), random.Random(5)
    for number in range(3):
        reading.send(1_500, number, 200)
    reading.hold({0: 1, 1: 1, 2: 1})
    found: list[Any] = []
    while len(found) < 4_500:
        stop = {reading.at(number) for number in range(3) if dice.random() < 0.5}
        paused = reading.fetcher.paused
        reading.fetcher.pause(stop - paused)
        reading.fetcher.resume(paused - stop)
        assert reading.fetcher.paused == stop
        for _ in range(2):
            came = reading.poll(0.02)
            assert not {one.lies_on for one in came} & stop
            found += came
    for number in range(3):
        assert offsets(found, number) == list(range(1_500))


def test_a_long_pause_stops_nobody_else_and_costs_no_record(make: Make) -> None:
    """One partition stands with more behind it than any buffer holds, while another is read to its end."""
    reading = make(2)
    for number in range(2):
        reading.send(400, number, 10_000)
    assert 3 * FETCH_MAX_BYTES < 400 * 10_000
    reading.hold({0: 1, 1: 1})
    first = reading.read(1)
    reading.fetcher.pause([reading.at(0)])
    stands = reading.fetcher.position(reading.at(0))
    found = reading.until(lambda: reading.fetcher.position(reading.at(1)) == 400, first)
    assert reading.fetcher.position(reading.at(0)) == stands == len(offsets(found, 0))
    assert getattr(reading.fetcher, "_parked_bytes", 0) < FETCH_MAX_BYTES + 20_000
    reading.fetcher.resume([reading.at(0)])
    reading.until(lambda: len(found) == 800, found)
    assert offsets(found, 0) == offsets(found, 1) == list(range(400))


def test_after_a_seek_nothing_of_before_comes(make: Make) -> None:
    """Forward and back, with buffers full of what was there before; also of a paused partition."""
    reading, dice = make(), random.Random(3)
    reading.send(3_000, size=500)
    reading.hold({0: 1})
    reading.read(1)
    for n in range(25):
        to = dice.randrange(3_000)
        reading.poll(0.0)
        if n % 5 == 0:
            reading.fetcher.pause([reading.at(0)])
            reading.poll(0.02)
        reading.fetcher.seek(reading.at(0), to)
        assert reading.fetcher.position(reading.at(0)) == to
        reading.fetcher.resume([reading.at(0)])
        found = reading.read(1)
        assert offsets(found) == list(range(to, to + len(found)))
        assert reading.fetcher.position(reading.at(0)) == to + len(found)


def test_of_a_lease_that_is_over_nothing_comes_and_the_kept_go_on(make: Make) -> None:
    """Partitions come and go with buffers full; what is kept loses and doubles nothing."""
    reading = make(3)
    for number in range(3):
        reading.send(2_000, number, 200)
    reading.hold({0: 1, 1: 2})
    found = reading.read(AT_ONCE)
    reading.hold({0: 1, 2: 3})
    rest = reading.until(lambda: reading.fetcher.position(reading.at(0)) == 2_000)
    assert not offsets(rest, 1)
    assert offsets(found + rest, 0) == list(range(2_000))
    reading.hold({0: 1, 1: 4, 2: 3})
    reading.fetcher.seek(reading.at(1), 700)
    again = reading.until(lambda: reading.fetcher.position(reading.at(1)) == 2_000)
    assert offsets(again, 1) == list(range(700, 2_000))
    assert {one.lease for one in again if one.partition == 1} == {4}
    assert offsets(rest + again, 2) == list(range(len(offsets(rest + again, 2))))


def test_a_lease_that_begins_anew_takes_nothing_over(make: Make) -> None:
    """The group gave the same partition again under another lease while records of it were held back."""
    reading = make()
    reading.send(2_000, size=200)
    reading.hold({0: 1})
    begun = len(reading.read(1))
    reading.fetcher.pause([reading.at(0)])
    for _ in range(5):
        assert reading.poll(0.05) == []
    reading.hold({0: 2})
    reading.poll(0.0)
    reading.fetcher.resume([reading.at(0)])
    found = reading.read(2_000 - begun)
    assert offsets(found) == list(range(begun, 2_000))
    assert {one.lease for one in found} == {2}


@pytest.mark.parametrize("offset", [0, 99])
def test_an_offset_that_is_gone_ends_the_reader(make: Make, offset: int) -> None:
    """Before the log's first record and behind its last, in one sentence."""
    reading = make()
    reading.send(10)
    reading.delete_before(5)
    reading.hold({0: 1})
    reading.fetcher.seek(reading.at(0), offset)
    error = reading.error()
    assert isinstance(error, Fatal)
    assert str(error).startswith(f"{reading.topic}/0 has no offset {offset}: its records were deleted before they were")


def test_records_that_come_late_are_not_waited_out(make: Make) -> None:
    """A poll with a long time ends with the first record, and one partition that is silent holds up no other."""
    reading = make(2)
    reading.hold({0: 1, 1: 1})
    reading.poll()
    for n in range(5):
        reading.send(1, number=1)
        found: list[Any] = []
        for _ in range(3):
            found = found or reading.poll(60.0)
        assert offsets(found, 1) == [n]
