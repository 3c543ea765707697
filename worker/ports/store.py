"""What all workers share: context events, everybody's flow, the epoch that vouches for both, and slots.

Calls are pipelined: one round trip a call. Every one raises Retryable when the server is away, loading, or full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from worker.errors import Poison
from worker.flows import Flow, PartitionFlow
from worker.records import Candidate, Event, Match, Partition, Query, Record, Reference


class Index(Protocol):
    """Context events by (stream, key, time), and the anchors that wait for them."""

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

    def woken(self) -> list[str]:
        """Drains the tokens of anchors that were completed since the last call."""

    def fetch(self, wanted: Sequence[tuple[str, str, Candidate]]) -> list[Record | Reference | Poison | None]:
        """Reads back the records of (stream, key, candidate); of one whose value is large, where it lies in Kafka.
        None where it is no longer kept, a Poison of stage DECODE where what is kept cannot be read."""

    def claim(self, stream: str, key: str, candidate: Candidate, token: str) -> bool:
        """True for the first token that claims this event, and for it alone, however often it asks while the event
        is kept."""


class FlowExchange(Protocol):
    """How far everybody has read."""

    def exchange_flow(self, own: Mapping[Partition, PartitionFlow], needed_us: int | None = None) -> Flow:
        """Publishes this worker's partitions and returns everybody's; called often, it keeps alive what is needed.

        Args:
            needed_us: event time before which no anchor, unfinished or to come, wants context; None: not known, and
                then everything is needed.
        """


class Epoch(Protocol):
    """A name for what Redis holds, which changes with every loss."""

    def epoch(self) -> str:
        """Names what Redis holds: a new one means that it was emptied, restarted or promoted, that a part of it was
        evicted or deleted, or that nobody used it for so long that it may have expired."""

    def seen_epoch(self) -> str:
        """The epoch at the last answer of `match`, `fetch` or `exchange_flow`, or just after it; asks nothing. While it
        is the one that was entered, what was answered up to then is whole."""

    def enter(self, epoch: str) -> None:
        """From now on events, matches and flow are those of this epoch; of another's nothing is seen."""


class Slots(Protocol):
    """Transactional slots, the lowest free numbers, leased for a short time."""

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


class ContextStore(Index, FlowExchange, Epoch, Slots, Protocol):
    """All of them on one server."""
