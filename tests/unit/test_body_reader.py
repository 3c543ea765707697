"""Which body is read when: partitions in turns, silent ones asked about beside, and nothing decided by a timeout."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import pytest

from worker.broker import bodies
from worker.broker.bodies import BodyReader, run_of
from worker.errors import Poison, Retryable
from worker.records import Partition, Record, Reference

A, B = Partition("frames", 0), Partition("frames", 1)


class Kafka:
    """What the reader's two consumers find; what each partition does is the test's.

    Attributes:
        silent: partitions that bring nothing.
        away: Kafka does not even say why.
        missing: partitions that Kafka does not know.
        lost: places outside of the log.
        reads: the runs that were asked for.
    """

    def __init__(self) -> None:
        self.silent: set[Partition] = set()
        self.missing: set[Partition] = set()
        self.lost: set[Reference] = set()
        self.away = False
        self.reads: list[list[Reference]] = []
        self.asked = self.closed = 0

    def __call__(self, connection: Any) -> Kafka:
        return self

    def read(
        self, run: Sequence[Reference], deliver: Callable[[Reference, Record | Poison | None], None], stopped: Any
    ) -> list[Reference]:
        self.reads.append(list(run))
        if self.away:
            raise Retryable("Kafka is away")
        if run[0].partition in self.silent | self.missing:
            return list(run)
        for one in run:
            if one not in self.lost:
                deliver(one, Record(*one.partition, one.offset, 0, b"k", b"x" * one.size))
        return [one for one in run if one in self.lost]

    def gone(self, places: Collection[Reference], partition: Partition) -> list[Reference] | None:
        self.asked += 1
        if self.away or partition in self.silent:
            raise Retryable("no answer")
        return None if partition in self.missing else [one for one in places if one in self.lost]

    def close(self) -> None:
        self.closed += 1


class Log:
    """Counts warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.warnings.append(fields["reason"])

    info = error = warning


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    """In the place of the real consumers; patience takes hundredths of a second."""
    found = Kafka()
    monkeypatch.setattr(bodies, "Places", found)
    monkeypatch.setattr(bodies, "PATIENCE_SECONDS", 0.02)
    monkeypatch.setattr(bodies, "MOST_AGAIN_SECONDS", 0.05)
    return found


@pytest.fixture
def reader(kafka: Kafka) -> Iterator[BodyReader]:
    """A reader of that Kafka."""
    failed: list[BaseException] = []
    made = BodyReader({}, Log(), failed.append)
    yield made
    made.close()
    assert failed == []
    assert not any(thread.is_alive() for thread in made._threads.values())


def at(partition: Partition, offset: int, size: int = 2_000) -> Reference:
    """The place of a record."""
    return Reference(partition, offset, size)


def until(done: Callable[[], object]) -> None:
    """Waits until it is so."""
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def taken(reader: BodyReader, *wanted: Reference) -> dict[Reference, Any]:
    """All that arrives, until these have."""
    found: dict[Reference, Any] = {}
    until(lambda: found.update(reader.arrived()) or found.keys() >= set(wanted))
    return found


def test_nothing_is_begun_before_a_body_is_wanted(kafka: Kafka, reader: BodyReader) -> None:
    """A worker whose ring always has them makes no consumer."""
    assert reader.arrived() == []
    reader.want([])
    assert not reader._threads
    reader.want([at(A, 1)])
    assert taken(reader, at(A, 1))[at(A, 1)].offset == 1


def test_a_silent_partition_stops_no_other(kafka: Kafka, reader: BodyReader) -> None:
    """It is listed as slow, asked about again and again, and read once it answers."""
    kafka.silent = {A}
    reader.want([at(A, 1)])
    until(lambda: A in reader.slow)
    for offset in range(50):
        reader.want([at(B, offset)])
        taken(reader, at(B, offset))
    before = len([run for run in kafka.reads if run[0].partition == A])
    assert before == 1
    until(lambda: kafka.asked > 3)
    assert reader.arrived() == []
    kafka.silent = set()
    assert taken(reader, at(A, 1))[at(A, 1)].offset == 1
    until(lambda: not reader.slow)


