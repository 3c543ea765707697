"""One message -> one event, by a mapping; no clock, no network."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

from worker.durations import micros
from worker.feeds.messages.bodies import Unusable, body_of
from worker.feeds.messages.mapping import MessageMapping, Rule
from worker.feeds.messages.topics import TopicPattern
from worker.feeds.messages.values import Facts, Missing, time_us, value_of, written
from worker.feeds.outlet import LiveEvent
from worker.strict_json import read_json, write_json

ARRIVAL, DELIVERY = "arrival", "delivery"
# Half a surrogate pair, or a number that no float holds, such as 1e999: read by Python, but not written again.
_MAYBE_UNWRITABLE = re.compile(rb"\\u|\d[eE]\+?\d{3}|\d{100}")
# Times that nobody's clock tells: before the year 2000 a clock was never set; ahead of ours the worker refuses them.
_LEAST_US, _AHEAD_US = 946_684_800_000_000, 30_000_000


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it came.

    Attributes:
        arrived_us: when, microseconds since 1970.
        record_key: of a Kafka record.
        place: topic/partition/offset of one.
        clock: whose time `arrived_us` is.
        delivery: of MQTT's QoS 1: the same if it is delivered again, and no other message's that is on its way.
        settled: called when Kafka has its event, or when none comes of it; None: nobody waits for that.
    """

    topic: str
    payload: bytes
    arrived_us: int
    record_key: str = ""
    place: str = ""
    clock: str = ARRIVAL
    delivery: str = ""
    settled: Callable[[], None] | None = None

    def settle(self) -> None:
        """No event comes of it."""
        if self.settled is not None:
            self.settled()

    @property
    def digest(self) -> str:
        """The same for the same topic and payload."""
        return hashlib.sha256(self.topic.encode() + b"\0" + self.payload).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Read:
    """A message whose rule is known; `facts` say what it holds."""

    message: Message
    rule: Rule
    facts: Facts

    def value(self, text: str) -> str | None:
        """As a text; None: it is not there, or null."""
        try:
            found = value_of(text).of(self.facts)
        except Missing:
            return None
        return None if found is None else written(found)


@dataclass(frozen=True, slots=True)
class Clocked:
    """An event's time, and by whose clock; `doubt`: why another was not believed."""

    time_us: int
    clock: str
    error_us: int | None = None
    doubt: str | None = None


