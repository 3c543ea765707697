"""Traps of the client and the broker, each shown to be real, and that the worker does not fall into it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaTimeoutError
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from tests.chaos.ground import Ground
from tests.chaos.scene import PATIENCE_SECONDS, Scene, eventually
from tests.store_fixtures import redis_store, rule
from worker.broker.sink import TransactionalSink
from worker.broker.slots import SlotSink
from worker.broker.source import KafkaSource
from worker.errors import StaleMember, Uncertain
from worker.records import Outgoing


def test_generation_minus_one_is_accepted_by_the_broker_and_refused_here(scene: Scene) -> None:
    """The naive commit moves the offset of a partition that another member owns; ours is never sent."""
    owner = scene.member()
    naive = KafkaProducer(transactional_id=f"{scene.name}-naive", **scene.connection)
    naive.init_transactions()
    naive.begin_transaction()
    nobody = ConsumerGroupMetadata(scene.name, -1, "", None)
    naive.send_offsets_to_transaction({TopicPartition(scene.input.topic, 0): OffsetAndMetadata(7, "", -1)}, nobody)
    naive.commit_transaction()
    assert owner.committed(scene.input) == (7, "")
    with pytest.raises(StaleMember):
        scene.sink().publish(scene.out(b"x"), {scene.input: (9, "")}, nobody)
    assert owner.committed(scene.input) == (7, "")
    naive.close()
    owner.close()


def test_a_stale_generation_publishes_nothing_and_leaves_nothing_behind(scene: Scene) -> None:
    """The broker refuses, and the refused offsets do not travel with the next transaction."""
    owner = scene.member()
    fresh = owner.membership
    stale = ConsumerGroupMetadata(fresh.group_id, fresh.generation_id - 1, fresh.member_id, None)
    sink = scene.sink()
    with pytest.raises(StaleMember):
        sink.publish(scene.out(b"refused"), {scene.input: (15, "stale")}, stale)
    sink.publish(scene.out(b"good"), {}, fresh)
    eventually(scene.sees(b"good"))
    assert scene.seen == [b"good"]
    assert owner.committed(scene.input) is None
    sink.close()
    owner.close()


def test_the_client_carries_refused_offsets_into_the_next_transaction(scene: Scene) -> None:
    """Why a producer is thrown away after a refusal: kept, it commits for a partition that it was refused for."""
    owner = scene.member()
    fresh = owner.membership
    stale = ConsumerGroupMetadata(fresh.group_id, fresh.generation_id - 1, fresh.member_id, None)
    naive = KafkaProducer(transactional_id=f"{scene.name}-naive", **scene.connection)
    naive.init_transactions()
    naive.begin_transaction()
    place, other = TopicPartition(scene.input.topic, 0), TopicPartition(scene.output.topic, 0)
    with pytest.raises(Exception, match="IllegalGeneration"):
        naive.send_offsets_to_transaction({place: OffsetAndMetadata(15, "stale", -1)}, stale)
    naive.abort_transaction()
    naive.begin_transaction()
    naive.send_offsets_to_transaction({other: OffsetAndMetadata(0, "", -1)}, fresh)
    naive.commit_transaction()
    assert owner.committed(scene.input) == (15, "stale")
    naive.close()
    owner.close()


@pytest.mark.long
def test_a_commit_without_an_answer_ends_by_the_watchdog(scene: Scene, ground: Ground) -> None:
    """The broker dies with a transaction open and comes back: the call ends, and the next publish goes through."""
    owner = scene.member()
    sink = scene.sink(timeout_seconds=3.0)
    sink.publish(scene.out(b"before"), {}, owner.membership)
    sink._producer.begin_transaction()
    sink._producer.send(scene.output.topic, b"open").get(timeout=10)
    ground.kafka.kill()
    ground.kafka.start()
    _commit_or_know_nothing(sink)
    eventually(lambda: owner.poll(0.1) and owner.leases)
    eventually(lambda: _published(sink, scene.out(b"after"), owner))
    eventually(scene.sees(b"after"))
    sink.close()
    owner.close()


def test_the_client_s_own_close_leaves_a_transaction_at_work(scene: Scene, ground: Ground) -> None:
    """Why a producer is ended by force: closed with a record under way it goes on, and commits once Kafka is back."""
    naive = KafkaProducer(transactional_id=f"{scene.name}-naive", **scene.connection)
    naive.init_transactions()
    naive.begin_transaction()
    assert naive.partitions_for(scene.output.topic)
    os.kill(ground.kafka.pid, signal.SIGSTOP)
    try:
        naive.send(scene.output.topic, b"zombie")
        committing = threading.Thread(target=naive.commit_transaction, daemon=True)
        committing.start()
        eventually(naive._transaction_manager.is_completing)
        with pytest.raises(KafkaTimeoutError):
            naive.close(timeout=0)
    finally:
        os.kill(ground.kafka.pid, signal.SIGCONT)
    eventually(scene.sees(b"zombie"))
    committing.join(PATIENCE_SECONDS)
    naive.close()


def test_what_was_given_up_never_commits_once_it_is_fenced(scene: Scene, ground: Ground) -> None:
    """The broker hangs for longer than the watchdog waits: commits that are read after the fence are the last word."""
    owner = scene.member()
    sink = scene.sink(timeout_seconds=1.0)
    sink.publish(scene.out(b"before"), {scene.input: (3, "")}, owner.membership)
    given_up = sink._producer
    os.kill(ground.kafka.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Uncertain, match="no answer"):
            sink.publish(scene.out(b"given up"), {scene.input: (5, "")}, owner.membership)
    finally:
        os.kill(ground.kafka.pid, signal.SIGCONT)
    eventually(lambda: _fenced(sink))
    known = owner.committed(scene.input)
    eventually(lambda: not given_up._sender.is_alive())
    eventually(lambda: _published(sink, scene.out(b"after"), owner))
    eventually(scene.sees(b"after"))
    assert (b"given up" in scene.seen) == (known == (5, ""))
    assert owner.committed(scene.input) == known
    sink.close()
    owner.close()


def _fenced(sink: TransactionalSink) -> bool:
    try:
        sink.fence()
    except Uncertain:
        return False
    return True


def _commit_or_know_nothing(sink: TransactionalSink) -> None:
    """The client hangs here for ever, or not: what counts is that the watchdog lets nobody wait for it."""
    began = time.monotonic()
    with contextlib.suppress(Uncertain):
        sink._watch(sink._producer.commit_transaction)
    assert time.monotonic() - began < PATIENCE_SECONDS


def _published(sink: TransactionalSink, outgoing: list[Outgoing], owner: KafkaSource) -> bool:
    owner.poll(0.1)
    try:
        sink.publish(outgoing, {}, owner.membership)
    except (Uncertain, StaleMember):
        return False
    return True


def test_a_successor_ends_what_a_killed_worker_left_open(scene: Scene) -> None:
    """Readers of the output go on at once, not after the transaction's timeout."""
    owner = scene.member()
    scene.leave_open(scene.sink(0), b"never committed")
    other = scene.sink(1)
    other.publish(scene.out(b"behind it"), {}, owner.membership)
    assert not scene.sees(b"behind it")()
    scene.sink(0).publish(scene.out(b"the successor's"), {}, owner.membership)
    eventually(scene.sees(b"the successor's"))
    assert scene.seen == [b"behind it", b"the successor's"]
    other.close()
    owner.close()


