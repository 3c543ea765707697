"""Decided anchors whose bodies are at hand or awaited -> those that may leave, each key in its order.

An anchor's bodies are taken together, so that of two that each lack one none waits for the other's room. One that needs
a partition of which nothing comes at present gives back what it holds, and with it all behind it of its key: it stops
no other key.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from worker.errors import Poison
from worker.pipeline.ring import Ring
from worker.records import Candidate, Partition, Record, Reference
from worker.stages.align import Waiting

# Of the bound on bodies, for those that anchors hold or await: with more the ring would have too little left.
AWAITED_SHARE = 4

Wanted = tuple[str, str, Candidate]  # stream, key, candidate
Body = Record | Poison | None


@dataclass(slots=True, eq=False)
class Leaver:
    """An anchor that is decided.

    Attributes:
        bodies: of what was matched, as far as it is at hand.
        references: where the others lie, or have lain.
        size: bytes of the others.
        own_bytes: of the anchor, and of the bodies that Redis has given.
        taken: True from when its bodies are held or awaited.
        expired: what Kafka has no more.
    """

    waiting: Waiting
    bodies: dict[Wanted, Body]
    references: Mapping[Wanted, Reference]
    size: int = 0
    own_bytes: int = 0
    taken: bool = False
    awaited: set[Reference] = field(default_factory=set)
    expired: set[Wanted] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.size = sum(one.size for one in self.references.values())
        given = sum(body.size for body in self.bodies.values() if isinstance(body, Record))
        self.own_bytes = self.waiting.anchor.size + given

    @property
    def complete(self) -> bool:
        """True when it may leave."""
        return self.taken and not self.awaited

    def put(self, reference: Reference, body: Body) -> None:
        """A body is here, or gone for good."""
        self.awaited.discard(reference)
        for wanted, one in self.references.items():
            if one == reference:
                self.bodies[wanted] = body
                if body is None:
                    self.expired.add(wanted)


@dataclass(slots=True, eq=False)
class _Line:
    """Of one key, in order; the first `taken` of them hold or await their bodies."""

    leavers: deque[Leaver] = field(default_factory=deque)
    taken: int = 0


class Lines:
    """A line per key. Guarantees: the anchors of one key leave in the order in which they were added.

    Attributes:
        bytes: of the anchors, and of the bodies that Redis has given.
    """

    def __init__(self, bodies: Ring) -> None:
        self._bodies = bodies
        self._lines: dict[str, _Line] = {}
        # The keys whose next anchor may take its bodies, and those whose first may leave, both in turns; the keys whose
        # next needs a partition of which nothing comes.
        self._untaken: OrderedDict[str, None] = OrderedDict()
        self._ready: OrderedDict[str, None] = OrderedDict()
        self._stopped: set[str] = set()
        self._awaiting: dict[Reference, list[Leaver]] = {}
        self._slow: frozenset[Partition] = frozenset()
        self._count = self.bytes = 0

    def __len__(self) -> int:
        return self._count

    def oldest_since(self) -> float | None:
        """Monotonic time since when the longest waiting anchor waits."""
        return min((line.leavers[0].waiting.since for line in self._lines.values()), default=None)

    @property
    def ready(self) -> int:
        """How many keys have one that may leave."""
        return len(self._ready)

    def add(self, leaver: Leaver) -> None:
        """Comes behind the others of its key."""
        key = leaver.waiting.anchor.key
        self._lines.setdefault(key, _Line()).leavers.append(leaver)
        self._weigh((leaver,), 1)
        if key not in self._stopped:
            self._untaken.setdefault(key)

    def release(self) -> list[Record]:
        """The anchors of the keys that are stopped, each once."""
        every = (leaver.waiting for key in self._stopped for leaver in self._lines[key].leavers)
        found = [waiting for waiting in every if not waiting.released]
        for waiting in found:
            waiting.released = True
        return [waiting.anchor.record for waiting in found]

    def turn(self, most_bytes: int) -> None:
        """Hands out what has come, and lets anchors take their bodies, until these come to so much more."""
        most_bytes += self._bodies.awaited_bytes
        for reference, body in self._bodies.arrived():
            for leaver in self._awaiting.pop(reference, ()):
                leaver.put(reference, body)
                self._may_leave(leaver.waiting.anchor.key)
        slow = frozenset(self._bodies.slow)
        if slow != self._slow:
            self._change(slow)
        while self._untaken and self._bodies.awaited_bytes < most_bytes:
            if not self._take(next(iter(self._untaken))):
                break
        self._bodies.make_room()

    def excuse(self, needs_none: Callable[[Record], bool]) -> None:
        """The first of a key that waits and needs no bodies any more may leave without."""
        for key, line in self._lines.items():
            first = line.leavers[0]
            if first.complete or not needs_none(first.waiting.anchor.record):
                continue
            if first.taken:
                self._give_back(first)
            else:
                line.taken += 1
            first.references, first.size, first.taken = {}, 0, True
            self._stopped.discard(key)
            self._untaken.pop(key, None)
            if line.taken < len(line.leavers):
                self._untaken[key] = None
            self._ready[key] = None

    def leave(self, most: int) -> list[Leaver]:
        """Up to `most` that have their bodies: the first of their keys, keys in turns."""
        out: list[Leaver] = []
        while self._ready and len(out) < most:
            key, _ = self._ready.popitem(last=False)
            line = self._lines[key]
            out.append(leaver := line.leavers.popleft())
            line.taken -= 1
            self._bodies.awaited_bytes -= leaver.size
            if line.leavers:
                self._may_leave(key)
            else:
                del self._lines[key]
        self._weigh(out, -1)
        return out

    def drop(self, partitions: Collection[Partition]) -> None:
        """Forgets the anchors of partitions that are no longer ours."""
        for key, line in list(self._lines.items()):
            gone = [one for one in line.leavers if one.waiting.anchor.record.lies_on in partitions]
            if not gone:
                continue
            for leaver in gone:
                if leaver.taken:
                    self._give_back(leaver)
                    line.taken -= 1
                line.leavers.remove(leaver)
            self._weigh(gone, -1)
            self._ready.pop(key, None)
            self._untaken.pop(key, None)
            self._stopped.discard(key)
            if not line.leavers:
                del self._lines[key]
                continue
            if line.taken < len(line.leavers):
                self._untaken[key] = None
            self._may_leave(key)

    def _weigh(self, leavers: Collection[Leaver], sign: int) -> None:
        self._count += sign * len(leavers)
        self.bytes += sign * sum(leaver.own_bytes for leaver in leavers)

    def _may_leave(self, key: str) -> None:
        if self._lines[key].leavers[0].complete:
            self._ready.setdefault(key)

    def _take(self, key: str) -> bool:
        """The next of this key takes its bodies; False when there is no room for them now."""
        line, share = self._lines[key], self._bodies.most_bytes // AWAITED_SHARE
        leaver = line.leavers[line.taken]
        if (size := leaver.size) and 0 < self._bodies.awaited_bytes > share - size:
            return False
        pending = (reference for wanted, reference in leaver.references.items() if wanted not in leaver.expired)
        found = {reference: self._bodies.find(reference) for reference in pending}
        lacking = {reference for reference, record in found.items() if record is None}
        del self._untaken[key]
        if any(reference.partition in self._slow for reference in lacking):
            self._stopped.add(key)
            return True
        for reference in found.keys() - lacking:
            leaver.put(reference, found[reference])
        self._await(leaver, lacking)
        leaver.taken = True
        line.taken += 1
        self._bodies.awaited_bytes += size
        if line.taken < len(line.leavers):
            self._untaken[key] = None
        self._may_leave(key)
        return True

    def _await(self, leaver: Leaver, lacking: set[Reference]) -> None:
        if not lacking:
            return
        leaver.awaited = lacking
        self._bodies.want([reference for reference in lacking if reference not in self._awaiting])
        for reference in lacking:
            self._awaiting.setdefault(reference, []).append(leaver)

    def _give_back(self, leaver: Leaver) -> None:
        """What it holds or awaits is free again; what is gone for good need not be asked for twice."""
        for reference in leaver.awaited:
            others = self._awaiting[reference]
            others.remove(leaver)
            if not others:
                del self._awaiting[reference]
                self._bodies.unwant((reference,))
        for wanted in leaver.references.keys() - leaver.expired:
            leaver.bodies.pop(wanted, None)
        leaver.awaited, leaver.taken = set(), False
        self._bodies.awaited_bytes -= leaver.size

    def _change(self, slow: frozenset[Partition]) -> None:
        """Of some partitions nothing comes any more, or something comes again: every key that was stopped may try."""
        fell_silent, self._slow = slow - self._slow, slow
        for key in self._stopped:
            self._untaken.setdefault(key)
        self._stopped.clear()
        silent: defaultdict[str, set[Leaver]] = defaultdict(set)
        for reference, leavers in self._awaiting.items():
            for leaver in leavers if reference.partition in fell_silent else ():
                silent[leaver.waiting.anchor.key].add(leaver)
        for key, leavers_of in silent.items():
            line = self._lines[key]
            first = next(n for n, leaver in enumerate(line.leavers) if leaver in leavers_of)
            for leaver in list(line.leavers)[first : line.taken]:
                self._give_back(leaver)
            line.taken = first
            self._untaken.setdefault(key)
