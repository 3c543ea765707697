"""What was read and has no outcome committed yet -> the partitions that must not be read on for now."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from worker.pipeline.contexts import Contexts
from worker.records import Partition
from worker.stages.backlog import Load
from worker.stages.commit import Committer


@dataclass(frozen=True, slots=True)
class Bounds:
    """Past these the loop slows its reading; it never loses."""

    max_pending_anchors: int
    max_pending_bytes: int
    max_inside: int
    drain_timeout_seconds: float

    def stopped(
        self, held: Collection[Partition], anchor_topic: str, waiting: Load, committer: Committer, contexts: Contexts,
        *, busy: bool,
    ) -> set[Partition]:  # fmt: skip
        """The partitions that pause; `waiting` are the anchors that have no outcome yet.

        1. Of what waits for its transaction the anchors' outcomes stop the anchors, and dead letters of context records
           the context: reading on would not let Kafka take more.
        2. Context pauses that would push bodies out of the ring which are still wanted, while anchors are `busy`: they
           wait for the model alone.
        3. Anchors on their way count with their outcomes; but a partition that all context waits for is read on.
        """
        anchors = {partition for partition in held if partition.topic == anchor_topic}
        others = set(held) - anchors
        queued = committer.queued(anchor_topic)
        dead = (committer.queued(topic) for topic in {partition.topic for partition in others})
        stop = set(anchors) if self._past(queued) else set[Partition]()
        if self._past(sum(dead, Load())) or (busy and contexts.pressed):
            stop |= others
        if self._past(waiting + queued):
            unfinished_us = committer.unfinished_us(contexts.progress.late.read_us or 0)
            stop |= {partition for partition in anchors if not contexts.progress.holds_back(partition, unfinished_us)}
        return stop

    def _past(self, load: Load) -> bool:
        return load.count >= self.max_pending_anchors or load.bytes >= self.max_pending_bytes
