"""What a sink's frame asks of a destination, and the results that it hands over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worker.errors import Poison, Retryable
from worker.records import Partition, Record, Stage
from worker.strict_json import read_json

REFUSED = "refused"


class Busy(Retryable):
    """The destination asks for a pause.

    Attributes:
        after_seconds: as long as it says.
    """

    def __init__(self, message: str, after_seconds: float) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


@dataclass(frozen=True, slots=True)
class Item:
    """One result.

    Attributes:
        value: as it is in Kafka.
        result: the same, read; it has `id`, `key`, `time` and `label`, and what else schema `result.v1` says.
    """

    record: Record
    value: bytes
    result: dict[str, Any]

    @property
    def id(self) -> str:
        """The same in any run: what a destination knows a result by."""
        return str(self.result["id"])

    @property
    def key(self) -> str:
        """The anchor's."""
        return str(self.result["key"])

    @property
    def time(self) -> datetime:
        """The anchor's.

        Raises:
            Poison: it cannot be read.
        """
        try:
            return datetime.fromisoformat(self.result["time"])
        except ValueError as error:
            raise refused(f"the result's time {self.result['time']!r} is no RFC 3339") from error

    @property
    def model(self) -> dict[str, Any]:
        """What it says of the model; empty: nothing."""
        found = self.result.get("model")
        return found if isinstance(found, dict) else {}


class Destination:
    """Takes results. Used by one thread; every call ends in bounded time.

    A result may come more than once, after a crash or a try that failed half way: it has the same id then, and of one
    key the order is kept, so that what came last is the newest.
    """

    def open(self) -> None:
        """Reaches it.

        Raises:
            Retryable: it is away.
            Fatal: it refuses the credentials, or is none of this kind.
        """

    def deliver(self, items: Sequence[Item]) -> None:
        """Returns once the destination has acknowledged all of them.

        Raises:
            Retryable: it is away or busy; all of them will be handed over again.
            Poison: it refuses some of them for good; of one alone it is that one.
            Fatal: it refuses the credentials.
        """
        raise Retryable("a destination takes nothing by itself")

    def begins(self, partition: Partition, offset: int) -> None:
        """From now on this process delivers the partition; all before `offset` was delivered and committed."""

    def committed(self, offsets: dict[Partition, int]) -> None:
        """Kafka has these offsets: what was delivered before them will not come again."""

    def close(self) -> None:
        """Ends it; nothing that was acknowledged is lost."""


def item_of(record: Record) -> Item:
    """A record of the results' topic, read.

    Raises:
        Poison: it is no result.
    """
    value = record.value or b""
    try:
        found = read_json(value)
    except ValueError as error:
        raise Poison(Stage.VALIDATE, "not_a_result", f"the record is no JSON ({error}); a result is") from error
    wanted = ("id", "key", "time", "label")
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) and found[name] for name in wanted):
        told = f"the record is no result: it needs the texts {', '.join(wanted)}"
        raise Poison(Stage.VALIDATE, "not_a_result", told)
    return Item(record, value, found)


def refused(message: str) -> Poison:
    """What a destination raises where it never takes an item."""
    return Poison(Stage.PUBLISH, REFUSED, message)
