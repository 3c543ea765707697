"""Kafka changes under the workers: more partitions, records deleted or topics recreated, a foreign open transaction."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from tests.chaos.checker import findings
from tests.chaos.ground import Ground
from tests.chaos.storm import backlog, settings
from tests.story import Fed, minutes_ago, nearest_frame, story
from tests.town import Town, town, verdicts
from worker.broker.source import KafkaSource
from worker.errors import Retryable

OPTIONS = {"group_id": "g", "auto_offset_reset": "earliest", "bootstrap_timeout_ms": 500}
FATAL = "its records were deleted before they were read (retention), or the topic was recreated"


def admin(ground: Ground) -> Any:
    """Kafka's own tool."""
    return KafkaAdminClient(bootstrap_servers=ground.bootstrap_servers)


def fed_and_done(made: Town, events: list[Fed], already: int = 0) -> None:
    """Feeds, waits for all results, and stops the workers."""
    made.feed(events)
    made.start()
    made.read_until(lambda: len(made.results) >= already + sum(event.stream == "texts" for event in events))
    assert set(made.stop()) == {0}


def ended_by_itself(made: Town) -> str:
    """The last line of a worker that must not go on."""
    (worker,) = made.workers or made.start()
    assert worker.wait(60) == 1, made.log()
    made.workers.clear()
    assert "Traceback" not in made.log()
    return made.log().strip().splitlines()[-1]


@pytest.mark.long
def test_topics_gain_partitions_while_workers_run(ground: Ground, tmp_path: Path) -> None:
    """Keys move to other partitions, of which the workers hear within half a minute; each anchor has its result."""
    events = backlog(31, 400)
    middle = len(events) // 2
    with town(ground, tmp_path, **settings(ground)) as made:
        made.start(2)
        made.feed(events[:middle])
        made.read_until(lambda: len(made.results) >= 100)
        client = admin(ground)
        client.create_partitions({f"{made.name}.texts": 6, f"{made.name}.frames": 5})
        client.close()
        made.producers.renew()
        made.feed(events[middle:])
        made.read_until(lambda: len(made.results) >= 400, 120)
        assert set(made.stop()) == {0}
        found = findings(events, made)
        assert [found.lost, found.doubled, found.changed] == [[], [], []], str(found)
        assert {r["inputs"]["texts"]["partition"] for r in made.results} & {4, 5}


def test_anchors_deleted_before_they_were_read_stop_the_worker(ground: Ground, tmp_path: Path) -> None:
    """Exit 1 and one line that names the place, not a silent skip."""
    first, second = (story(seed, minutes_ago(20 - seed), keys=3, anchors_per_key=10) for seed in (1, 2))
    second = [Fed(e.time_us, e.stream, e.key, "second-" + e.id, e.body) for e in second]
    with town(ground, tmp_path, {"texts": 1}, **settings(ground)) as made:
        fed_and_done(made, first)
        made.feed(second)
        client = admin(ground)
        client.delete_records({TopicPartition(f"{made.name}.texts", 0): 45})
        client.close()
        said = ended_by_itself(made)
        assert FATAL in said
        assert f"{made.name}.texts/0 has no offset 30" in said


def test_context_deleted_before_it_was_read_is_told_and_passed_over(ground: Ground, tmp_path: Path) -> None:
    """Frames are kept for a short time: anchors without theirs say so, and a warning and a metric count it."""
    first, second = (story(seed, minutes_ago(20 - 5 * seed), keys=3, anchors_per_key=10) for seed in (1, 2))
    second = [Fed(e.time_us, e.stream, e.key, "second-" + e.id, e.body) for e in second]
    with town(ground, tmp_path, {"texts": 1, "frames": 1}, **settings(ground)) as made:
        fed_and_done(made, first)
        made.feed(second)
        frames = sum(event.stream == "frames" for event in first)
        client = admin(ground)
        client.delete_records({TopicPartition(f"{made.name}.frames", 0): frames + 20})
        client.close()
        fed_and_done(made, [], 60)
        kept = [e for e in second if e.stream == "texts"]
        kept += [e for e in second if e.stream == "frames"][20:]
        assert verdicts(made.results) == nearest_frame(first) | nearest_frame(kept)
        assert '"records": 20' in made.log()
        assert "context was deleted before it was read" in made.log()


