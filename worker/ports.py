"""What the pipeline asks of the outside; real implementations and fakes pass the same contract suite."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from worker.errors import Poison
from worker.records import (
    Aligned,
    Candidate,
    Event,
    Flow,
    Match,
    Outgoing,
    Partition,
    PartitionFlow,
    Query,
    Record,
    Reference,
    Verdict,
)


class Clock(Protocol):
    """Time, passed in."""

    def monotonic(self) -> float:
        """Seconds that never go back; for intervals."""

    def now_us(self) -> int:
        """Wall clock, microseconds since 1970 UTC; for `max_ahead` and latencies only."""


class ContextStore(Protocol):
    """Context events by (stream, key, time), shared by all workers. Calls are pipelined: one round trip a call.

    Every method raises Retryable when the server is away, loading, or full.
    """

    def index(self, events: Sequence[Event], needed_us: int | None = None) -> int:
        """Stores context events, wakes the anchors they complete, and returns how many came late.

        Idempotent: the same (stream, key, id, time) is the same event, the one stored first stays. A full server gives
        up what no anchor from `needed_us` on can want, and takes what the slowest of them waits for.

        Args:
            needed_us: event time of the slowest unfinished anchor; None: there is none, and the last window of each
                key is kept.

        Raises:
            Full: some events were refused; it names them, and the others are in.
        """

    def match(self, queries: Sequence[Query]) -> list[Match]:
        """Answers each query. One that is not complete leaves a note: its token comes out of `woken()` of this
        worker once the stream has moved far enough that asking again may complete it. A `last` one leaves none."""

    def fetch(self, wanted: Sequence[tuple[str, str, Candidate]]) -> list[Record | Reference | Poison | None]:
        """Reads back the records of (stream, key, candidate); of one whose value is large, where it lies in Kafka.
        None where it is no longer kept, a Poison of stage DECODE where what is kept cannot be read."""

    def claim(self, stream: str, key: str, candidate: Candidate, token: str) -> bool:
        """True for the first token that claims this event, and for it alone, however often it asks while the event
        is kept."""

    def woken(self) -> list[str]:
        """Drains the tokens of anchors that were completed since the last call."""

    def exchange_flow(self, own: Mapping[Partition, PartitionFlow], needed_us: int | None = None) -> Flow:
        """Publishes this worker's partitions and returns everybody's; called often, it keeps alive what is needed.

        Args:
            needed_us: event time before which no anchor, unfinished or to come, wants context; None: not known, and
                then everything is needed.
        """

    def epoch(self) -> str:
        """Names what Redis holds: a new one means that it was emptied, restarted or promoted, that a part of it was
        evicted or deleted, or that nobody used it for so long that it may have expired."""

    def seen_epoch(self) -> str:
        """The epoch at the last answer of `match`, `fetch` or `exchange_flow`, or just after it; asks nothing. While it
        is the one that was entered, what was answered up to then is whole."""

    def enter(self, epoch: str) -> None:
        """From now on events, matches and flow are those of this epoch; of another's nothing is seen."""

    def lease_slot(self) -> int:
        """Takes the lowest free transactional slot for this worker."""

    def renew_slot(self) -> bool:
        """Prolongs the lease; False when another worker holds it."""

    def release_slot(self) -> None:
        """Gives the slot back at a clean stop."""

    def orphaned_slots(self) -> list[int]:
        """Slots whose lease ran out without being given back: their holders were killed, or stand still."""

    def adopt_slot(self, slot: int) -> bool:
        """Takes an orphaned slot beside one's own; True for one worker alone. `renew_slot` prolongs it as well."""

    def has_adopted(self, slot: int) -> bool:
        """True from `adopt_slot` until the slot was buried, or its lease went to another."""

    def bury_slot(self, slot: int) -> None:
        """Gives an adopted slot back, once its open transaction was ended."""


class BodyReader(Protocol):
    """Records that lie in Kafka, by their places; read beside the loop, and no call waits."""

    def want(self, references: Iterable[Reference]) -> None:
        """These are to be read, for as long as it takes."""

    def unwant(self, references: Iterable[Reference]) -> None:
        """Nobody waits for these any more; those that have been read may still arrive."""

    def arrived(self) -> Sequence[tuple[Reference, Record | Poison | None]]:
        """What was read since the last call: None where retention or a deleted topic took it, a Poison of stage DECODE
        where the broker's bytes cannot be unpacked."""

    @property
    def slow(self) -> Collection[Partition]:
        """The partitions of which nothing comes at present, though something is wanted."""


class Model(Protocol):
    """The fusion model behind the batcher."""

    @property
    def info(self) -> Mapping[str, str]:
        """name, version, device, precision."""

    @property
    def lanes(self) -> int:
        """How many batches may be in `infer` at once, each in a thread of its own."""

    def prepare(self, aligned: Aligned, begins: Callable[[str, int], None]) -> Any:
        """Decodes and tokenises one item; runs in any thread. `begins(stream, number)` is called before each body.

        Raises:
            Poison: stage DECODE; `stream` and `number` name the event whose body cannot be decoded.
        """

    def infer(self, batch: Sequence[Any]) -> list[Verdict]:
        """One verdict per prepared item, in the same order.

        Raises:
            Poison: stage MODEL, for a batch of one whose item gives no finite scores.
        """


class Health(Protocol):
    """Hears whether the loop turns and what keeps the worker from being ready."""

    def beat(self) -> None:
        """The loop has turned once more."""

    def block(self, name: str, reason: str) -> None:
        """Not ready, for this reason, until `clear(name)`."""

    def clear(self, name: str) -> None:
        """This reason is gone."""


class Log(Protocol):
    """Structured log lines."""

    def info(self, event: str, **fields: Any) -> Any:
        """Something an operator may want to know."""

    def warning(self, event: str, **fields: Any) -> Any:
        """Something an operator should look at."""

    def error(self, event: str, **fields: Any) -> Any:
        """Something that stops the worker."""


class Observer(Protocol):
    """Hears what happens; only ops/ turns it into metrics. Names and labels are those of CONTRACT section 9."""

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Adds to a counter."""

    def observe(self, name: str, value: float, /, **labels: str) -> None:
        """Adds one value to a histogram."""

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Sets a gauge."""


class Sink(Protocol):
    """Publishes records and offsets together (see worker.broker.sink)."""

    def publish(
        self, outgoing: Sequence[Outgoing], offsets: Mapping[Partition, tuple[int, str]], membership: Any
    ) -> None:
        """Raises Retryable (nothing was published) or Uncertain (nobody knows)."""

    def fence(self) -> None:
        """Returns once no earlier transaction of ours can commit any more. Raises Retryable."""

    def close(self) -> None:
        """Ends the producer."""
