"""A key or an id -> the place of the newest anchor that it names, by what was published of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from schemas import names
from worker.broker.log import LogReader
from worker.errors import ConfigError
from worker.records import Partition, Record
from worker.strict_json import read_json

# Of each partition the newest: a second's reading, and more than what a person looks for has grown old by.
LAST_RECORDS = 2_000
_Place = tuple[Partition, int]


def find_anchor(log: LogReader, wanted: str, stream: str, anchors: str, topics: tuple[str, str]) -> _Place:
    """The anchor whose result has this id, else whose own id it is, else the newest of this key.

    Args:
        stream, anchors: the anchors' stream, and its topic: a dead letter may be of another one's event.
        topics: of the results and of the dead letters; in the latter is looked when the former have none.

    Raises:
        ConfigError: neither is among the newest LAST_RECORDS of each partition.
    """
    read = 0
    for topic, told in zip(topics, (_of_result, _of_dead_letter), strict=True):
        found: list[tuple[int, int, _Place]] = []
        for record in _newest(log, topic):
            read += 1
            place, ids = told(record, stream) or (None, ())
            if place is not None and place[0].topic == anchors and (weight := _weight(wanted, record, ids)):
                found.append((weight, record.timestamp_ms, place))
        if found:
            return max(found)[2]
    raise ConfigError(
        f"{wanted!r}: no key and no id of the newest {LAST_RECORDS} results and dead letters of each partition "
        f"({read} read of {topics[0]} and {topics[1]}); give the anchor's TOPIC/PARTITION/OFFSET"
    )


def _newest(log: LogReader, topic: str) -> Iterator[Record]:
    for partition, (first, end) in log.bounds(topic).items():
        yield from log.records(partition, max(first, end - LAST_RECORDS), end)


def _weight(wanted: str, record: Record, ids: tuple[str, ...]) -> int:
    if wanted in ids:
        return 3 - ids.index(wanted)
    return int((record.key or b"").decode(errors="replace") == wanted)


def _of_result(record: Record, stream: str) -> tuple[_Place, tuple[str, ...]] | None:
    """The anchor's place, the result's id and the anchor's; None: it is no result of ours."""
    with suppress(ValueError, KeyError, TypeError):
        body = read_json(record.value or b"")
        anchor = body["inputs"][stream]
        place = Partition(str(anchor["topic"]), int(anchor["partition"])), int(anchor["offset"])
        return place, (str(body["id"]), str(anchor["id"]))
    return None


def _of_dead_letter(record: Record, stream: str) -> tuple[_Place, tuple[str, ...]] | None:
    headers = {name.lower(): (value or b"").decode(errors="replace") for name, value in record.headers}
    with suppress(ValueError, KeyError):
        place = Partition(headers[names.ERRORS_TOPIC], int(headers[names.ERRORS_PARTITION]))
        own_id = headers.get(names.CE_ID)
        return (place, int(headers[names.ERRORS_OFFSET])), (own_id,) if own_id else ()
    return None
