"""Where a context partition is read from: behind what Redis holds of it, or a horizon before what Redis has lost."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from worker.errors import Fatal
from worker.ports import Log, Observer, Source
from worker.records import MatchRule, Partition, value
from worker.stages.guard import without_tally

_VERSION, _WITHOUT_SETTLED = "c2", "c1"
_ANY_VERSION = re.compile(r"(c\d{1,3}):", re.ASCII)
_FORM = re.compile(r"c[12]:([^:]*):(\d{1,18})(?::(\d{1,18}))?(?::(\d{1,18}))?", re.ASCII)


@value
class Position:
    """A context position's metadata.

    Attributes:
        epoch: of Redis.
        indexed_ms: record time up to which Redis holds the events.
        settled: below this offset bad records have had their dead letter.
        target: how far the reading again after a loss of Redis goes.
    """

    epoch: str
    indexed_ms: int
    settled: int
    target: int


def position_of(metadata: str) -> Position | None:
    """None for metadata of another origin.

    Raises:
        Fatal: it begins like ours and cannot be read; guessing would repeat dead letters.
    """
    if not (form := _ANY_VERSION.match(metadata)):
        return None
    if form[1] not in (_VERSION, _WITHOUT_SETTLED):
        raise Fatal(
            f"the committed metadata of a context is of form {form[1]}, this release reads {_VERSION}; start the "
            "release that wrote it, or a newer one (docs/upgrades.md)"
        )
    found = _FORM.fullmatch(without_tally(metadata))
    if found is None:
        raise Fatal(
            f"the committed metadata {metadata[:64]!r} of a context cannot be read; it is "
            f"{_VERSION}:EPOCH:TIME:SETTLED:TARGET. Reset the group's offset of that partition"
        )
    epoch, *numbers = found.groups("0")
    return Position(epoch, *map(int, numbers))


class Positions:
    """The positions of one worker's context partitions.

    Attributes:
        targets: per partition that is read again, how far it had been read when Redis was lost; until it is there, what
            was matched before is not.
    """

    def __init__(self, source: Source, rules: Mapping[str, MatchRule], observer: Observer, log: Log) -> None:
        """`rules`: by context topic."""
        self._source, self._rules, self._observer, self._log = source, rules, observer, log
        self._indexed_ms: dict[Partition, int] = {}
        self.targets: dict[Partition, int] = {}

    def covers(self, partition: Partition) -> bool:
        """True for a context partition."""
        return partition.topic in self._rules

    def indexed(self, partition: Partition, timestamp_ms: int) -> None:
        """Redis holds an event whose record has this timestamp."""
        self._indexed_ms[partition] = max(self._indexed_ms.get(partition, 0), timestamp_ms)

    def start(self, partition: Partition, committed: tuple[int, str], epoch: str) -> int:
        """Where reading begins; what retention has deleted of a context is told, and its anchors go on without it."""
        offset, first = committed[0], self._source.first_offset(partition)
        if offset < first:
            self._observer.count("bound_hits_total", bound="retention")
            self._log.warning(
                "context was deleted before it was read", topic=partition.topic, partition=partition.number,
                records=first - offset, action="keep the topic for longer than a worker may be down",
            )  # fmt: skip
            offset = first
        if (told := position_of(committed[1])) is not None:
            self._indexed_ms[partition] = told.indexed_ms
            if told.epoch == epoch:
                if told.target > offset:
                    self.targets[partition] = told.target
                return offset
        return self.before(partition, offset)

    def before(self, partition: Partition, offset: int) -> int:
        """The offset from which the events of one horizon before `offset` come again."""
        since_ms = self._indexed_ms.get(partition, 0) - self._rules[partition.topic].kept_us // 1000
        found = self._source.offset_at(partition, since_ms) if since_ms > 0 else self._source.first_offset(partition)
        self.targets[partition] = offset
        start = offset if found is None else min(found, offset)
        self._log.info("rebuilding", topic=partition.topic, partition=partition.number, records=offset - start)
        return start

    def describe(self, partition: Partition, epoch: str, settled: int) -> str:
        """The metadata of a context position; `epoch` is the one in which the partition was opened."""
        target = self.targets.get(partition, 0)
        return f"{_VERSION}:{epoch}:{self._indexed_ms.get(partition, 0)}:{settled}:{target}"

    def close(self, partitions: Collection[Partition]) -> None:
        """Leases are over."""
        for partition in partitions:
            self.targets.pop(partition, None)
            self._indexed_ms.pop(partition, None)


def settled_of(metadata: str) -> int:
    """The offset below which bad records have had their dead letter (the committed offset is its least)."""
    told = position_of(metadata)
    return 0 if told is None else told.settled
