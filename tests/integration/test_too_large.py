"""What its topic does not take costs that record alone: on a real broker, by each of the ways in which it refuses."""

from __future__ import annotations

import contextlib
import json
import queue
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic

from tests.unit.incoming import FixedClock, binary, validator
from tests.unit.test_batch import Silent
from worker.broker import sink as sinks
from worker.broker.sink import PlainSink, TransactionalSink
from worker.errors import Poison
from worker.pipeline.outcomes import Outcomes
from worker.records import Aligned, Event, Partition, Record, Verdict
from worker.stages.batch import Fused
from worker.stages.commit import Committer
from worker.stages.guard import DeadLetterGuard
from worker.stages.ledger import Ledger
from worker.stages.publish import ResultWriter

KIB, MIB = 2**10, 2**20
WIDE = {"max.message.bytes": str(32 * MIB)}
NARROW = {"max.message.bytes": str(20 * KIB)}
# The least that Kafka 4 takes for a segment; no batch may be larger.
SEGMENT = {"max.message.bytes": str(32 * MIB), "segment.bytes": str(MIB)}


@dataclass
class Post:
    """A committer on a real sink, with topics of its own."""

    stack: Any
    name: str
    outcomes: Outcomes
    committer: Committer
    member: Any
    exactly_once: bool
    offset: int = 0

    def record(self, **changes: Any) -> Record:
        """The next anchor's record."""
        made = binary(b"hello", b"text/plain", topic=f"{self.name}.texts", partition=0, offset=self.offset, **changes)
        assert self.committer.read([made])
        self.offset += 1
        return made

    def result(self, label_bytes: int = 10) -> Record:
        """An anchor has its result, of about this size."""
        record = self.record()
        event: Event = validator().read(binary(b"hello", b"text/plain"))
        verdict = Verdict("even", 0.5, {"even": 0.5, "x" * label_bytes: 0.5})
        aligned = Aligned(Event(**{**_fields(event), "record": record}), {}, {}, True)
        self.outcomes.fused([Fused(aligned, verdict)])
        return record

    def letter(self, **changes: Any) -> Record:
        """A record that cannot be read."""
        record = self.record(**changes)
        self.outcomes.invalid(record, Poison("VALIDATE", "not_text", "it is bad"))
        return record

    def drained(self) -> tuple[list[Any], list[Any]]:
        """(results, dead letters) that readers see once all is committed."""
        self.settle()
        reader = KafkaConsumer(bootstrap_servers=self.stack.bootstrap_servers, isolation_level="read_committed")
        logs = [TopicPartition(f"{self.name}.{topic}", 0) for topic in ("fusions", "dead")]
        reader.assign(logs)
        ends = reader.end_offsets(logs)
        reader.seek_to_beginning()
        found: dict[str, list[Any]] = {log.topic: [] for log in logs}
        while any(reader.position(log) < ends[log] for log in logs):
            for log, records in reader.poll(timeout_ms=500).items():
                found[log.topic] += records
        reader.close()
        results, dead = found.values()
        once = {json.loads(result.value)["inputs"]["texts"]["offset"]: result for result in results}
        told_once = {place(letter): letter for letter in dead}
        if self.exactly_once:
            assert (len(once), len(told_once)) == (len(results), len(dead))
        return list(once.values()), list(told_once.values())

    def settle(self) -> None:
        """Waits until all is committed; the group's member polls meanwhile, so that its generation is the group's."""
        deadline = time.monotonic() + 60
        while not self.committer.drain(0.5):
            self.member.poll(timeout_ms=0)
            assert time.monotonic() < deadline

    def narrow(self, topic: str) -> None:
        """Its limit changes while the worker runs."""
        admin = KafkaAdminClient(bootstrap_servers=self.stack.bootstrap_servers)
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, f"{self.name}.{topic}", configs=NARROW)])
        admin.close()


def _fields(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__slots__}


Opened = Callable[..., Post]


