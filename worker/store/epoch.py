"""The epoch: a name for what Redis holds, which changes with every loss."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import Any

from redis.exceptions import ResponseError

from worker.errors import Retryable
from worker.store.eviction import info_of_all
from worker.store.server import Server


class Epochs(Server):
    """The epoch of ContextStore: "<random>.<keys evicted so far>-<servers>"."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._epoch = ""
        self._last_seen: str | None = None
        self._indexed_us = -1

    def epoch(self) -> str:
        """See ContextStore.epoch.

        A random value, which an emptied server has lost, and which expires before what it vouches for; the number of
        keys that the servers have evicted; and the servers' replication ids, which a restart changes and a promotion:
        a replica keeps the value but may lack the last writes.
        """
        servers = info_of_all(self._client, "replication", "stats")
        evicted = str(sum(int(each.get("evicted_keys", 0)) for each in servers))
        kept = self._found(evicted)
        if kept.rpartition(".")[2] != evicted:
            self._call("fusion_release", self._epoch_key, kept)
            kept = self._found(evicted)
        replicas = "".join(sorted(str(each["master_replid"]) for each in servers))
        self._last_seen = kept + "-" + hashlib.blake2b(replicas.encode(), digest_size=4).hexdigest()
        return self._last_seen

    def _found(self, evicted: str) -> str:
        value = f"{secrets.token_hex(8)}.{evicted}"
        found: bytes = self._call("fusion_epoch", self._epoch_key, value, self._lifetime.epoch_ms)
        return found.decode()

    def enter(self, epoch: str) -> None:
        """See ContextStore.enter."""
        self._epoch, self._indexed_us = epoch, -1

    def _prolong(self) -> None:
        """The epoch lives on, unless it has ended."""
        self._call("fusion_prolong", self._epoch_key, self._epoch.rpartition("-")[0], self._lifetime.epoch_ms)

    def _execute(self, fill: Callable[[Any], None]) -> list[Any]:
        """As Server's. A key of which a part is gone ends the epoch: nothing is answered from what is left of it.

        Raises:
            Retryable: that was so.
        """
        answers = super()._execute(fill)
        if any(isinstance(answer, ResponseError) and str(answer).startswith("PARTS") for answer in answers):
            self._end_epoch()
        return answers

    def _end_epoch(self) -> None:
        super()._execute(
            lambda pipe: pipe.fcall(
                self._named("fusion_release"), 1, self._epoch_key, self._epoch.rpartition("-")[0]
            )
        )  # fmt: skip
        raise Retryable("Redis lost a part of a key (evicted or deleted?); context is read again")

    @property
    def _epoch_key(self) -> str:
        return f"{self._prefix}:epoch"
