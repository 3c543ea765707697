"""A ContextStore in memory, under the same contract suite as the real one."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tests.fakes.redis_server import Entity, FakeServer
from tests.oracle import match as matched
from worker.errors import Full, Poison
from worker.flows import Flow, PartitionFlow
from worker.ports import Observer
from worker.records import Candidate, Event, Match, MatchRule, Partition, Query, Record, Reference
from worker.store.codec import INLINE_BYTES
from worker.store.lifetime import Lifetime, Upkeep

__all__ = ["FakeContextStore", "FakeServer"]
REFERENCE_BYTES = 24  # of one into a topic with a name of six letters


class FakeContextStore:
    """worker.ports.ContextStore without a server. `late` counts what came too late."""

    def __init__(
        self,
        server: FakeServer,
        worker_id: str,
        rules: Mapping[str, MatchRule],
        bounds: Mapping[str, tuple[int, int]],
        observer: Observer | None = None,
        inline_bytes: int = INLINE_BYTES,
    ) -> None:
        self._server, self._worker, self._rules, self._bounds = server, worker_id, rules, bounds
        self._observer, self._lifetime = observer, Lifetime.of(rules.values())
        self._inline_bytes = inline_bytes
        self._slot: int | None = None
        self.enter("")

    def _entity(self, stream: str, key: str) -> Entity:
        return self._server.entity((self._epoch, stream, key), self._lifetime.data_ms)

    def index(self, events: Sequence[Event], needed_us: int | None = None) -> int:
        """See ContextStore.index."""
        refused = set(range(len(events))) if self._server.full else set()
        late = self._index_all([event for place, event in enumerate(events) if place not in refused])
        newest = {(e.stream, e.key): e.time_us for e in sorted(events, key=lambda e: e.time_us)} if refused else {}
        for (stream, key), time_us in newest.items():
            self._relieve(self._rules[stream], self._entity(stream, key), time_us, needed_us)
        for place in sorted(refused) if needed_us is not None else ():
            rule, entity = self._rules[events[place].stream], self._entity(events[place].stream, events[place].key)
            if (entity.highest_us or -1) <= needed_us + rule.after_us + rule.lateness_us:
                late += self._index_all([events[place]])
                refused.remove(place)
        self._server.command()
        if refused:
            raise Full("Redis: command not allowed when used memory > 'maxmemory'.", refused)
        return late

    def _relieve(self, rule: MatchRule, entity: Entity, time_us: int, needed_us: int | None) -> None:
        newest_us = min(time_us, time_us if entity.last_us is None else entity.last_us)
        since_us = newest_us - rule.before_us - rule.after_us - rule.lateness_us
        for place in sorted(entity.records):
            if place[0] < (since_us if needed_us is None else needed_us - rule.before_us):
                _take(entity, place, "maxmemory")

    def _index_all(self, events: Sequence[Event]) -> int:
        late, agreed = 0, dict[tuple[str, str], int]()
        for event in events:
            late += self._index_one(event, agreed)
        for (stream, key), agreed_us in agreed.items():
            self._trim(self._rules[stream], self._entity(stream, key), agreed_us)
        return late

    def _index_one(self, event: Event, agreed: dict[tuple[str, str], int]) -> bool:
        self._server.command()
        rule, entity = self._rules[event.stream], self._entity(event.stream, event.key)
        place, late = (event.time_us, event.id), False
        if place not in entity.records:
            late = _is_late(rule, entity, place)
            large = len(event.record.value or b"") > self._inline_bytes
            entity.records[place] = Reference.to(event.record) if large else replace(event.record, lease=0)
        last_us = event.time_us if entity.last_us is None else entity.last_us
        agreed[event.stream, event.key] = min(event.time_us, last_us)
        entity.last_us = event.time_us
        entity.highest_us = max(event.time_us, entity.highest_us or event.time_us)
        reached = entity.highest_us - rule.lateness_us
        for (worker, token), score in list(entity.waiters.items()):
            if score <= reached:
                del entity.waiters[worker, token]
                self._server.woken[worker].append(token)
        return late

    def _trim(self, rule: MatchRule, entity: Entity, agreed_us: int) -> None:
        most_events, most_bytes = self._bounds[rule.stream]
        keep_us = rule.kept_us
        for place in sorted(entity.records):
            if place[0] < agreed_us - keep_us:
                bound = "horizon"
            elif len(entity.records) > most_events:
                bound = "max_events_per_key"
            elif len(entity.records) > 1 and sum(map(_bytes, entity.records.values())) > most_bytes:
                bound = "max_bytes_per_key"
            else:
                return
            _take(entity, place, bound)

    def match(self, queries: Sequence[Query]) -> list[Match]:
        """See ContextStore.match."""
        self._see()
        return [self._match_one(query) for query in queries]

    def _match_one(self, query: Query) -> Match:
        rule, entity = self._rules[query.stream], self._entity(query.stream, query.key)
        found = tuple(matched(rule, query.time_us, entity.records))
        reached = -1 if entity.highest_us is None else entity.highest_us - rule.lateness_us
        needed = query.time_us if rule.mode == "latest" else query.time_us + rule.after_us + 1
        if rule.mode == "nearest" and found:
            needed = min(needed, query.time_us + abs(found[0].time_us - query.time_us))
        complete = entity.highest_us is not None and reached >= needed
        if query.last:
            entity.waiters.pop((self._worker, query.token), None)
        elif not complete:
            early = rule.mode == "nearest"
            entity.waiters[self._worker, query.token] = max(query.time_us, reached + 1) if early else needed
        return Match(
            complete,
            found,
            entity.highest_us,
            _cost(rule, entity, query.time_us, found),
            _elsewhere(entity, query.token),
        )

    def fetch(self, wanted: Sequence[tuple[str, str, Candidate]]) -> list[Record | Reference | Poison | None]:
        """See ContextStore.fetch."""
        self._see()
        return [
            self._server.entity((self._epoch, stream, key)).records.get((c.time_us, c.id)) for stream, key, c in wanted
        ]

    def claim(self, stream: str, key: str, candidate: Candidate, token: str) -> bool:
        """See ContextStore.claim."""
        return self._entity(stream, key).claims.setdefault(candidate, token) == token

    def woken(self) -> list[str]:
        """See ContextStore.woken."""
        return self._server.woken.pop(self._worker, [])

    def exchange_flow(self, own: Mapping[Partition, PartitionFlow], needed_us: int | None = None) -> Flow:
        """See ContextStore.exchange_flow."""
        self._see()
        self._server.flows[self._epoch].update(own)
        now_us = self._server.now_us
        if self._upkeep.passed(now_us, needed_us, self._top_us()):
            self._prolong()
        if self._epoch == self._server.epoch and (self._is_due or self._upkeep.is_slow(now_us)):
            self._pass_over_all(needed_us)
        return Flow(now_us, dict(self._server.flows[self._epoch]))

    def _top_us(self) -> int:
        tops = (e.highest_us for (epoch, *_), e in self._server.entities.items() if epoch == self._epoch)
        return max((top for top in tops if top is not None), default=-1)

    def _pass_over_all(self, needed_us: int | None) -> None:
        ends_us = self._server.now_us + self._lifetime.data_ms * 1000
        for (epoch, *_), entity in list(self._server.entities.items()):
            wanted = needed_us is None or (entity.highest_us or -1) >= needed_us or entity.waiters
            if epoch == self._epoch and wanted and entity.ends_us >= self._server.now_us:
                entity.ends_us = ends_us
        self._server.entities = defaultdict(
            Entity, {place: entity for place, entity in self._server.entities.items() if place[0] == self._epoch}
        )
        self._upkeep.touched(self._server.now_us, self._top_us())
        self._prolong()
        self._is_due = False

    def _prolong(self) -> None:
        if self._server.epoch_ends_us >= self._server.now_us and self._epoch == self._server.epoch:
            self._server.epoch_ends_us = self._server.now_us + self._lifetime.epoch_ms * 1000

    def epoch(self) -> str:
        """See ContextStore.epoch."""
        if self._server.epoch_ends_us < self._server.now_us:
            if self._server.epoch_ends_us:
                self._server.lose_epoch()
            self._server.epoch_ends_us = self._server.now_us + self._lifetime.epoch_ms * 1000
        self._see()
        return self._server.epoch

    def seen_epoch(self) -> str:
        """See ContextStore.seen_epoch."""
        return self._seen

    def _see(self) -> None:
        self._seen = self._server.epoch if self._server.epoch_ends_us >= self._server.now_us else ""

    def enter(self, epoch: str) -> None:
        """See ContextStore.enter."""
        self._epoch, self._upkeep, self._is_due = epoch, Upkeep(self._lifetime.epoch_ms), True
        self._seen = epoch

    def lease_slot(self) -> int:
        """See ContextStore.lease_slot."""
        self._slot = next(n for n in range(len(self._server.slots) + 1) if n not in self._server.slots)
        self._server.slots[self._slot] = self._worker
        self._server.known_slots.add(self._slot)
        return self._slot

    def renew_slot(self) -> bool:
        """See ContextStore.renew_slot."""
        if self._slot is None:
            return True
        self._server.known_slots.add(self._slot)
        return self._server.slots.setdefault(self._slot, self._worker) == self._worker

    def release_slot(self) -> None:
        """See ContextStore.release_slot."""
        if self._slot is not None:
            self.bury_slot(self._slot)
        self._slot = None

    def orphaned_slots(self) -> list[int]:
        """See ContextStore.orphaned_slots."""
        return sorted(self._server.known_slots - self._server.slots.keys())

    def adopt_slot(self, slot: int) -> bool:
        """See ContextStore.adopt_slot."""
        if slot in self._server.slots:
            return False
        self._server.slots[slot] = self._worker
        return True

    def has_adopted(self, slot: int) -> bool:
        """See ContextStore.has_adopted."""
        return self._server.slots.get(slot) == self._worker

    def bury_slot(self, slot: int) -> None:
        """See ContextStore.bury_slot."""
        if self._server.slots.get(slot) == self._worker:
            del self._server.slots[slot]
            self._server.known_slots.discard(slot)

    def close(self) -> None:
        """Nothing to end."""


def _bytes(kept: Record | Reference | Poison) -> int:
    return len(kept.value or b"") if isinstance(kept, Record) else REFERENCE_BYTES


def _take(entity: Entity, place: tuple[int, str], bound: str) -> None:
    del entity.records[place]
    entity.claims.pop(Candidate(*place), None)
    if place[0] > entity.trimmed_us:
        entity.trimmed_us, entity.bound = place[0], bound


def _cost(rule: MatchRule, entity: Entity, at_us: int, found: Sequence[Candidate]) -> str | None:
    if entity.trimmed_us < at_us - rule.before_us:
        return None
    most = rule.limit if rule.mode == "window" else 1
    is_full = len(found) == most
    farthest_us = max((abs(one.time_us - at_us) for one in found), default=0)
    return None if is_full and at_us - entity.trimmed_us > farthest_us else entity.bound


def _elsewhere(entity: Entity, token: str) -> int | None:
    place = re.search(r"/(\d+)/\d+$", token)
    if place is None:
        return None
    here, known = int(place[1]), entity.anchor_partition
    if known is None:
        entity.anchor_partition = here
    if known in (None, here) or entity.second_partition is not None:
        return None
    entity.second_partition = here
    return known


def _is_late(rule: MatchRule, entity: Entity, place: tuple[int, str]) -> bool:
    if entity.highest_us is None:
        return False
    if rule.lateness_us > 0 or place[0] != entity.highest_us:
        return place[0] <= entity.highest_us - rule.lateness_us
    return any(other > place for other in entity.records)
