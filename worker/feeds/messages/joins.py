"""Messages that belong to others: the last of a kind is kept for a while, and who comes too early waits a while."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from worker.durations import micros
from worker.feeds.messages.mapping import Join
from worker.feeds.messages.translate import Read
from worker.ports.ops import Log

# Kept of each kind, and waiting altogether; past it the oldest go on without.
_KEPT, _WAITING, _WAITING_BYTES = 10_000, 1_000, 32 * 2**20
# So many in a row waited in vain: nobody sends what they wait for, and the next ones do not wait.
_IN_VAIN = 10
# After every arrival: nothing comes any more.
NEVER_US = 2**62


@dataclass(frozen=True, slots=True)
class Joined:
    """A message, with the payloads of those that belong to it, and of how many things these were."""

    read: Read
    payloads: Mapping[str, Any]
    of: int = 0


@dataclass(frozen=True, slots=True)
class _Waiting:
    read: Read
    join: Join
    on: str
    until_us: int


class Joiner:
    """Joins what it is given; all times are the arrivals of messages, microseconds since 1970."""

    def __init__(self, joins: Mapping[str, list[Join]], log: Log) -> None:
        """`joins`: rule -> the joins that its messages may be wanted by; a message of any other join goes on alone."""
        self._wanted, self._log = joins, log
        # (rule, text that must be the same) -> what it is about -> when, payload
        self._kept: OrderedDict[tuple[str, str], OrderedDict[str, tuple[int, Any]]] = OrderedDict()
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._in_vain: dict[str, int] = {}

    def take(self, read: Read) -> Iterator[Joined]:
        """The message as soon as it is whole, behind those that waited for it."""
        yield from self._partner_of(read)
        join = read.rule.join
        if join is None or not any(one is join for one in self._wanted.get(join.rule, ())):
            yield Joined(read, {})
            return
        on = read.value(join.on)
        found = None if on is None else self._before(read, join, on)
        if found is not None:
            yield found
        elif on is None or not join.after or self._in_vain.get(read.rule.name, 0) >= _IN_VAIN:
            yield Joined(read, {})
        else:
            self._waiting.append(_Waiting(read, join, on, read.message.arrived_us + micros(join.after)))
            self._bytes += len(read.message.payload)

    def due(self, now_us: int) -> Iterator[Joined]:
        """Those that have waited long enough, without what they waited for."""
        while self._waiting and (self._too_many() or any(one.until_us <= now_us for one in self._waiting)):
            late = next((one for one in self._waiting if one.until_us <= now_us), self._waiting[0])
            self._leave(late)
            name = late.read.rule.name
            self._in_vain[name] = self._in_vain.get(name, 0) + 1
            if self._in_vain[name] == _IN_VAIN:
                self._log.warning(
                    "nothing comes that these are joined to; they wait no more", rule=name, to=late.join.rule
                )
            yield Joined(late.read, {})

    def _too_many(self) -> bool:
        return len(self._waiting) > _WAITING or self._bytes > _WAITING_BYTES

    def _leave(self, one: _Waiting) -> None:
        self._waiting.remove(one)
        self._bytes -= len(one.read.message.payload)

    def _partner_of(self, read: Read) -> Iterator[Joined]:
        """What waited for this message; it is kept for those to come."""
        for join in self._wanted.get(read.rule.name, []):
            if (equal := read.value(join.equals)) is None:
                continue
            for one in [w for w in self._waiting if w.join is join and w.on == equal]:
                self._leave(one)
                self._in_vain[one.read.rule.name] = 0
                yield Joined(one.read, {join.rule: read.facts.payload}, 1)
            if join.before:
                self._keep(read, join, equal)

    def _keep(self, read: Read, join: Join, equal: str) -> None:
        place = join.rule, equal
        about = self._kept.setdefault(place, OrderedDict())
        self._kept.move_to_end(place)
        name = read.value(join.distinct) or ""
        about[name] = read.message.arrived_us, read.facts.payload
        about.move_to_end(name)
        while len(about) > 1 and next(iter(about.values()))[0] < read.message.arrived_us - micros(join.before):
            about.popitem(last=False)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def _before(self, read: Read, join: Join, on: str) -> Joined | None:
        since = read.message.arrived_us - micros(join.before)
        found = [payload for at, payload in self._kept.get((join.rule, on), {}).values() if at >= since]
        return Joined(read, {join.rule: found[-1]}, len(found)) if found else None
