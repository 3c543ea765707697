"""The group's assignor: whoever joins, leaves, wakes up or claims what it lost, each partition comes to one member."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment, ConsumerProtocolSubscription

from worker.broker.assignor import CoLocatingAssignor

NAMES = "abcdefg"


@dataclass
class Seat:
    """A member, what it holds, and by the assignment of which generation."""

    topics: frozenset[str]
    assignor: CoLocatingAssignor = field(default_factory=CoLocatingAssignor)
    held: frozenset[TopicPartition] = frozenset()
    generation: int = -1

    def __post_init__(self) -> None:
        self.assignor.held = lambda: self.held

    def apply(self, assignment: ConsumerProtocolAssignment, generation: int) -> None:
        """As kafka-python does once its member polls."""
        self.held, self.generation = frozenset(assignment.partitions()), generation
        self.assignor.on_assignment(assignment, generation)


class Group:
    """Members by name, topics by size, and a broker that counts generations. What is sent is encoded and decoded."""

    def __init__(self, seats: dict[str, Seat], sizes: Mapping[str, int]) -> None:
        self.seats, self.sizes, self.generation = seats, dict(sizes), 0

    def rebalance(self, deaf: Iterable[str] = (), leader: str | None = None) -> bool:
        """One generation; the deaf join, but do not come to apply it. True when another has to follow."""
        self.generation += 1
        told = {
            name: ConsumerProtocolSubscription.decode(seat.assignor.metadata(seat.topics).encode())
            for name, seat in self.seats.items()
        }
        cluster = SimpleNamespace(partitions_for_topic=lambda topic: set(range(self.sizes[topic])) or None)
        chief = self.seats[leader or min(self.seats)].assignor
        members = [SimpleNamespace(member_id=name, metadata=told[name]) for name in reversed(list(told))]
        answers = chief.assign(cluster, members)
        decoded = {name: ConsumerProtocolAssignment.decode(answer.encode()) for name, answer in answers.items()}
        self._check(decoded)
        for name, seat in self.seats.items():
            if name not in deaf:
                seat.apply(decoded[name], self.generation)
        return chief.unfinished

    def _check(self, answers: Mapping[str, ConsumerProtocolAssignment]) -> None:
        assert answers.keys() == self.seats.keys()
        every = Counter(itertools.chain.from_iterable(answer.partitions() for answer in answers.values()))
        assert not every or max(every.values()) == 1, "given to two in one generation"
        for name, answer in answers.items():
            for place in answer.partitions():
                assert place.topic in self.seats[name].topics
                owner = self.owner(place)
                assert owner in (None, name), f"{place} is given to {name} while {owner} holds it"

    @property
    def held(self) -> dict[str, frozenset[TopicPartition]]:
        """What each member holds."""
        return {name: seat.held for name, seat in self.seats.items()}

    def owner(self, place: TopicPartition) -> str | None:
        """Who holds a partition by the newest assignment."""
        holders = [(seat.generation, name) for name, seat in self.seats.items() if place in seat.held]
        return max(holders)[1] if holders else None

    def settle(self) -> None:
        """Rebalances until none has to follow: two phases, the one for claims that are over, and no more."""
        for _ in range(3):
            if not self.rebalance():
                return
        assert not self.rebalance()

    def holder(self, topic: str, number: int) -> str | None:
        """The member that holds a partition."""
        return next((n for n, seat in self.seats.items() if TopicPartition(topic, number) in seat.held), None)


@st.composite
def groups(draw: st.DrawFn, alike: bool = False) -> Group:
    """Members that read some of the topics; `alike`: all of them, and the topics are of one size."""
    drawn = draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    sizes = {f"t{n}": drawn[0] if alike else size for n, size in enumerate(drawn)}
    some = st.just(frozenset(sizes)) if alike else st.sets(st.sampled_from(sorted(sizes)), min_size=1).map(frozenset)
    return Group({name: Seat(draw(some)) for name in NAMES[: draw(st.integers(1, 5))]}, sizes)


def live(group: Group, data: st.DataObject) -> None:
    """Up to five things happen, then it comes to rest."""
    for _ in range(data.draw(st.integers(0, 5))):
        change(group, data)
    group.settle()


def change(group: Group, data: st.DataObject) -> None:
    """Something that a group lives through."""
    kind = data.draw(st.sampled_from(["join", "leave", "grow", "deaf", "evicted", "another reads"]))
    names = sorted(group.seats)
    if kind == "join" and len(names) < len(NAMES):
        name = next(name for name in NAMES if name not in group.seats)
        group.seats[name] = Seat(group.seats[data.draw(st.sampled_from(names))].topics)
    elif kind == "leave" and len(names) > 1:
        del group.seats[data.draw(st.sampled_from(names))]
    elif kind == "grow":
        group.sizes[data.draw(st.sampled_from(sorted(group.sizes)))] += 1
    elif kind == "evicted" and len(names) > 1:
        away = data.draw(st.sampled_from(names))
        asleep = group.seats.pop(away)
        for _ in range(data.draw(st.integers(1, 3))):
            group.rebalance()
        group.seats[away] = asleep
    elif kind == "another reads":
        seat = group.seats[data.draw(st.sampled_from(names))]
        seat.topics = data.draw(st.sets(st.sampled_from(sorted(group.sizes)), min_size=1).map(frozenset))
        seat.held = frozenset(place for place in seat.held if place.topic in seat.topics)
    deaf = data.draw(st.sets(st.sampled_from(sorted(group.seats)))) if kind == "deaf" else ()
    group.rebalance(deaf, data.draw(st.sampled_from(sorted(group.seats))))


def readers(group: Group, topic: str) -> frozenset[str]:
    """Who reads a topic."""
    return frozenset(name for name, seat in group.seats.items() if topic in seat.topics)


def units(group: Group) -> dict[tuple[int, frozenset[str], int], list[str]]:
    """(size, readers, number) -> the topics that belong together there."""
    found: dict[tuple[int, frozenset[str], int], list[str]] = {}
    for topic, size in group.sizes.items():
        for number in range(size):
            if readers(group, topic):
                found.setdefault((size, readers(group, topic), number), []).append(topic)
    return found


@settings(max_examples=400, deadline=None)
@given(groups(), st.data())
def test_a_group_comes_to_rest_complete_co_located_and_level(group: Group, data: st.DataObject) -> None:
    """Whatever happened before; on the way no partition has two rightful holders, and none is given before its time."""
    live(group, data)
    load = Counter({name: len(seat.held) for name, seat in group.seats.items()})
    for (_, eligible, number), topics in units(group).items():
        holders = {group.holder(topic, number) for topic in topics}
        assert len(holders) == 1
        holder = holders.pop()
        assert holder is not None
        assert all(load[holder] <= load[name] + len(topics) for name in eligible)


@settings(max_examples=200, deadline=None)
@given(groups(), st.data())
def test_nothing_moves_when_nothing_changes(group: Group, data: st.DataObject) -> None:
    """Also when another member leads."""
    live(group, data)
    before = group.held
    for leader in sorted(group.seats):
        assert not group.rebalance(leader=leader)
    assert group.held == before


@given(groups(alike=True), st.data())
def test_who_stays_keeps_what_it_has_when_another_leaves(group: Group, data: st.DataObject) -> None:
    """Its units go to those that stay; nobody waits for a second phase."""
    group.settle()
    if len(group.seats) > 1:
        del group.seats[data.draw(st.sampled_from(sorted(group.seats)))]
    before = group.held
    assert not group.rebalance()
    assert all(seat.held >= before[name] for name, seat in group.seats.items())


@given(groups(alike=True))
def test_one_that_joins_takes_no_more_than_its_share(group: Group) -> None:
    """Nothing moves but to the new one."""
    group.settle()
    before = group.held
    group.seats["new"] = Seat(frozenset(group.sizes))
    group.settle()
    assert all(group.seats[name].held <= held for name, held in before.items())


def test_a_claim_of_an_older_generation_loses() -> None:
    """A member that was evicted, slept and woke up without noticing; the rightful owner goes on undisturbed."""
    group = Group({"a": Seat(frozenset({"t"})), "b": Seat(frozenset({"t"}))}, {"t": 1})
    group.settle()
    asleep, awake = ("a", "b") if group.holder("t", 0) == "a" else ("b", "a")
    seat = group.seats.pop(asleep)
    group.settle()
    group.seats[asleep] = seat
    assert not group.rebalance(leader=asleep)
    assert group.seats[awake].held == {TopicPartition("t", 0)}
    assert not group.seats[asleep].held


def test_claims_that_do_not_tell_since_when_are_both_given_up_first() -> None:
    """Of members of the release before, one of which was evicted: which one nobody can tell."""
    group = Group({name: Seat(frozenset({"t"}), held=frozenset({TopicPartition("t", 0)})) for name in "ab"}, {"t": 1})
    assert group.rebalance()
    assert [seat.held for seat in group.seats.values()] == [frozenset(), frozenset()]
    assert not group.rebalance()
    assert group.holder("t", 0) is not None


def test_a_unit_goes_to_who_holds_most_of_it() -> None:
    """A group whose topics were not co-located before: what moves is the lesser part."""
    topics = ["t", "u", "v"]
    group = Group({name: Seat(frozenset(topics)) for name in "ab"}, dict.fromkeys(topics, 2))
    group.seats["a"].held = frozenset([TopicPartition("t", 0), TopicPartition("t", 1), TopicPartition("u", 1)])
    group.seats["b"].held = frozenset([TopicPartition("u", 0), TopicPartition("v", 0), TopicPartition("v", 1)])
    group.settle()
    assert [group.holder(topic, number) for topic in topics for number in (0, 1)] == ["b", "a"] * 3


def test_a_leader_that_knows_fewer_partitions_takes_none_away() -> None:
    """It has heard less than the one that led before it, or nothing yet."""
    group = Group({name: Seat(frozenset({"t", "u"})) for name in "ab"}, {"t": 3, "u": 4})
    group.settle()
    before = group.held
    group.sizes = {"t": 0, "u": 3}
    assert not group.rebalance()
    assert group.held == before


def test_a_member_of_the_release_before_reads_what_this_one_writes() -> None:
    """And the other way round: during a rolling update either of them may lead."""
    new = CoLocatingAssignor()
    new.held = lambda: [TopicPartition("t", 1)]
    new.on_assignment(None, 7)
    old = CooperativeStickyAssignor()
    told = old.parse_member_metadata(ConsumerProtocolSubscription.decode(new.metadata({"t"}).encode()))
    assert (told.partitions, told.generation) == ([TopicPartition("t", 1)], 7)
    assert new.name == old.name
    cluster = SimpleNamespace(partitions_for_topic=lambda topic: {0, 1}, topics=lambda: {"t"})
    for leader in (new, old):
        members = [
            SimpleNamespace(member_id=name, metadata=ConsumerProtocolSubscription.decode(one.metadata({"t"}).encode()))
            for name, one in (("new", new), ("old", old))
        ]
        assert leader.assign(cluster, members)["new"].partitions() == [TopicPartition("t", 1)]
        assert leader.assign(cluster, members)["old"].partitions() == [TopicPartition("t", 0)]
