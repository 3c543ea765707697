"""Records of all partitions -> what was read, what is bad and what is finished of each, under the leases of now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from worker.records import Outcome, Partition, Record, value
from worker.stages.guard import Tally, suffix
from worker.stages.ledger import Ledger


@value
class Books:
    """What became of the anchors of one process, in numbers that are each counted where it happens.

    Attributes:
        read: taken for the first time under their lease.
        done: of which a result or a dead letter was committed.
        given_back: whose lease ended before; the next owner reads them again.
        pending: read, and not finished by the ledgers.
    """

    read: int = 0
    done: int = 0
    given_back: int = 0
    pending: int = 0

    @property
    def imbalance(self) -> int:
        """Above 0: so many are finished without an outcome; below 0: so many have had more than one."""
        return self.read - self.done - self.given_back - self.pending


class Ledgers:
    """A ledger for each partition. Not thread-safe: the committer guards it.

    Attributes:
        moved: the contexts whose positions have moved since they were committed.
    """

    def __init__(self, describe: Callable[[Partition, str, int], str]) -> None:
        """`describe`: as the committer is given it."""
        self._describe = describe
        self._ledgers: dict[Partition, Ledger] = {}
        self._contexts: set[Partition] = set()
        self.moved: set[Partition] = set()
        self._read = self._done = self._given_back = 0

    def __getitem__(self, partition: Partition) -> Ledger:
        return self._ledgers[partition]

    def open(self, partition: Partition, ledger: Ledger, *, context: bool) -> None:
        """Begins a lease, or reads a context again under the same one."""
        if (earlier := self._ledgers.get(partition)) is not None and earlier.lease == ledger.lease:
            ledger.follow(earlier)
        self._give_back(earlier, partition)
        self._ledgers[partition] = ledger
        (self._contexts.add if context else self._contexts.discard)(partition)

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Ends leases."""
        for partition in partitions:
            self._give_back(self._ledgers.pop(partition, None), partition)
            self.moved.discard(partition)

    def _give_back(self, ledger: Ledger | None, partition: Partition) -> None:
        if ledger is not None and partition not in self._contexts:
            self._given_back += ledger.unfinished

    def of(self, record: Record) -> Ledger | None:
        """A record's ledger; None when its lease is over."""
        ledger = self._ledgers.get(record.lies_on)
        return ledger if ledger is not None and ledger.lease == record.lease else None

    def is_context(self, partition: Partition) -> bool:
        """Whether its positions have no outcome to travel with."""
        return partition in self._contexts

    def read(self, record: Record) -> bool:
        """Registers a record that was read; False for one that is finished already, or is not ours."""
        ledger = self.of(record)
        taken = ledger is not None and ledger.read(record.offset)
        self._read += taken and record.lies_on not in self._contexts
        return taken

    def done(self, outcomes: Iterable[Outcome]) -> None:
        """These are committed; of an anchor with nothing in the transaction that is no outcome."""
        self._done += sum(bool(one.outgoing) for one in outcomes if one.record.lies_on not in self._contexts)

    def books(self) -> Books:
        """Of all anchors since the process began."""
        pending = sum(ledger.unfinished for ledger in self.anchors.values())
        return Books(self._read, self._done, self._given_back, pending)

    def judge(self, record: Record, time_us: int | None) -> bool:
        """Notes the event time of a record that was read, None of a bad one; True when it needs a dead letter: it is
        bad, has had none yet, and none is on its way."""
        ledger, context = self.of(record), record.lies_on in self._contexts
        if time_us is None:
            needs_one = ledger is None or not context or ledger.bad(record.offset)
            if not needs_one:
                self.moved.add(record.lies_on)
            return needs_one
        if ledger is not None and context:
            ledger.good(record.offset)
        elif ledger is not None:
            ledger.timed(record.offset, time_us)
        return False

    def indexed(self, records: Iterable[Record]) -> None:
        """Context records that Redis holds now: their offsets may be committed."""
        finished: dict[Partition, list[int]] = {}
        for record in records:
            if self.of(record) is not None:
                finished.setdefault(record.lies_on, []).append(record.offset)
        for partition, offsets in finished.items():
            self._ledgers[partition].finish(offsets)
        self.moved.update(finished)

    @property
    def anchors(self) -> dict[Partition, Ledger]:
        """Those of the anchor partitions."""
        return {partition: ledger for partition, ledger in self._ledgers.items() if partition not in self._contexts}

    def unfinished_us(self, late_us: int, released: Iterable[Record]) -> dict[Partition, int]:
        """See Committer.unfinished_us."""
        for record in released:
            if (ledger := self.of(record)) is not None:
                ledger.release(record.offset)
        found = {partition: ledger.oldest_us(late_us) for partition, ledger in self.anchors.items()}
        return {partition: time_us for partition, time_us in found.items() if time_us is not None}

    def settled(self, finished: Mapping[Partition, Collection[int]]) -> dict[Partition, int]:
        """Of the contexts among these, up to where they would be settled."""
        return {p: self._ledgers[p].settled(done) for p, done in finished.items() if p in self._contexts}

    def preview(
        self, finished: Mapping[Partition, Collection[int]], tallies: Mapping[str, Tally]
    ) -> dict[Partition, tuple[int, str]]:
        """What to commit if these were finished as well."""
        offsets: dict[Partition, tuple[int, str]] = {}
        for partition, done in finished.items():
            ledger = self._ledgers[partition]
            if (floor := ledger.floor(done)) is None:
                continue
            if partition in self._contexts:
                metadata = self._describe(partition, ledger.note, ledger.settled(done))
            else:
                metadata = ledger.beyond(floor, done)
            offsets[partition] = floor, metadata + suffix(tallies.get(partition.topic, Tally()))
        return offsets

    def too_wide(self) -> set[Partition]:
        """Anchor partitions whose finished offsets are too scattered to read on."""
        return {partition for partition, ledger in self.anchors.items() if ledger.too_wide}