class Translator:
    """Makes events of messages; `streams`: modality -> (stream, topic); `key` stands for that of every rule.

    Attributes:
        source: `ce_source` of the events.
    """

    def __init__(
        self, mapping: MessageMapping, streams: Mapping[str, tuple[str, str]], source: str, key: str | None = None
    ) -> None:
        base = f"{mapping.base}/" if mapping.base else ""
        self._mapping, self._streams, self.source, self._key = mapping, streams, source, key
        self._patterns = [None if r.topic is None else TopicPattern(base + r.topic) for r in mapping.rule]

    @property
    def patterns(self) -> list[TopicPattern]:
        """Of the topics whose messages are used, or skipped by name."""
        used = zip(self._patterns, self._mapping.rule, strict=True)
        needed = {rule.join.rule for rule in self._mapping.rule if rule.join and self.has_stream(rule)}
        return [p for p, rule in used if p and (self.has_stream(rule) or rule.name in needed)]

    def has_stream(self, rule: Rule) -> bool:
        """Whether there is a stream of its modality."""
        return rule.modality in self._streams and not rule.skip

    def read(self, message: Message) -> Read | None:
        """What kind of message it is; None: no rule knows it. Raises Unusable: none can read it."""
        told: dict[str, Any] = {}
        broken: Unusable | None = None
        own = self._own(message)
        for pattern, rule in zip(self._patterns, self._mapping.rule, strict=True):
            names = {} if pattern is None else pattern.match(message.topic)
            if names is None:
                continue
            try:
                told[rule.read_as] = told[rule.read_as] if rule.read_as in told else _parsed(message, rule)
            except Unusable as error:
                broken = broken or error
                continue
            facts = Facts({**names, **own}, told[rule.read_as])
            if all(self._holds(facts, text, wanted) for text, wanted in rule.when.items()):
                return Read(message, rule, facts)
        if broken is not None:
            raise broken
        return None

    def key_text(self, rule: Rule) -> str:
        """Where the key comes from, as it was written."""
        return rule.key if self._key is None else "--key"

    def stream_of(self, rule: Rule) -> str:
        """The stream of its events; it has one."""
        return self._streams[str(rule.modality)][0]

    def event(self, read: Read, joined: Mapping[str, Any], joined_of: int = 0) -> tuple[LiveEvent, str | None]:
        """The event, and why a time of the message was not believed. Raises Unusable."""
        rule, facts = read.rule, replace(read.facts, joined=joined)
        stream, topic = self._streams[str(rule.modality)]
        clocked = self.clocked(read, facts)
        facts = replace(facts, names={**facts.names, "time": str(clocked.time_us)})
        content_type, body = body_of(rule, facts, read.message.payload)
        whole = replace(read, facts=facts)
        told = {name: whole.value(text) for name, text in rule.attributes.items()}
        attributes = {name: value for name, value in told.items() if value is not None} | {"clock": clocked.clock}
        if read.message.delivery and clocked.clock == read.message.clock:
            attributes[DELIVERY] = read.message.delivery
        if clocked.error_us is not None:
            attributes["clockerrorms"] = str(-(-clocked.error_us // 1000))
        if joined_of > 1:
            attributes["joinedof"] = str(joined_of)
        key = self._key if self._key is not None else self._text(rule, "key", rule.key, facts)
        own_id = self._text(rule, "id", rule.id, facts)
        event = LiveEvent(
            stream, topic, key, own_id, self.source, rule.type, clocked.time_us, content_type, body, attributes
        )
        return event, clocked.doubt

    def clocked(self, read: Read, facts: Facts) -> Clocked:
        """By the message's own field where it has one that can be believed, else by its arrival."""
        arrived_us, doubt = read.message.arrived_us, None
        for text in read.rule.time:
            try:
                found = value_of(text).of(facts)
                at_us = time_us(found, ZoneInfo(read.rule.zone) if read.rule.zone else None) if found is not None else 0
            except Missing:
                continue
            except ValueError as error:
                doubt = str(error)
                continue
            if at_us > arrived_us + _AHEAD_US:
                doubt = f"{text} is {(at_us - arrived_us) / 1e6:.0f} s ahead of this clock"
            elif at_us >= _LEAST_US:
                off = read.rule.clock_error
                return Clocked(at_us, read.rule.clock, None if off is None else micros(off), doubt)
            elif found is not None:
                doubt = f"{text} is a time before the year 2000"
        return Clocked(arrived_us, read.message.clock, None, doubt)

    def _own(self, message: Message) -> dict[str, str]:
        own = {"digest": message.digest, "topic": message.topic}
        return own | {n: v for n, v in (("record_key", message.record_key), ("place", message.place)) if v}

    def _holds(self, facts: Facts, text: str, wanted: Any) -> bool:
        try:
            found = value_of(text).of(facts)
        except Missing:
            return False
        return found is not None if wanted is True and not isinstance(found, bool) else bool(found == wanted)

    def _text(self, rule: Rule, what: str, text: str, facts: Facts) -> str:
        try:
            found = value_of(text).of(facts)
        except Missing as error:
            raise Unusable("malformed", f"{rule.name}: {what}: the message has no {error}") from None
        if found is None or not (told := written(found).strip()):
            raise Unusable("malformed", f"{rule.name}: {what}: {text} is empty")
        return told


def _parsed(message: Message, rule: Rule) -> Any:
    if rule.read_as == "bytes":
        return message.payload
    try:
        if rule.read_as == "text":
            return message.payload.decode()
        found = read_json(message.payload)
        if _MAYBE_UNWRITABLE.search(message.payload):
            write_json(found)
    except ValueError as error:
        if not message.payload:
            raise Unusable("empty", f"{rule.name}: the message is empty") from None
        raise Unusable("malformed", f"{rule.name}: the message is no {rule.read_as.upper()} ({error})") from None
    return found
