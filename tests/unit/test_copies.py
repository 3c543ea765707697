"""Fetched bytes are copied little, and what comes out is what kafka-python alone would give."""

from __future__ import annotations

import socket
import tracemalloc

from kafka.net.transport import KafkaTCPTransport
from kafka.protocol.consumer import FetchRequest, FetchResponse
from kafka.protocol.parser import KafkaProtocol
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords

from worker.broker.copies import RECEIVE_BYTES, copy_less

BODY = b"\xff\xd8" + b"body" * 250_000


class Raw(str):
    """A header's name that goes out as these bytes."""

    __slots__ = ()

    def encode(self, *args: str) -> bytes:  # type: ignore[override]
        """No UTF-8."""
        return b"x-\xff\xfe"


def packed(*records: tuple[bytes | None, list[tuple[str, bytes | None]]]) -> bytes:
    """A batch as a producer packs it: values with headers."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 24)
    for number, (value, headers) in enumerate(records):
        builder.append(number, 1_000 + number, b"key", value, headers)
    return bytes(builder.build())


def test_names_that_are_not_utf8_are_spelt_out_and_their_neighbours_are_whole() -> None:
    """Records before and after it, its key, value and other headers are as they were sent."""
    copy_less()
    odd = [("ce_id", b"\xff"), (Raw("odd"), b"v"), ("é", None)]
    packs = packed((b"0", [("ce_id", b"1")]), (None, odd), (b"2", []))
    (batch,) = iter(MemoryRecords(packs).next_batch, None)
    records = list(batch)
    assert [(r.offset, r.timestamp, r.key, r.value) for r in records] == [
        (0, 1_000, b"key", b"0"), (1, 1_001, b"key", None), (2, 1_002, b"key", b"2"),
    ]  # fmt: skip
    assert [r.headers for r in records] == [
        [("ce_id", b"1")], [("ce_id", b"\xff"), ("x-\\xff\\xfe", b"v"), ("é", None)], [],
    ]  # fmt: skip


def test_a_socket_gives_much_at_once() -> None:
    """The client's transport asks for 4 KiB; an answer comes in few pieces all the same, and whole."""
    copy_less()
    here, there = socket.socketpair()
    with here, there:
        there.setblocking(False)
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, RECEIVE_BYTES)
        sent = here.send(BODY[: RECEIVE_BYTES // 4])
        transport = KafkaTCPTransport(None, there)
        assert (transport._sock.recv(1), transport._sock_recv()[1]) == (BODY[:sent], None)


def test_an_answer_is_held_twice_and_no_more() -> None:
    """Ten megabytes on the way from the socket to values: the answer itself, its records, and each value once."""
    copy_less()
    records = packed(*[(BODY, [])] * 10)
    topic = FetchResponse.FetchableTopicResponse
    part = topic.PartitionData(version=12, partition_index=0, error_code=0, high_watermark=10, records=records)
    told = FetchResponse(version=12, responses=[topic(version=12, topic="frames", partitions=[part])])
    told.with_header(correlation_id=1)
    answer = told.encode(framed=True, header=True)
    protocol = KafkaProtocol(client_id="c")
    protocol.send_request(FetchRequest(version=12, max_wait_ms=1, min_bytes=1, topics=[]))
    tracemalloc.start()
    try:
        ((_, response),) = protocol.receive_bytes(answer)
        _, received = tracemalloc.get_traced_memory()
        batch = MemoryRecords(response.responses[0].partitions[0].records).next_batch()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        assert batch.validate_crc()
        assert next(batch).value == BODY
        _, taken = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert received < 2.1 * len(answer)
    assert taken - before < 1.1 * len(BODY)
