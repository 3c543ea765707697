"""Whatever comes, falls silent, is revoked or gets stale: each key's anchors leave in order, and give all room back."""

from __future__ import annotations

from collections import defaultdict
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.bodies import FakeBodyReader
from tests.fakes.source import FakeSource
from tests.unit.test_batch import Silent
from tests.unit.worker_in_memory import FRAMES, TEXTS
from worker.pipeline.lines import Leaver, Lines
from worker.pipeline.ring import Ring
from worker.records import Candidate, Event, Partition, Record, Reference
from worker.stages.align import Waiting

KEYS, PLACES, MOST_BYTES = "abcd", [Partition(FRAMES, n) for n in range(3)], 800


class World:
    """Lines over a reader whose bodies come as chance says."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        source = FakeSource({TEXTS: 2, FRAMES: 3})
        for place in PLACES:
            for n in range(30):
                source.send(Record(*place, n, 0, b"k", b"x" * self.chance.randint(1, 120)))
        self.logs = source.logs
        self.reader = FakeBodyReader(source)
        self.reader.pick = lambda wanted: self.chance.sample(wanted, min(len(wanted), self.chance.choice([0, 0, 1, 9])))
        self.bodies = Ring(MOST_BYTES, self.reader, Silent(), -1)
        self.lines = Lines(self.bodies)
        self.inside: dict[str, list[int]] = defaultdict(list)
        self.added = 0

    def add(self) -> None:
        """An anchor that wants up to three bodies; of its key, or of one that lies on two partitions."""
        key, number = self.chance.choice(KEYS), self.added
        self.added += 1
        partition = KEYS.index(key) % 2 if self.chance.random() < 0.9 else 0
        record = Record(TEXTS, partition, number, 0, key.encode(), b"text")
        anchor = Event("texts", key, str(number), "s", number, "text/plain", b"text", record)
        waiting = Waiting(anchor, record.place, 0.0, set())
        wanted = {}
        for one in range(self.chance.randint(0, 3)):
            place, offset = self.chance.choice(PLACES), self.chance.randrange(30)
            size = len(self.logs[place][offset].value or b"")
            wanted["frames", key, Candidate(one, str(one))] = Reference(place, offset, size)
        self.lines.add(Leaver(waiting, {}, wanted))
        self.inside[key].append(number)

    def leave(self, most: int) -> None:
        """Those that leave are the first of their keys, with all that they wanted."""
        for leaver in self.lines.leave(most):
            anchor = leaver.waiting.anchor
            assert self.inside[anchor.key].pop(0) == anchor.record.offset
            assert leaver.bodies.keys() == leaver.references.keys()
            for wanted, place in leaver.references.items():
                assert leaver.bodies[wanted] == self.logs[place.partition][place.offset]

    def drop(self) -> None:
        """One anchor partition is revoked."""
        gone = Partition(TEXTS, self.chance.randrange(2))
        held = {leaver.waiting.anchor.record.offset for line in self.lines._lines.values() for leaver in line.leavers
                if leaver.waiting.anchor.record.lies_on == gone}  # fmt: skip
        self.lines.drop({gone})
        for key in KEYS:
            self.inside[key] = [number for number in self.inside[key] if number not in held]

    def agrees(self) -> None:
        """What is held or awaited is what the anchors in front hold or await."""
        every = [leaver for line in self.lines._lines.values() for leaver in line.leavers]
        assert len(self.lines) == len(every) == sum(map(len, self.inside.values()))
        assert self.lines.bytes == sum(leaver.waiting.anchor.size for leaver in every)
        assert self.bodies.awaited_bytes == sum(leaver.size for leaver in every if leaver.taken)
        assert set(self.reader.wanted) <= {place for leaver in every for place in leaver.awaited}
        for line in self.lines._lines.values():
            assert [leaver.taken for leaver in line.leavers] == [n < line.taken for n in range(len(line.leavers))]


STEPS = ["add", "add", "add", "turn", "turn", "leave", "silent", "stale", "drop"]


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.lists(st.sampled_from(STEPS), max_size=80))
def test_lines_keep_order_and_room(seed: int, steps: list[str]) -> None:
    """At each moment the books agree; in the end, when everything comes, everybody has left."""
    world = World(seed)
    for step in steps:
        if step == "add":
            world.add()
        elif step == "turn":
            world.lines.turn(2**30)
        elif step == "leave":
            world.leave(world.chance.randint(0, 4))
        elif step == "silent":
            world.reader.slow = set(world.chance.sample(PLACES, world.chance.randint(0, 2)))
        elif step == "stale":
            oldest = world.chance.randint(0, world.added)
            world.lines.excuse(lambda record, oldest=oldest: record.offset < oldest)  # type: ignore[misc]
        else:
            world.drop()
        world.agrees()
    world.reader.slow, world.reader.pick = set(), lambda wanted: wanted
    for _turn in range(2 * world.added + 2):
        world.lines.turn(2**30)
        world.leave(8)
        world.agrees()
    assert not len(world.lines)
    assert (world.bodies.awaited_bytes, world.reader.wanted) == (0, [])