def test_what_lies_outside_of_the_log_is_gone(kafka: Kafka, reader: BodyReader) -> None:
    """The rest of its partition comes."""
    kafka.lost = {at(A, 2), at(A, 3)}
    reader.want([at(A, 1), at(A, 2), at(A, 3), at(A, 4)])
    found = taken(reader, *(at(A, n) for n in range(1, 5)))
    assert [found[at(A, n)] is None for n in range(1, 5)] == [False, True, True, False]


def test_a_partition_is_gone_when_kafka_says_so_three_times(kafka: Kafka, reader: BodyReader) -> None:
    """A broker that has just started may not know it yet: with an answer in between counting begins anew."""
    kafka.missing = {A}
    reader.want([at(A, 1), at(A, 2)])
    assert set(taken(reader, at(A, 1), at(A, 2)).values()) == {None}
    assert kafka.asked == 3
    until(lambda: not reader.slow)
    reader.want([at(A, 1)])
    until(lambda: kafka.asked == 5)
    kafka.missing = set()
    assert taken(reader, at(A, 1))[at(A, 1)] is not None


def test_kafka_away_is_told_and_waited_for(kafka: Kafka, reader: BodyReader) -> None:
    """Every client is made anew; nothing arrives before it is back."""
    kafka.away = True
    reader.want([at(A, 1), at(B, 1)])
    until(lambda: kafka.asked > 4)
    assert set(reader.slow) == {A, B}
    assert reader.arrived() == []
    assert kafka.closed >= kafka.asked
    assert set(reader._log.warnings) == {"Kafka is away", "no answer"}  # type: ignore[attr-defined]
    kafka.away = False
    taken(reader, at(A, 1), at(B, 1))


def test_what_is_wanted_no_more_is_read_no_more(kafka: Kafka, reader: BodyReader) -> None:
    """A silent partition of which nothing is wanted is not asked about for ever."""
    kafka.silent = {A}
    reader.want([at(A, 1)])
    until(lambda: A in reader.slow)
    reader.unwant([at(A, 1)])
    kafka.silent = set()
    until(lambda: not reader.slow)
    reads = len(kafka.reads)
    reader.want([at(B, 1)])
    taken(reader, at(B, 1))
    assert len(kafka.reads) == reads + 1


def test_what_ends_a_thread_is_heard(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it anchors would wait for ever."""
    failed: list[BaseException] = []
    made = BodyReader({}, Log(), failed.append)
    monkeypatch.setattr(kafka, "read", lambda *_: 1 / 0)
    made.want([at(A, 1)])
    until(lambda: failed)
    assert isinstance(failed[0], ZeroDivisionError)
    made.close()


def test_a_run_rises_and_is_bounded() -> None:
    """In number, in bytes and in what is read over; a body larger than all that is a run of its own."""
    assert [one.offset for one in run_of([at(A, 9), at(A, 3), at(A, 5)])] == [3, 5, 9]
    assert len(run_of([at(A, n) for n in range(1_000)])) == bodies.RUN_BODIES
    assert len(run_of([at(A, n, 3 * 2**20) for n in range(10)])) == 2
    assert len(run_of([at(A, 0, 2**30), at(A, 1)])) == 1
    far = bodies.GAP_BYTES // 2_000 + 2
    assert [one.offset for one in run_of([at(A, 0), at(A, far - 1), at(A, 2 * far)])] == [0, far - 1]


def test_what_is_gone_is_told_to_who_gave_it_back_meanwhile(kafka: Kafka, reader: BodyReader) -> None:
    """A key that waits for a silent partition gives its places back before Kafka has told that they are gone, and wants
    them again when the partition is silent no more."""
    lost = [at(A, n) for n in range(3)]
    kafka.lost, told = set(lost), set[Reference]()
    ask = kafka.gone

    def slowly(places: Collection[Reference], partition: Partition) -> list[Reference] | None:
        reader.unwant(lost)
        return ask(places, partition)

    kafka.gone = slowly  # type: ignore[method-assign]

    def all_told() -> bool:
        if not reader.slow:
            reader.want(one for one in lost if one not in told)
        told.update(one for one, body in reader.arrived() if body is None)
        return told == set(lost)

    until(all_told)
    assert kafka.asked == 1
