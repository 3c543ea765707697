"""A record as it is produced, and what must become of it."""

from __future__ import annotations

import enum
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from tests.story import Fed, headers_of
from tests.unit.incoming import JPEG

# Large enough that frames are most of what Redis holds; what follows a JPEG's end marker nobody reads.
FRAME = JPEG + bytes(6_000)
_1970 = datetime(1970, 1, 1, tzinfo=UTC)


class Must(enum.Enum):
    """What an event comes to."""

    PAIR = "a result with the oracle's frame"
    OUTCOME = "one outcome, whichever"
    REFUSE = "one dead letter"
    SERVE = "no dead letter: a context event that anchors may match"


@dataclass(frozen=True)
class Told:
    """One record of a story.

    Attributes:
        at_us: when it is produced, by a right clock.
        event: what the oracle hears of it; None: nothing, it can be nobody's match.
        partition: where it lies, whatever number of partitions its topic has by then.
    """

    at_us: int
    name: str
    stream: str
    must: Must
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    event: Fed | None = None
    partition: int | None = None
    codec: str | None = None

    def but(self, must: Must, **changes: object) -> Told:
        """The same with another end."""
        return replace(self, must=must, **changes)  # type: ignore[arg-type]

    def with_header(self, name: str, value: bytes) -> Told:
        """The same with another value of a header."""
        return replace(self, headers=tuple((n, value if n == name else v) for n, v in self.headers))


def text(at_us: int, key: str, name: str, clock_us: int | None = None) -> Told:
    """A text as a good source sends it; `clock_us`: what its clock says, where it is wrong."""
    return _told(Fed(clock_us if clock_us is not None else at_us, "texts", key, name, f"report {name}".encode()), at_us)


def frame(at_us: int, key: str, name: str, clock_us: int | None = None) -> Told:
    """A frame as a good camera sends it."""
    return _told(Fed(clock_us if clock_us is not None else at_us, "frames", key, name, FRAME + name.encode()), at_us)


def _told(event: Fed, at_us: int) -> Told:
    must = Must.PAIR if event.stream == "texts" else Must.SERVE
    made = Told(at_us, event.id, event.stream, must, event.key.encode(), event.body, tuple(headers_of(event)), event)
    return made.with_header("ce_time", rfc3339(event.time_us))


def rfc3339(time_us: int) -> bytes:
    """Also of times that `datetime.fromtimestamp` does not take."""
    return (_1970 + timedelta(microseconds=time_us)).isoformat().replace("+00:00", "Z").encode()


def pinned(record: Told, partitions: int) -> Told:
    """On the partition of its key for as long as the story lasts, though its topic may grow."""
    if record.partition is not None:
        return record
    return replace(record, partition=zlib.crc32(record.key or record.name.encode()) % partitions)


def in_order(records: Sequence[Told], lead_us: int) -> list[Told]:
    """As they are produced: frames come `lead_us` ahead of the texts, so that all that a text can match lies in Kafka
    when it is read: its match then rests on no wait."""
    return sorted(records, key=lambda r: (r.at_us - (lead_us if r.stream == "frames" else 0), r.at_us, r.name))
