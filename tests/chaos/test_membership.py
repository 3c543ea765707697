"""A generation is used from when its assignment is applied: else a member commits for what others have by now."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment

from tests.chaos.scene import PATIENCE_SECONDS, Scene, eventually
from worker.broker.sink import TransactionalSink
from worker.broker.source import KafkaSource
from worker.broker.unpack import strict_consumer
from worker.errors import Retryable, StaleMember


class Leader:
    """Leads the group: it gives all partitions to the others, or, once it is told to, takes them for itself."""

    def __init__(self, scene: Scene) -> None:
        self.takes, self.asked, self.go = False, threading.Event(), threading.Event()
        leader = self

        class Choosing(CooperativeStickyAssignor):  # type: ignore[misc]
            def assign(self, cluster: Any, members: Any) -> Any:
                return leader.assign(self, cluster, members)

        self._stop = threading.Event()
        self.consumer = strict_consumer(
            group_id=scene.name,
            partition_assignment_strategy=(Choosing,),
            enable_auto_commit=False,
            session_timeout_ms=60_000,  # a leader that the group removes leads no more
            heartbeat_interval_ms=1_000,
            **scene.connection,
        )
        eventually(lambda: self.consumer.partitions_for_topic(scene.input.topic))
        self.consumer.subscribe([scene.input.topic])
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def assign(self, assignor: Any, cluster: Any, members: Any) -> Any:
        """All to one member; the second time only once `go` is set."""
        own = self.consumer._coordinator._generation.member_id
        chosen = next((m.member_id for m in members if (m.member_id == own) is self.takes), own)
        if self.takes:
            self.asked.set()
            assert self.go.wait(PATIENCE_SECONDS)
        topic = members[0].metadata.topics[0]
        places = [(topic, sorted(cluster.partitions_for_topic(topic)))]
        return {
            m.member_id: ConsumerProtocolAssignment(assignor.version, places if m.member_id == chosen else [], b"")
            for m in members
        }

    def take(self) -> None:
        """Asks for another rebalance."""
        self.takes = True
        self.consumer._coordinator.request_rejoin()

    def _poll(self) -> None:
        while not self._stop.is_set():
            self.consumer.poll(timeout_ms=1_000)  # A join that takes longer than a poll is begun anew.

    def close(self) -> None:
        """Leaves."""
        self.go.set()
        self._stop.set()
        self._thread.join(PATIENCE_SECONDS)
        self.consumer.close()


def test_a_member_whose_turns_take_longer_than_a_join_gets_in(scene: Scene) -> None:
    """What a join brings between two polls is used by the next; thrown away, each poll would join anew, for ever."""
    options = {"group_id": scene.name, "auto_offset_reset": "earliest", "session_timeout_ms": 6000}
    source = KafkaSource(scene.connection, options, [scene.input.topic], lambda partitions: None)
    coordinator = source._consumer._coordinator
    join, brought = coordinator._do_join_and_sync_async, list[bytes]()

    async def watched() -> bytes:
        brought.append(await join())
        return brought[-1]

    coordinator._do_join_and_sync_async = watched
    eventually(lambda: source.poll(0.0) and brought)
    source.poll(0.0)
    assert source.leases.keys() == {scene.input}
    assert len(brought) == 1
    source.close()


def test_a_generation_whose_assignment_is_not_applied_publishes_nothing(scene: Scene) -> None:
    """The group is in its next generation, this member still holds what it loses by it: the broker would take both."""
    leader = Leader(scene)
    eventually(lambda: leader.consumer._coordinator._generation.generation_id > 0)
    owner, sink = scene.member(), scene.sink()
    sink.publish(scene.out(b"owned"), {scene.input: (1, "")}, owner.membership)
    before = owner.membership.generation_id
    leader.take()

    def joined() -> bool:
        owner.poll(0.01)
        return leader.asked.is_set() and owner._consumer.group_metadata().generation_id > before

    eventually(joined)
    owner.poll(0.01)
    assert scene.input in owner.leases
    with pytest.raises(StaleMember):
        sink.publish(scene.out(b"not ours"), {scene.input: (2, "")}, owner.membership)
    leader.go.set()
    eventually(lambda: owner.poll(0.1).revoked)
    assert owner.membership.generation_id > before
    tp = TopicPartition(scene.input.topic, scene.input.number)
    eventually(lambda: tp in leader.consumer.assignment())
    assert eventually(lambda: _committed(owner, scene)) == (1, "")
    sink.close()
    owner.close()
    leader.close()


def _committed(owner: KafkaSource, scene: Scene) -> tuple[int, str] | None:
    with contextlib.suppress(Retryable):
        return owner.committed(scene.input)
    return None


def test_a_member_that_does_not_hear_of_its_eviction_joins_anew(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its heart stands still, the group gives its partition away, and nobody tells it: its refusals do."""
    owner, sink = scene.member(), scene.sink()
    evicted = owner.membership
    coordinator = owner._consumer._coordinator
    coordinator._disable_heartbeat()
    eventually(lambda: _is_unknown(sink, scene, owner))
    assert owner.poll(0.1).revoked == frozenset()
    with monkeypatch.context() as patched:
        patched.setitem(coordinator.config, "session_timeout_ms", 500)
        eventually(owner.refused)
    eventually(lambda: owner.poll(0.1) and owner.membership.member_id != evicted.member_id)
    eventually(lambda: owner.poll(0.1) and scene.input in owner.leases)
    sink.publish(scene.out(b"again"), {scene.input: (1, "")}, owner.membership)
    assert not owner.refused()
    sink.close()
    owner.close()


def _is_unknown(sink: TransactionalSink, scene: Scene, owner: KafkaSource) -> bool:
    owner.poll(0.1)
    try:
        sink.publish(scene.out(b"lost"), {scene.input: (1, "")}, owner.membership)
    except StaleMember as error:
        return error.is_unknown
    return False
