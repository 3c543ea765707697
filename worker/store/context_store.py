"""The ContextStore on a real server: events, flow, epoch and slots, shared by all workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from worker.ports import Observer
from worker.records import MatchRule
from worker.store.client import connect
from worker.store.codec import INLINE_BYTES
from worker.store.eviction import refuse_eviction
from worker.store.flow import Flows
from worker.store.forget import Forgetting
from worker.store.index import Events
from worker.store.match import Questions
from worker.store.slots import Slots


class RedisContextStore(Events, Questions, Flows, Slots, Forgetting):
    """worker.ports.ContextStore on Redis 7+ or Valkey 7+; each role in a file of its own, and beside it its Lua."""

    @classmethod
    def connect(
        cls,
        options: Mapping[str, Any],
        namespace: str,
        worker_id: str,
        rules: Mapping[str, MatchRule],
        bounds: Mapping[str, tuple[int, int]],
        observer: Observer,
        inline_bytes: int = INLINE_BYTES,
    ) -> Self:
        """A store on the server of the `[redis]` section. Of a value over `inline_bytes` it keeps a reference.

        Raises:
            Retryable: the server does not answer.
            Unreachable: it refuses the credentials.
        """
        return cls(connect(options), namespace, worker_id, rules, bounds, observer, inline_bytes)

    def refuse_eviction(self) -> str | None:
        """See worker.store.eviction."""
        return refuse_eviction(self._client)