@pytest.mark.long
def test_a_recreated_topic_is_never_skipped_in_silence(ground: Ground, tmp_path: Path) -> None:
    """Under a running worker offsets begin again: it stops with one line, or was told in time and begins again too."""
    first, second = (story(seed, minutes_ago(20 - seed), keys=3, anchors_per_key=10) for seed in (1, 2))
    second = [Fed(e.time_us, e.stream, e.key, "second-" + e.id, e.body) for e in second]
    with town(ground, tmp_path, {"texts": 1}, **settings(ground)) as made:
        made.feed(first)
        (worker,) = made.start()
        made.read_until(lambda: len(made.results) >= 30)
        name, client = f"{made.name}.texts", admin(ground)
        client.delete_topics([name])
        made.read_until(lambda: name not in client.list_topics())
        client.create_topics([NewTopic(name, 1, 1)])
        client.close()
        made.producers.renew()
        made.feed(second)
        deadline = time.monotonic() + 90
        while worker.poll() is None and len(made.results) < 60:
            made.read()
            assert time.monotonic() < deadline, made.log()
        if worker.poll() is None:
            assert made.stop() == [0]
            assert verdicts(made.results) == nearest_frame(first) | nearest_frame(second)
        else:
            assert FATAL in ended_by_itself(made)


def test_a_foreign_transaction_left_open_delays_and_changes_nothing(ground: Ground, tmp_path: Path) -> None:
    """What lies behind it is read once Kafka has ended it; what was in it is never seen."""
    events = story(3, minutes_ago(20), keys=3, anchors_per_key=10)
    with town(ground, tmp_path, {"texts": 1}, **settings(ground)) as made:
        foreign = KafkaProducer(
            bootstrap_servers=ground.bootstrap_servers, transactional_id=made.name, transaction_timeout_ms=3000
        )
        foreign.init_transactions()
        foreign.begin_transaction()
        foreign.send(f"{made.name}.texts", key=b"ghost", value=b"never committed").get(timeout=10)
        fed_and_done(made, events)
        assert verdicts(made.results) == nearest_frame(events)
        assert made.dead == []
        foreign.close(timeout=0)


def test_commits_that_a_transaction_holds_are_waited_for_and_told(ground: Ground, tmp_path: Path) -> None:
    """Where to begin is not guessed: /readyz says which partition waits and why; afterwards the worker goes on."""
    events = story(5, minutes_ago(20), keys=12, anchors_per_key=5)
    with town(ground, tmp_path, {"texts": 2}, **settings(ground)) as made:
        place = TopicPartition(f"{made.name}.texts", 0)
        foreign = KafkaProducer(
            bootstrap_servers=ground.bootstrap_servers, transactional_id=made.name, transaction_timeout_ms=60_000
        )
        foreign.init_transactions()
        foreign.begin_transaction()
        nobody = ConsumerGroupMetadata(made.name, -1, "", None)
        foreign.send_offsets_to_transaction({place: OffsetAndMetadata(3, "", -1)}, nobody)
        made.feed(events)
        made.start()
        why = f"partitions: what the group has committed for {place.topic}/0 cannot be read: a transaction holds it"
        made.read_until(lambda: any(why in said for said in made.ask("readyz").values()))
        assert made.results == []
        foreign.abort_transaction()
        made.read_until(lambda: verdicts(made.results) == nearest_frame(events))
        made.read_until(lambda: all("ready" in said for said in made.ask("readyz").values()))
        assert made.log().count("a partition waits") == 1
        assert made.stop() == [0]
        foreign.close()


def test_a_worker_that_starts_while_kafka_goes_away_waits_for_it(ground: Ground, tmp_path: Path) -> None:
    """Between its first question and its membership nothing but `startup_timeout` may end it."""
    events = story(6, minutes_ago(20), keys=3, anchors_per_key=10)
    with town(ground, tmp_path, {"texts": 1}, **settings(ground)) as made:
        made.feed(events)
        ground.kafka.stop()
        try:
            with pytest.raises(Retryable):
                KafkaSource({"bootstrap_servers": [ground.bootstrap_servers]}, OPTIONS, [f"{made.name}.texts"], print)
            made.start(2)
        finally:
            ground.kafka.start()
        made.read_until(lambda: verdicts(made.results) == nearest_frame(events))
        assert made.stop() == [0, 0]