@pytest.fixture(params=["exactly_once", "at_least_once"])
def post(stack: Any, request: pytest.FixtureRequest) -> Iterator[Opened]:
    """Opens posts whose topics have these limits; both guarantees."""
    with contextlib.ExitStack() as closing:

        def opened(fusions: Mapping[str, str] = WIDE, dead: Mapping[str, str] = WIDE) -> Post:
            name = f"t{uuid.uuid4().hex[:10]}"
            _create(stack, {f"{name}.texts": WIDE, f"{name}.fusions": fusions, f"{name}.dead": dead})
            return _post(stack, name, request.param, closing)

        yield opened


def _create(stack: Any, topics: Mapping[str, Mapping[str, str]]) -> None:
    admin = KafkaAdminClient(bootstrap_servers=stack.bootstrap_servers)
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs=dict(limits)) for topic, limits in topics.items()])
    admin.close()


def _post(stack: Any, name: str, guarantee: str, closing: contextlib.ExitStack) -> Post:
    connection = {"bootstrap_servers": stack.bootstrap_servers}
    member = KafkaConsumer(**connection, group_id=name, enable_auto_commit=False, metadata_max_age_ms=500)
    closing.callback(member.close, autocommit=False)
    # A member that joins before it knows the topic is assigned nothing until its metadata are renewed.
    while not member.partitions_for_topic(f"{name}.texts"):
        pass
    member.subscribe([f"{name}.texts"])
    while not member.assignment():
        member.poll(timeout_ms=100)
    exactly = guarantee == "exactly_once"
    sink = TransactionalSink(connection, name, 30.0, 20.0) if exactly else PlainSink(connection, lambda offsets: None)
    closing.callback(sink.close)
    errors: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
    committer = Committer(
        lambda: sink, member.group_metadata, lambda partition, note, settled: "", lambda done: None, errors.put,
        Silent(), lambda *refused: outcomes.smaller(*refused), DeadLetterGuard(0, 0, FixedClock()),

    )  # fmt: skip
    closing.callback(committer.close)
    texts = f"{name}.texts"
    writer = ResultWriter(f"{name}.fusions", f"{name}.dead", source="/t", model_name="m", model_version="1")
    outcomes = Outcomes(
        committer, writer, {texts: "texts"}, texts, Silent(), FixedClock()
    )  # fmt: skip
    committer.open(Partition(texts, 0), Ledger(0, 0), context=False)
    return Post(stack, name, outcomes, committer, member, exactly)


def told(letter: Any) -> dict[str, bytes]:
    """A record's headers."""
    return dict(letter.headers)


def place(record: Any) -> int:
    """Of which anchor's record a dead letter is."""
    return int(told(record)["__connect.errors.offset"])


def test_a_result_too_large_is_a_dead_letter_and_no_one_elses(post: Opened) -> None:
    """Its anchor goes to the dead letters with its body and stage PUBLISH; a larger letter beside it stays whole."""
    made = post(fusions=NARROW)
    large = made.letter(ce_id=b"innocent", headers=(("pad", b"p" * MIB),))
    made.result()
    refused = made.result(50 * KIB)
    made.result()
    results, dead = made.drained()
    assert len(results) == 2
    assert all(json.loads(result.value)["label"] == "even" for result in results)
    by_place = {place(letter): letter for letter in dead}
    assert sorted(by_place) == [large.offset, refused.offset]
    assert (by_place[large.offset].value, len(told(by_place[large.offset])["pad"])) == (b"hello", MIB)
    letter = by_place[refused.offset]
    assert letter.value == b"hello"
    assert told(letter)["__connect.errors.stage"] == b"PUBLISH"
    message = told(letter)["__connect.errors.exception.message"].decode()
    assert f"{made.name}.fusions" in message
    assert "max.message.bytes" in message


