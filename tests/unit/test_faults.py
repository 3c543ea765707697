"""Whatever a poll raises is told and bounded, and no record that it had in hand is passed over."""

from __future__ import annotations

import contextlib
import struct
import time
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.errors import KafkaConnectionError, KafkaError, UnknownError
from kafka.net.selector import NetworkSelector
from kafka.net.transport import KafkaTCPTransport

from worker.broker import faults
from worker.broker.faults import Polls, called
from worker.errors import Fatal, FusionError, Retryable

PLACE = TopicPartition("frames", 0)
ERRORS = [
    KeyError("x"),
    AssertionError(),
    struct.error("short"),
    IndexError(),
    AttributeError("offset"),
    UnknownError("x"),
]


class Client:
    """A log of ten records; some polls fail after the position has moved on, as kafka-python's do."""

    def __init__(self, errors: list[Exception | None]) -> None:
        self.errors = errors
        self._subscription = SimpleNamespace(assignment={PLACE: SimpleNamespace(position=SimpleNamespace(offset=0))})

    @property
    def _state(self) -> Any:
        return self._subscription.assignment[PLACE]

    def seek(self, place: TopicPartition, offset: int) -> None:
        self._state.position = SimpleNamespace(offset=offset)

    def poll(self, timeout_ms: int) -> list[int]:
        at = self._state.position.offset
        self._state.position = SimpleNamespace(offset=min(10, at + 3))
        if self.errors and (error := self.errors.pop(0)):
            raise error
        return list(range(at, min(10, at + 3)))


@settings(deadline=None)
@given(st.lists(st.sampled_from([None, *ERRORS]), max_size=20))
def test_every_record_comes_once_whatever_fails_between(errors: list[Exception | None]) -> None:
    """In order, none twice, none passed over."""
    polls, read = Polls(Client(list(errors))), []
    for _ in range(len(errors) + 4):
        with contextlib.suppress(Retryable):
            read += polls.poll(0)
    assert read == list(range(10))


def test_an_error_that_stays_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new start has a new client."""
    monkeypatch.setattr(faults, "STUMBLING_SECONDS", 0.05)
    polls, told = Polls(Client([struct.error("unpack requires 4 bytes")] * 1000)), None
    while not isinstance(told, Fatal):
        with pytest.raises(FusionError, match="Kafka's client fails: error: unpack requires 4 bytes") as raised:
            polls.poll(0.01)
        told = raised.value
    assert len(polls._consumer.errors) > 900
    assert "for 0.05 s already" in str(told)


def test_a_poll_that_fails_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that repeats it would turn at full speed."""
    began = time.monotonic()
    with pytest.raises(Retryable):
        Polls(Client([KafkaError("away")])).poll(0.05)
    assert time.monotonic() - began >= 0.05


def test_a_partition_without_a_leader_is_no_end_of_the_process() -> None:
    """kafka-python looks its answer up where there is none."""

    def beginning_offsets() -> None:
        raise KeyError(PLACE)

    with pytest.raises(Retryable, match=r"no answer about .*frames.*; has that partition a leader"):
        called(beginning_offsets)


def test_a_slow_step_of_the_client_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever waits for the processor is slow by the wall."""
    net = NetworkSelector()

    async def slow() -> None:
        time.sleep(0.15)

    net.call_soon(slow())
    net.poll(timeout_ms=10)
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.parametrize("closed", [True, False])
def test_a_closed_connection_without_a_socket_is_no_error(closed: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The client reads once more after it has closed; an open one without a socket would be worth a line."""
    transport = KafkaTCPTransport(None, None)
    transport._closed = closed
    data, error = transport._sock_recv()
    assert (data, type(error)) == (b"", KafkaConnectionError)
    assert len(caplog.records) == (0 if closed else 1)
