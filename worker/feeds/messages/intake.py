"""Messages of any source -> the outlet: read, joined, made events; what is odd in one costs that one alone."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Any

from worker.feeds.messages.bodies import Unusable, bounded
from worker.feeds.messages.joins import NEVER_US, Joined, Joiner
from worker.feeds.messages.mapping import MessageMapping
from worker.feeds.messages.translate import Message, Read, Translator
from worker.feeds.outlet import Outlet
from worker.ops.catalogue import Name
from worker.ports.ops import Log

_REMEMBERED = 10_000
UNKNOWN = "unknown"


class Intake:
    """Used by one thread. Each message is settled once: when Kafka has its event, or when none comes of it."""

    def __init__(
        self, mapping: MessageMapping, translator: Translator, outlet: Outlet, observer: Any, log: Log
    ) -> None:
        joins = [rule.join for rule in mapping.rule if rule.join and translator.has_stream(rule)]
        wanted = {name: [join for join in joins if join.rule == name] for name in {join.rule for join in joins}}
        self._translator, self._outlet, self._observer, self._log = translator, outlet, observer, log
        self._joiner = Joiner(wanted, log)
        self._arrived: OrderedDict[str, int] = OrderedDict()
        self._told: dict[str, int] = {}
        self._clocks: dict[str, str] = {}

    def take(self, message: Message, again: bool = False) -> None:
        """`again`: it was sent before and not acknowledged; it keeps the time at which it first came. Raises Fatal."""
        message = self._first_arrival(message, again)
        try:
            read = bounded(lambda: self._translator.read(message))
        except Unusable as error:
            self._leave_out(message, error)
            return
        if read is None:
            self._leave_out(message, Unusable("unmapped", "no rule of the mapping knows it"))
            return
        for one in self._joiner.take(read):
            self._put(one)

    def due(self, now_us: int) -> None:
        """What has waited long enough goes on. Raises Fatal."""
        for one in self._joiner.due(now_us):
            self._put(one)

    def end(self) -> None:
        """Nothing comes any more: what waits for another message goes on alone. Raises Fatal."""
        self.due(NEVER_US)

    def count_dropped(self, reason: str, stream: str = UNKNOWN) -> None:
        """Counts a message of which no event is made."""
        self._observer.count(Name.FEED_DROPPED, stream=stream, reason=reason)

    def recall(self, delivery: str, at_us: int) -> None:
        """A delivery that became an event at its arrival, maybe of an earlier process."""
        self._arrived[delivery] = at_us
        self._arrived.move_to_end(delivery)
        if len(self._arrived) > _REMEMBERED:
            self._arrived.popitem(last=False)

    def _first_arrival(self, message: Message, again: bool) -> Message:
        if again:
            return replace(message, arrived_us=self._arrived.get(message.delivery, message.arrived_us))
        if message.delivery:
            self.recall(message.delivery, message.arrived_us)
        return message

    def _put(self, joined: Joined) -> None:
        read, message = joined.read, joined.read.message
        if not self._translator.has_stream(read.rule):
            message.settle()
            return
        try:
            event, doubt = bounded(lambda: self._translator.event(read, joined.payloads, joined.of))
        except Unusable as error:
            self._leave_out(message, error, self._translator.stream_of(read.rule))
            return
        self._tell_clock(read, event.attributes["clock"], doubt)
        self._outlet.put(event, settled=message.settled)

    def _tell_clock(self, read: Read, clock: str, doubt: str | None) -> None:
        """That a kind of messages goes by another clock than before, and why a time is not believed."""
        name = read.rule.name
        before, self._clocks[name] = self._clocks.get(name, clock), clock
        if before != clock:
            self._observer.count(Name.FEED_CLOCK, key=name, clock=clock)
        if (before != clock or doubt) and self._is_told(f"clock {name}"):
            reason = doubt or "the message tells a time" if clock != read.message.clock else doubt or "it tells no time"
            self._log.warning("the clock of these messages", rule=name, clock=clock, reason=reason)

    def _leave_out(self, message: Message, error: Unusable, stream: str = UNKNOWN) -> None:
        self.count_dropped(error.reason, stream)
        if self._is_told(f"{error.reason} {str(error).partition(':')[0]}"):
            self._log.warning("a message is left out", topic=message.topic, reason=str(error), kind=error.reason)
        message.settle()

    def _is_told(self, kind: str) -> bool:
        """Of each kind the first, the tenth, the hundredth ..."""
        self._told[kind] = count = self._told.get(kind, 0) + 1
        return str(count).rstrip("0") == "1"