@pytest.mark.parametrize(
    ("limits", "changes", "left_out"),
    [
        (NARROW, {"value": b"x" * 50 * KIB}, "value"),
        (NARROW, {"headers": (("pad", b"x" * 50 * KIB),)}, "headers"),
        (NARROW, {"key": b"k" * 50 * KIB}, "key"),
        (SEGMENT, {"value": b"x" * 2 * MIB}, "value"),
    ],
    ids=["body", "headers", "key", "segment"],
)
def test_a_letter_too_large_loses_its_largest_part(
    post: Opened, limits: Mapping[str, str], changes: dict[str, Any], left_out: str
) -> None:
    """And says how many bytes; its neighbours keep all of theirs, the results too."""
    made = post(dead=limits)
    changes = dict(changes)
    record = Record(**{**_fields_of(made.record()), **changes})
    made.outcomes.invalid(record, Poison("VALIDATE", "not_text", "it is bad"))
    neighbours = [made.letter(headers=(("pad", b"p" * KIB),)) for _ in range(3)]
    made.result(MIB)
    results, dead = made.drained()
    assert len(results[0].value) > MIB
    by_place = {place(letter): letter for letter in dead}
    assert all(told(by_place[one.offset])["pad"] == b"p" * KIB for one in neighbours)
    letter = by_place[record.offset]
    omitted = {name: value for name, value in told(letter).items() if name.endswith("_omitted_bytes")}
    assert list(omitted) == [f"fusion.{left_out}_omitted_bytes"]
    assert int(omitted[f"fusion.{left_out}_omitted_bytes"]) >= 50 * KIB
    assert (letter.value == b"hello") == (left_out != "value")
    assert (letter.key == b"junction-12") == (left_out != "key")


def _fields_of(record: Record) -> dict[str, Any]:
    return {one.name: getattr(record, one.name) for one in fields(record) if one.init}


def test_a_batch_too_large_of_records_that_are_not_is_split(post: Opened) -> None:
    """A hundred results together are over the topic's limit: all go out, none with less in it."""
    made = post(fusions=NARROW)
    for _ in range(100):
        made.result(2 * KIB)
    results, dead = made.drained()
    assert (len(results), dead) == (100, [])
    assert all(len(result.value) > 2 * KIB for result in results)


def test_one_too_large_in_a_full_batch_is_found(post: Opened) -> None:
    """Of a batch that the broker refuses the others are published as they were."""
    made = post(fusions=NARROW)
    refused = [made.result(30 * KIB if n in (7, 8, 50) else KIB) for n in range(60)]
    results, dead = made.drained()
    assert len(results) == 57
    assert sorted(place(letter) for letter in dead) == sorted(refused[n].offset for n in (7, 8, 50))


def test_what_the_client_refuses_is_as_what_the_broker_refuses(post: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """`max_request_size` is the client's own limit."""
    monkeypatch.setattr(sinks, "MAX_REQUEST_BYTES", 100 * KIB)
    made = post()
    made.letter(headers=(("pad", b"p" * 80 * KIB),))
    refused = made.result(200 * KIB)
    results, dead = made.drained()
    assert results == []
    assert [place(letter) for letter in dead] == [0, refused.offset]
    assert len(told(dead[0])["pad"]) == 80 * KIB


def test_a_limit_that_is_lowered_while_the_worker_runs(post: Opened) -> None:
    """What was taken before is a dead letter from then on, and the worker goes on."""
    made = post()
    made.result(50 * KIB)
    made.settle()
    made.narrow("fusions")
    refused = made.result(50 * KIB)
    made.result()
    results, dead = made.drained()
    assert len(results) == 2
    assert [place(letter) for letter in dead] == [refused.offset]


def test_outgoing_is_never_a_result_without_a_value(post: Opened) -> None:
    """A reader of results may parse every one."""
    made = post(fusions={"max.message.bytes": str(700)}, dead=NARROW)
    for size in (10, 1_000, 50_000):
        made.result(size)
    results, dead = made.drained()
    assert all(json.loads(result.value) for result in results)
    assert len(results) + len(dead) == 3
    assert all(letter.value == b"hello" for letter in dead)
