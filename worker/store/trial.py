"""A server and a user -> whether a worker may do there what it does: load its functions, call them on its own keys."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from worker.ports import Clock
from worker.records import Candidate, Event, MatchRule, Query, Record, value
from worker.store.context_store import RedisContextStore
from worker.store.eviction import info_of_all, refuse_eviction

# A part of the group's own namespace, so that the same rights hold for it; its keys expire.
_PART = "check"
_STREAM = "check"


class _Unheard:
    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Nobody listens."""

    def observe(self, name: str, value: float, /, *, trace: str | None = None, **labels: str) -> None:
        """Nobody listens."""

    gauge = count


@value
class Tried:
    """What a server told.

    Attributes:
        memory: INFO's section of each server of a cluster, or of the one.
        ahead_us: how far its clock is ahead of this machine's, in microseconds, give or take `unsure_us`.
    """

    version: str
    memory: Sequence[Mapping[str, Any]]
    ahead_us: int
    unsure_us: int


def try_out(options: Mapping[str, Any], group_id: str, clock: Clock) -> Tried:
    """Does once all that a worker does, in a part of the group's namespace that no worker looks at.

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
        refuse_eviction(store._client)
        store.enter(store.epoch())
        key = uuid.uuid4().hex  # one that is there already would be left as it is, and show fewer rights
        event = Event(_STREAM, key, "e", _PART, 1, "text/plain", b"", Record(_STREAM, 0, 0, 0, b"k", b"", ()))
        wanted = Candidate(event.time_us, event.id)
        store.match([Query(_STREAM, key, event.time_us, "check/0/0", False)])
        store.index([event])
        store.fetch([(_STREAM, key, wanted)])
        store.claim(_STREAM, key, wanted, "check/0/0")
        store.woken()
        store.hold_form()
        store.exchange_flow({})
        store.lease_slot()
        store.orphaned_slots()
        store.release_slot()
        return _told(store._client, clock)
    finally:
        store.close()


def _told(client: Any, clock: Clock) -> Tried:
    asked_us = clock.now_us()
    server = info_of_all(client, "server")[0]
    answered_us = clock.now_us()
    here_us = (asked_us + answered_us) // 2
    ahead_us = int(server.get("server_time_usec", here_us)) - here_us
    return Tried(
        str(server.get("redis_version", "unknown")), info_of_all(client, "memory"), ahead_us, answered_us - here_us
    )
