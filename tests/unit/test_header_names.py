"""A header's name may be any bytes; it costs neither its record nor its reader."""

from __future__ import annotations

from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords

from worker.broker.headers import allow_any_header_name


class Raw(str):
    """A header's name that goes out as these bytes."""

    __slots__ = ()

    def encode(self, *args: str) -> bytes:  # type: ignore[override]
        """No UTF-8."""
        return b"x-\xff\xfe"


def test_names_that_are_not_utf8_are_spelt_out_and_their_neighbours_are_whole() -> None:
    """Records before and after it, its key, value and other headers are as they were sent."""
    allow_any_header_name()
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 10_000)
    for number in range(3):
        headers = [("ce_id", b"\xff"), (Raw("odd"), b"v"), ("é", None)] if number == 1 else [("ce_id", b"1")]
        builder.append(number, 1_000 + number, b"key", b"value %d" % number, headers)
    (batch,) = iter(MemoryRecords(bytes(builder.build())).next_batch, None)
    records = list(batch)
    assert [(r.offset, r.timestamp, r.key, r.value) for r in records] == [
        (n, 1_000 + n, b"key", b"value %d" % n) for n in range(3)
    ]
    assert records[0].headers == records[2].headers == [("ce_id", b"1")]
    assert records[1].headers == [("ce_id", b"\xff"), ("x-\\xff\\xfe", b"v"), ("é", None)]
