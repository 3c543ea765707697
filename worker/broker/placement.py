"""Members' topics and claims -> who holds which partition: equal numbers of topics of one size lie on one member."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.records import Partition

# What a member claims that does not tell since when (Kafka's schema of a subscription before version 2).
UNKNOWN_GENERATION = -1


@dataclass(frozen=True, slots=True)
class Member:
    """What one member reads, and what it held when it joined, by an assignment of `generation`."""

    topics: frozenset[str]
    held: frozenset[Partition] = frozenset()
    generation: int = UNKNOWN_GENERATION


Owners = Mapping[Partition, frozenset[str]]


@dataclass(frozen=True, slots=True)
class _Class:
    """Topics of one size and the same readers. A unit is one number of them all: it lies on one member."""

    topics: Sequence[str]
    size: int
    readers: Sequence[str]

    def unit(self, number: int) -> list[Partition]:
        return [Partition(topic, number) for topic in self.topics]


def owners(members: Mapping[str, Member]) -> dict[Partition, frozenset[str]]:
    """Partition -> who may hold it: those whose claim is of the newest generation, or of one that is not told.

    An older claim is of a member that the group had evicted: others were given the partition since.
    """
    claims: dict[Partition, list[tuple[int, str]]] = defaultdict(list)
    for name, member in members.items():
        for partition in member.held:
            claims[partition].append((member.generation, name))
    found = {}
    for partition, claimed in claims.items():
        newest = max(generation for generation, _ in claimed)
        found[partition] = frozenset(name for at, name in claimed if at in (newest, UNKNOWN_GENERATION))
    return found


def targets(members: Mapping[str, Member], sizes: Mapping[str, int], owned: Owners) -> dict[Partition, str]:
    """Partition -> its member once the group has come to rest.

    Guarantees: (1) every partition that anybody reads has a member that reads its topic; (2) equal numbers of topics
    with equal sizes and readers have one member; (3) no unit can go to another reader and leave that one with less than
    its member has now; (4) a member keeps what it owns as far as (2) and (3) allow: if they hold, nothing moves.
    """
    load = dict.fromkeys(members, 0)
    shares = [_Share(one, owned, load) for one in _classes(members, sizes)]
    for share in shares:
        share.fill()
    while moves := [move for share in shares if (move := share.move()) is not None]:
        best = max(moves, key=lambda move: move.gain)
        best.share.give(best.giver, best.taker)
    return {p: name for share in shares for n, name in share.holder.items() for p in share.of.unit(n)}


def _classes(members: Mapping[str, Member], sizes: Mapping[str, int]) -> list[_Class]:
    """Those with the fewest readers first, then the largest units: what is left fills the gaps."""
    found: dict[tuple[int, tuple[str, ...]], list[str]] = defaultdict(list)
    for topic, size in sorted(sizes.items()):
        readers = tuple(sorted(name for name, member in members.items() if topic in member.topics))
        if readers:
            found[size, readers].append(topic)
    classes = [_Class(topics, size, readers) for (size, readers), topics in found.items()]
    return sorted(classes, key=lambda one: (len(one.readers), -len(one.topics), one.topics))


@dataclass(frozen=True, slots=True)
class _Move:
    """One unit to another member. Of those that level the loads, the one that levels its class most is best."""

    share: _Share
    giver: str
    taker: str
    gain: tuple[bool, int, int]


class _Share:
    """How the units of a class are shared out; `load`, of all classes together, is counted here too."""

    def __init__(self, of: _Class, owned: Owners, load: dict[str, int]) -> None:
        """A unit begins with who owns most of it."""
        self.of, self._load, self._weight = of, load, len(of.topics)
        self._owned = [
            Counter(name for p in of.unit(n) for name in owned.get(p, ()) if name in of.readers) for n in range(of.size)
        ]
        self.holder: dict[int, str] = {}
        self._count: Counter[str] = Counter()
        for number, unit in enumerate(self._owned):
            if unit:
                self._take(number, min(unit, key=lambda name: (-unit[name], name)))

    def fill(self) -> None:
        """What nobody owns goes to who has least."""
        for number in range(self.of.size):
            if number not in self.holder:
                self._take(number, min(self.of.readers, key=self._has))

    def move(self) -> _Move | None:
        """What levels the loads or, where they stay as they are, this class; None: it is level."""
        if not self.holder:
            return None
        giver = max(self._count, key=self._has)
        taker = min(self.of.readers, key=self._has)
        gap = self._load[giver] - self._load[taker] - self._weight
        more = self._count[giver] - self._count[taker]
        if gap > 0 or (gap == 0 and more > 1):
            return _Move(self, giver, taker, (gap > 0, more, self._weight))
        return None

    def give(self, giver: str, taker: str) -> None:
        """Moves the unit of which the giver owns least, and the taker most."""
        mine = [number for number, name in self.holder.items() if name == giver]
        number = min(mine, key=lambda n: (self._owned[n][giver] - self._owned[n][taker], n))
        self._count[giver] -= 1
        self._load[giver] -= self._weight
        self._count += Counter()  # Who holds none gives none.
        self._take(number, taker)

    def _take(self, number: int, name: str) -> None:
        self.holder[number] = name
        self._count[name] += 1
        self._load[name] += self._weight

    def _has(self, name: str) -> tuple[int, int, str]:
        return self._load[name], self._count[name], name


def given(wanted: Mapping[Partition, str], owned: Owners) -> dict[str, list[Partition]]:
    """Member -> what it is given now: nothing that another may still hold (KIP-429). That one gives it up, and it is
    given in the rebalance that follows."""
    found: dict[str, list[Partition]] = defaultdict(list)
    for partition, name in wanted.items():
        if owned.get(partition, frozenset()) <= {name}:
            found[name].append(partition)
    return found
