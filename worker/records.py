"""Frozen values on the way from Kafka to a verdict. Times are integer microseconds since 1970, UTC (`_us`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, Self, TypeVar, dataclass_transform

from worker.errors import Poison
from worker.trace import Trace

_Made = TypeVar("_Made")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(made: type[_Made]) -> type[_Made]:
    """A frozen dataclass for what is made once an event. That nobody assigns to one is mypy's to see: Python's own way
    to forbid it takes three quarters of the time in which one is made."""
    return dataclass(slots=True, unsafe_hash=True)(made)


class Stage(StrEnum):
    """Where a record was rejected (CONTRACT section 3)."""

    VALIDATE = "VALIDATE"
    ALIGN = "ALIGN"
    DECODE = "DECODE"
    MODEL = "MODEL"
    PUBLISH = "PUBLISH"


class Missing(StrEnum):
    """Why a context stream has no match in a result (CONTRACT section 2)."""

    NEVER_SEEN = "never_seen"
    OUT_OF_TOLERANCE = "out_of_tolerance"
    PAYLOAD_EXPIRED = "payload_expired"
    UNDECODABLE = "undecodable"
    SHED = "shed"


class Partition(NamedTuple):
    """One partition of one topic. Looked up several times an event: a named tuple is hashed and compared in C."""

    topic: str
    number: int


# Each partition once, so that look-ups compare identities; no cluster has as many topics' partitions in one worker.
_partition = lru_cache(maxsize=65_536)(Partition)


@value
class Masked:
    """What `[privacy]` did to a record whose value has `came_bytes` in Kafka; `left_out`: the value is not there;
    `raw`: the record as it came, where the model sees that."""

    came_bytes: int
    raw: Record | None = field(default=None, repr=False)
    left_out: bool = False


@value
class Record:
    """A Kafka record as it came.

    Attributes:
        lease: the number of the assignment under which it was read; a record whose lease is over is forgotten.
        timestamp_ms, masked: the record's own (milliseconds), -1: it has none; what was done to it, None: nothing was.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    lease: int = 0
    masked: Masked | None = field(default=None, compare=False)
    lies_on: Partition = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lies_on", _partition(self.topic, self.partition))

    @property
    def place(self) -> str:
        """`topic/partition/offset`: names this record in the whole cluster."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    @property
    def size(self) -> int:
        """Bytes of key, value and headers."""
        return sum(len(part or b"") for part in (self.key, self.value, *(value for _, value in self.headers)))

    @property
    def value_bytes(self) -> int:
        """Of the value, and of the one that the model sees in its place."""
        return len(self.value or b"") + (self.masked.came_bytes if self.masked and self.masked.raw else 0)

    def is_small(self, inline_bytes: int) -> bool:
        """Whether Redis may hold it whole: its value is not larger, and the model sees the same one."""
        return len(self.value or b"") <= inline_bytes and not (self.masked and self.masked.raw)


@value
class Reference:
    """Where a record lies whose value, of `size` bytes, is too large for Redis; two of one place are equal."""

    partition: Partition
    offset: int
    size: int = field(compare=False)

    @classmethod
    def to(cls, record: Record) -> Self:
        """Where this record lies, and how large it is there."""
        size = record.masked.came_bytes if record.masked else len(record.value or b"")
        return cls(record.lies_on, record.offset, size)


@value
class Event:
    """A validated event. `payload` is the body alone; `record` is what the dead-letter topic would get.

    Attributes:
        fault: why an event that was matched cannot be read again from what is kept; its payload is empty then.
    """

    stream: str
    key: str
    id: str
    source: str
    time_us: int
    content_type: str
    payload: bytes
    record: Record
    traceparent: str | None = None
    fault: Poison | None = None

    @property
    def size(self) -> int:
        """Bytes of the record, and of a body that is not its value."""
        return self.record.size + (0 if self.payload is self.record.value else len(self.payload))


@value
class MatchRule:
    """How one context stream is matched (CONTRACT section 5). Durations in microseconds."""

    stream: str
    mode: str  # nearest | latest | window
    before_us: int
    after_us: int
    lateness_us: int
    limit: int
    max_wait_us: int
    horizon_us: int
    required: bool

    @property
    def kept_us(self) -> int:
        """How much event time is kept: of one horizon, and around its ends what an anchor may want."""
        return self.horizon_us + self.before_us + self.after_us + self.lateness_us


@value
class Candidate:
    """A context event in the store: enough to name, order and fetch it."""

    time_us: int
    id: str


@value
class Query:
    """One anchor asks one context stream. `token` names the anchor when it is woken; of the `last` answer, which is
    taken as it is, nobody has to."""

    stream: str
    key: str
    time_us: int
    token: str
    last: bool = False


@value
class Match:
    """The store's answer to a Query.

    Attributes:
        complete: no event still to come can change `candidates` (CONTRACT section 5).
        candidates, highest_us: the chosen events in time order; the key's highest event time there, None: never seen.
        bound: the name of a declared bound that may have cost this match: it took events that might have been chosen.
        elsewhere: another anchor partition on which the key was seen; None, or told before.
    """

    complete: bool
    candidates: tuple[Candidate, ...]
    highest_us: int | None
    bound: str | None = None
    elsewhere: int | None = None


@value
class Aligned:
    """An anchor with what was matched to it.

    Attributes:
        inputs: per context stream the matched events, in time order; a stream without a match is absent.
        missing: per context stream without a match, the reason.
        complete, shed: False when `max_wait` ended a stream's wait; True when its result is made without the model.
        truncated: per context stream whose match a declared bound may have cost, that bound.
    """

    anchor: Event
    inputs: Mapping[str, tuple[Event, ...]]
    missing: Mapping[str, Missing]
    complete: bool
    shed: bool = False
    truncated: Mapping[str, str] = field(default_factory=dict)


@value
class Confidence:
    """What the model knows of its own verdict.

    Attributes:
        set, familiar: the labels that cannot be ruled out at its level; how much of known data is as strange.
    """

    set: tuple[str, ...]
    familiar: float


@value
class Verdict:
    """What the model says of one Aligned.

    Attributes:
        embedding, evidence: D numbers, and the chain from inputs to label (schemas.result.Evidence), where asked for.
        truncated: per stream of whose events the model's own bound took some, that bound.
        model: its name and version; None: of the one that the worker began with. rule: which spoke (result.Rule).
        heads: by name what further heads say (schemas.result.Head); None: the model has none.
    """

    label: str
    score: float
    scores: Mapping[str, float]
    embedding: tuple[float, ...] | None = None
    evidence: Mapping[str, Any] | None = None
    truncated: Mapping[str, str] = field(default_factory=dict)
    confidence: Confidence | None = None
    model: Mapping[str, str] | None = None
    rule: Mapping[str, str] | None = None
    heads: Mapping[str, Any] | None = None


@value
class Rejected:
    """A record on its way to the dead-letter topic."""

    record: Record
    stage: Stage
    reason: str
    message: str
    exception: str = "Poison"
    attempts: int = 1


@value
class Outgoing:
    """A record to be produced; without a timestamp it has the time of its production."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp_ms: int | None = None


@value
class Outcome:
    """What one input record led to: it is finished when `outgoing` is committed.

    Attributes:
        record: the finished input record (an anchor, or a bad context record).
        outgoing: the result and dead letters that become visible with it.
        rejected, labels: what the dead letters say; (label, complete, streams present) of the result, None without.
        review, trace, rule: why a person is asked, its batch's trace, which rule spoke; None where there is none.
    """

    record: Record
    outgoing: tuple[Outgoing, ...]
    rejected: tuple[Rejected, ...] = ()
    labels: tuple[str, str, str] | None = None
    review: str | None = None
    trace: Trace | None = None
    rule: str | None = None