def test_the_living_end_what_a_killed_worker_left_open(scene: Scene, ground: Ground) -> None:
    """Nobody takes its place, its lease runs out, and another worker ends its transaction."""
    owner = scene.member()
    stores = [redis_store(ground.redis_url, {"frames": rule()}, namespace=scene.name, worker=w) for w in ("w1", "w2")]
    assert stores[0].lease_slot() == 0
    scene.leave_open(scene.sink(0), b"never committed")
    living = SlotSink(stores[1], scene.sink, lambda error: None)
    living.publish(scene.out(b"behind it"), {}, owner.membership)
    eventually(scene.sees(b"behind it"))
    assert scene.seen == [b"behind it"]
    eventually(lambda: not stores[1]._client.exists(stores[1]._slot_key(0)))
    eventually(lambda: stores[1].orphaned_slots() == [])
    living.close()
    assert stores[0].lease_slot() == 0
    owner.close()


def test_of_two_owners_of_a_slot_the_older_takes_another(scene: Scene, ground: Ground) -> None:
    """Its transaction is fenced, nothing of it is seen, and it goes on under another id."""
    owner = scene.member()
    stores = [redis_store(ground.redis_url, {"frames": rule()}, namespace=scene.name, worker=w) for w in ("w1", "w2")]
    older = SlotSink(stores[0], scene.sink, lambda error: None)
    older.publish(scene.out(b"one"), {}, owner.membership)
    stores[0]._client.delete(stores[0]._slot_key(0))
    assert stores[1].adopt_slot(0)
    younger = scene.sink(0)
    younger.publish(scene.out(b"two"), {}, owner.membership)
    with pytest.raises(Uncertain):
        older.publish(scene.out(b"fenced"), {}, owner.membership)
    older.fence()
    older.publish(scene.out(b"three"), {}, owner.membership)
    eventually(scene.sees(b"three"))
    assert scene.seen == [b"one", b"two", b"three"]
    assert stores[0]._slot == 1
    older.close()
    owner.close()
