"""A server and a user -> whether a worker may do there what it does: load its functions, call them on its own keys."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from worker.records import Candidate, Event, MatchRule, Query, Record
from worker.store.context_store import RedisContextStore
from worker.store.eviction import refuse_eviction

# A part of the group's own namespace, so that the same rights hold for it; its keys expire.
_PART = "check"
_STREAM = "check"


class _Unheard:
    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Nobody listens."""

    def observe(self, name: str, value: float, /, *, trace: str | None = None, **labels: str) -> None:
        """Nobody listens."""

    gauge = count


def try_out(options: Mapping[str, Any], group_id: str) -> tuple[str, str | None]:
    """Does once all that a worker does, in a part of the group's namespace that no worker looks at.

    Returns:
        The server's version, and what is to be known of its eviction policy.

    Raises:
        Retryable: the server does not answer.
        NoRoom: it takes no more.
        Unreachable: it refuses the password, or a right.
        ConfigError: it evicts.
    """
    rule = MatchRule(
        stream=_STREAM, mode="nearest", before_us=1, after_us=1, lateness_us=0, limit=1, max_wait_us=0,
        horizon_us=1_000_000, required=False,
    )  # fmt: skip
    store = RedisContextStore.connect(
        options, f"{group_id}:{_PART}", _PART, {_STREAM: rule}, {_STREAM: (16, 2**16)}, _Unheard()
    )
    try:
        unsure = refuse_eviction(store._client)
        store.enter(store.epoch())
        key = uuid.uuid4().hex  # one that is there already would be left as it is, and show fewer rights
        event = Event(_STREAM, key, "e", _PART, 1, "text/plain", b"", Record(_STREAM, 0, 0, 0, b"k", b"", ()))
        wanted = Candidate(event.time_us, event.id)
        store.match([Query(_STREAM, key, event.time_us, "check/0/0", False)])
        store.index([event])
        store.fetch([(_STREAM, key, wanted)])
        store.claim(_STREAM, key, wanted, "check/0/0")
        store.woken()
        store.exchange_flow({})
        store.lease_slot()
        store.orphaned_slots()
        store.release_slot()
        return str(store._client.info("server").get("redis_version", "unknown")), unsure
    finally:
        store.close()
