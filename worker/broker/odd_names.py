"""Header names that are no UTF-8, which confluent-kafka cannot give: kafka-python reads these records again."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from worker.broker.places import Places
from worker.errors import Poison, Retryable
from worker.records import Partition, Record, Reference

Headers = tuple[tuple[str, bytes | None], ...]
Spelt = Mapping[tuple[Partition, int], Headers]


# confluent-kafka 2.16 gives a list with a hole in it and leaves its UnicodeDecodeError pending. Calls that the
# interpreter has specialised do not look for that; those of a `methodcaller` do, and raise SystemError. Asked a second
# time for the same message it gives the list alone, and whoever looks at that ends the process.
_headers = operator.methodcaller("headers")


def headers_of(message: Any) -> Headers | None:
    """None where a name is odd. To be asked once for each message."""
    try:
        return tuple(_headers(message) or ())
    except SystemError:
        return None


def spelt(places: Places, odd: Any, rest: Sequence[Any]) -> Spelt:
    """The headers of a message of which they cannot be had, and of those behind it, by their partitions and offsets.

    Raises:
        Retryable: they did not come.
    """
    found: dict[tuple[Partition, int], Headers] = {}
    runs: dict[Partition, list[Reference]] = {}
    for message in [odd, *(one for one in rest if one.error() is None)]:
        partition, offset = Partition(message.topic(), message.partition()), message.offset()
        headers = None if message is odd else headers_of(message)
        if headers is None:
            size = len(message.value() or b"")
            runs.setdefault(partition, []).append(Reference(partition, offset, size))
        else:
            found[partition, offset] = headers

    def deliver(one: Reference, body: Record | Poison | None) -> None:
        if isinstance(body, Record):
            found[one.partition, one.offset] = body.headers

    for run in runs.values():
        places.read(run, deliver, lambda: False)
    if not all((one.partition, one.offset) in found for run in runs.values() for one in run):
        raise Retryable("Kafka: records whose headers have odd names do not come")
    return found
