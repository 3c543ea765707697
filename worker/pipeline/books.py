"""What was read and has no outcome yet: told by gauges in every turn, and at the end in words."""

from __future__ import annotations

from worker.pipeline.anchors import Anchors
from worker.ports import Observer
from worker.stages.batch import Batcher
from worker.stages.commit import Committer


class Books:
    """Counts anchors along their way."""

    def __init__(
        self, anchors: Anchors, batcher: Batcher, committer: Committer, anchor_topic: str, observer: Observer
    ) -> None:
        self._anchors, self._batcher, self._committer = anchors, batcher, committer
        self._anchor_topic, self._observer, self._unfinished = anchor_topic, observer, 0

    def measure(self) -> None:
        """Counts the held anchors along their way: one that moves on meanwhile is counted twice, never missed."""
        held = len(self._anchors) + self._batcher.inside + self._committer.queued(self._anchor_topic).count
        self._unfinished = unfinished = self._committer.unfinished()
        self._observer.gauge("pending_anchors", unfinished)
        self._observer.gauge("unaccounted_anchors", max(0, unfinished - held))
        self._observer.gauge("oldest_pending_seconds", self._anchors.oldest_seconds())

    def left(self) -> str:
        """What the next owner reads again, as it was last counted; from any thread, without waiting for any."""
        return f"{self._unfinished} anchors read and not committed"
