"""The outlet of live feeds: bounded, in order, and no event leaves it without being counted."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from tests.prometheus_tools import wait_until
from worker.errors import Retryable, TooLarge, Unreachable
from worker.feeds.outlet import LiveEvent, Outlet
from worker.ops.health import Health
from worker.ops.metrics import PrometheusObserver
from worker.records import Outgoing


class Broker:
    """Takes records while `up` is set, and fails with `error` if there is one."""

    def __init__(self) -> None:
        self.up, self.asked = threading.Event(), threading.Event()
        self.up.set()
        self.error: Exception | None = None
        self.got: list[Outgoing] = []

    def publish(self, records: Sequence[Outgoing]) -> None:
        self.asked.set()
        assert self.up.wait(30)
        if self.error is not None:
            raise self.error
        for place, record in enumerate(records):
            if record.value is not None and len(record.value) > 500:
                raise TooLarge("too large", (place,))
        self.got += records

    def ids(self) -> list[str]:
        return [dict(record.headers)["ce_id"].decode() for record in self.got]  # type: ignore[union-attr]


class Lines:
    """A log that keeps its events."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def info(self, event: str, **_: Any) -> None:
        self.said.append(event)

    warning = error = info


def event(number: int, body: bytes = b"x" * 100, **attributes: str) -> LiveEvent:
    """An event whose id is its number."""
    return LiveEvent(
        "frames", "cameras", "k", str(number), "/cam", "camera.frame", 1_000_000, "image/jpeg", body, attributes
    )


def outlet_of(broker: Broker, log: Lines, health: Health, now: list[float]) -> tuple[Outlet, PrometheusObserver]:
    """An outlet with room for ten bodies."""
    observer = PrometheusObserver()
    return Outlet(broker.publish, observer, health, log, buffer_bytes=1000, monotonic=lambda: now[0]), observer


def total(observer: PrometheusObserver, name: str, **labels: str) -> float:
    return observer.registry.get_sample_value(f"fusion_{name}", labels) or 0.0


def test_a_record_is_a_cloud_event() -> None:
    """Id, time and the extension attributes stand in the headers; a name that CloudEvents forbids is refused."""
    record = event(7, clock="arrival", clockerrorms="12").record()
    assert dict(record.headers) == {
        "ce_specversion": b"1.0", "ce_id": b"7", "ce_source": b"/cam", "ce_type": b"camera.frame",
        "ce_time": b"1970-01-01T00:00:01.000000Z", "content-type": b"image/jpeg", "ce_clock": b"arrival",
        "ce_clockerrorms": b"12",
    }  # fmt: skip
    for name in ("clock_error", "Clock", "id", ""):
        with pytest.raises(ValueError, match="lower-case letters and digits"):
            event(7, **{name: "1"}).record()


def test_without_kafka_the_oldest_go_and_are_counted() -> None:
    """What a live source sends past the bound costs the oldest events, told once; the rest comes in order."""
    broker, log, health, now = Broker(), Lines(), Health(), [0.0]
    broker.up.clear()
    outlet, observer = outlet_of(broker, log, health, now)
    outlet.put(event(0))
    assert broker.asked.wait(10)
    now[0] = 3.0
    for number in range(1, 16):
        outlet.put(event(number))
    assert outlet.buffered_bytes() == 1000
    assert outlet.behind_seconds() == 3.0
    assert [line for line in log.said if "slow" in line] == ["Kafka is slow or away"]
    assert health.reasons()
    broker.up.set()
    wait_until(lambda: not outlet.buffered_bytes(), 10, "all is sent")
    assert broker.ids() == ["0", *map(str, range(7, 16))]
    assert total(observer, "feed_dropped_total", stream="frames", reason="buffer_full") == 6
    assert total(observer, "feed_sent_total", stream="frames") == 10
    assert log.said[-1] == "Kafka takes events again"
    assert not health.reasons()
    assert outlet.close(5) == 0


def test_a_file_waits_and_loses_nothing() -> None:
    """With `wait` the source stands still at the bound until there is room."""
    broker, log, now = Broker(), Lines(), [0.0]
    broker.up.clear()
    outlet, observer = outlet_of(broker, log, Health(), now)
    source = threading.Thread(target=lambda: [outlet.put(event(n), wait=True) for n in range(40)])
    source.start()
    wait_until(lambda: outlet.buffered_bytes() == 1000, 10, "the buffer is full")
    broker.up.set()
    source.join(10)
    assert outlet.close(10) == 0
    assert broker.ids() == [str(n) for n in range(40)]
    assert total(observer, "feed_dropped_total", stream="frames", reason="buffer_full") == 0


def test_a_failure_is_repeated_and_what_is_too_large_goes_alone() -> None:
    """Retryable: the same batch again. Too large: that event alone is dropped and counted."""
    broker, log, now = Broker(), Lines(), [0.0]
    broker.error = Retryable("no leader")
    outlet, observer = outlet_of(broker, log, Health(), now)
    outlet.put(event(1))
    outlet.put(event(2, b"y" * 600))
    outlet.put(event(3))
    wait_until(lambda: "not published; tried again" in log.said, 10, "a failure")
    broker.error = None
    assert outlet.close(10) == 0
    assert [one for one in broker.ids() if one != "2"] == broker.ids()
    assert broker.ids()[-1] == "3"
    assert total(observer, "feed_dropped_total", stream="frames", reason="too_large") == 1


def test_what_kafka_does_not_take_at_the_end_is_counted() -> None:
    """`close` gives up after its time and says how many events are left."""
    broker, log, now = Broker(), Lines(), [0.0]
    broker.up.clear()
    outlet, observer = outlet_of(broker, log, Health(), now)
    for number in range(5):
        outlet.put(event(number))
    assert outlet.close(0.1) == 5
    assert total(observer, "feed_dropped_total", stream="frames", reason="stopped") == 5
    broker.up.set()


def test_missing_rights_end_the_source() -> None:
    """What repeating cannot help is raised where events come in."""
    broker, log, now = Broker(), Lines(), [0.0]
    broker.error = Unreachable("Kafka refuses access")
    outlet, _ = outlet_of(broker, log, Health(), now)
    outlet.put(event(1))
    wait_until(lambda: outlet.failed, 10, "the refusal")
    with pytest.raises(Unreachable, match="refuses access"):
        outlet.put(event(2))
    assert outlet.close(1) == 1


def test_what_is_sent_again_is_not_dropped_for_room_and_is_settled_once() -> None:
    """It is told after Kafka's acknowledgement, or when it is too large; the others go."""
    broker, log = Broker(), Lines()
    outlet, observer = outlet_of(broker, log, Health(), [0.0])
    settled: list[int] = []
    broker.up.clear()
    outlet.put(event(0), settled=lambda: settled.append(0))
    assert broker.asked.wait(30)
    for number in range(1, 30):
        again = (lambda n=number: settled.append(n)) if number % 2 else None  # type: ignore[misc]
        outlet.put(event(number), settled=again)
    outlet.put(event(30, b"x" * 600), settled=lambda: settled.append(30))
    assert settled == []
    broker.up.set()
    assert outlet.close(30) == 0
    odd = [number for number in range(30) if number % 2]
    assert sorted(settled) == [0, *odd, 30]
    assert set(map(str, [0, *odd])) <= set(broker.ids())
    assert total(observer, "feed_dropped_total", stream="frames", reason="buffer_full") == 14
