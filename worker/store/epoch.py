"""The epoch: a name for what Redis holds, which changes with every loss."""

from __future__ import annotations

import hashlib
import secrets

from worker.errors import Retryable
from worker.store.client import translated
from worker.store.server import Server


class Epochs(Server):
    """The epoch of ContextStore."""

    def epoch(self) -> str:
        """See ContextStore.epoch.

        A random value, which an emptied server has lost, and the servers' replication ids, which a restart changes and
        a promotion: a replica keeps the value but may lack the last writes.
        """
        name = f"{self._prefix}:epoch"
        with translated():
            found = self._client.get(name)
            if found is None:
                self._client.set(name, secrets.token_hex(8), nx=True)
                found = self._client.get(name)
            told = self._client.info("replication", **self._everywhere)
        if found is None:
            raise Retryable("Redis: the epoch was not kept")
        servers = sorted(each["master_replid"] for each in (told.values() if self._everywhere else [told]))
        kept: str = found.decode()
        return kept + "-" + hashlib.blake2b("".join(servers).encode(), digest_size=4).hexdigest()

    def enter(self, epoch: str) -> None:
        """See ContextStore.enter."""
        self._epoch = epoch
