"""The Redis that is not there: what the fake stores of one test share."""

from __future__ import annotations

import secrets
from collections import defaultdict
from dataclasses import dataclass, field

from worker.errors import Poison, Retryable
from worker.flows import PartitionFlow
from worker.records import Candidate, Partition, Record, Reference


@dataclass
class Entity:
    records: dict[tuple[int, str], Record | Reference | Poison] = field(default_factory=dict)
    claims: dict[Candidate, str] = field(default_factory=dict)
    waiters: dict[tuple[str, str], int] = field(default_factory=dict)
    highest_us: int | None = None
    trimmed_us: int = -1
    bound: str | None = None
    last_us: int | None = None
    anchor_partition: int | None = None
    second_partition: int | None = None
    ends_us: int = 0
    lost: bool = False


class FakeServer:
    """What all fake stores of one test share: the Redis that is not there. `now_us` is its clock."""

    def __init__(self) -> None:
        self.now_us = 1
        self.full = False
        self.breaks_after: int | None = None
        self.empty()

    def empty(self) -> None:
        """FLUSHALL."""
        self.entities: defaultdict[tuple[str, str, str], Entity] = defaultdict(Entity)
        self.epoch_ends_us = 0
        self.woken: defaultdict[str, list[str]] = defaultdict(list)
        self.flows: defaultdict[str, dict[Partition, PartitionFlow]] = defaultdict(dict)
        self.slots: dict[int, str] = {}
        self.known_slots: set[int] = set()
        self.lose_epoch()

    def lose_epoch(self) -> None:
        """What is there vouches for nothing any more."""
        self.epoch = secrets.token_hex(8)

    def entity(self, place: tuple[str, str, str], ttl_ms: int | None = None) -> Entity:
        """What lies under a key; touched when it is given a time to live.

        Raises:
            Retryable: a part of it was lost; the epoch has ended.
        """
        if self.entities[place].ends_us < self.now_us:
            self.entities[place] = Entity(ends_us=self.now_us)
        entity = self.entities[place]
        if entity.lost:
            self.lose_epoch()
            raise Retryable("Redis lost a part of a key")
        if ttl_ms is not None:
            entity.ends_us = self.now_us + ttl_ms * 1000
        return entity

    def command(self) -> None:
        """One more is sent; the connection breaks after as many as was told."""
        if self.breaks_after is not None:
            self.breaks_after -= 1
            if self.breaks_after < 0:
                raise Retryable("the connection broke")

    def pass_time(self, milliseconds: int) -> None:
        """The server's clock goes on."""
        self.now_us += milliseconds * 1000

    def lose(self, part: str) -> None:
        """One part of every key is gone, of those that had it."""
        for entity in self.entities.values():
            held = {"z": entity.records, "p": entity.records, "q": entity.waiters, "c": entity.claims}
            entity.lost |= bool(held.get(part, held))

    def expire_slots(self) -> None:
        """All leases run out."""
        self.slots.clear()
