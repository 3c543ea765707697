"""The epoch: a name for what Redis holds, which changes with every loss."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import ResponseError

from worker.errors import Retryable
from worker.store.server import Server

# Names of keys that are remembered at once, about 8 MB; with fewer the names of a busy pool are made again and again.
MOST_NAMES = 10_000


class Epochs(Server):
    """The epoch of ContextStore: "<random>.<keys evicted so far>-<servers>"."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._epoch = self._seen = ""
        self._indexed_us = -1
        self._names: dict[tuple[str, str], tuple[bytes, ...]] = {}

    def epoch(self) -> str:
        """See ContextStore.epoch.

        A random value, which an emptied server has lost, and which expires before what it vouches for; the number of
        keys that the servers have evicted; and the servers' replication ids, which a restart changes and a promotion:
        a replica keeps the value but may lack the last writes.
        """
        _, evicted, servers = _told(self._answers(self._watch))
        kept = self._found(evicted)
        if kept.rpartition(".")[2] != evicted:
            self._call("fusion_release", self._epoch_key, kept)
            kept = self._found(evicted)
        self._seen = f"{kept}-{servers}"
        return self._seen

    def seen_epoch(self) -> str:
        """See ContextStore.seen_epoch."""
        return self._seen

    def _found(self, evicted: str) -> str:
        value = f"{secrets.token_hex(8)}.{evicted}"
        found: bytes = self._call("fusion_epoch", self._epoch_key, value, self._lifetime.epoch_ms)
        return found.decode()

    def enter(self, epoch: str) -> None:
        """See ContextStore.enter."""
        self._epoch = self._seen = epoch
        self._indexed_us = -1
        self._names.clear()

    def _keys(self, stream: str, key: str) -> tuple[bytes, ...]:
        """The names of the parts of an entity."""
        if (names := self._names.get((stream, key))) is None:
            tag = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
            stem = f"{self._prefix}:{self._epoch}:{{{tag}}}:{stream}:"
            if len(self._names) >= MOST_NAMES:
                self._names.clear()
            names = self._names[stream, key] = tuple(f"{stem}{part}".encode() for part in "zpmqc")
        return names

    def _prolong(self) -> None:
        """The epoch lives on, unless it has ended."""
        self._call("fusion_prolong", self._epoch_key, self._epoch.rpartition("-")[0], self._lifetime.epoch_ms)

    def _watched(self, fill: Callable[[Any], Any]) -> list[Any]:
        """As `_answers`, and in the same pipeline after it the epoch is seen: what a decision rests on was answered
        while `seen_epoch` was in force, or before it."""
        watches = 0

        def both(pipe: Any) -> None:
            nonlocal watches
            fill(pipe)
            watches = self._watch(pipe)

        answers = self._answers(both)
        # What was sent again was answered later than the servers' looks.
        kept, evicted, servers = _told(self._answers(self._watch) if self._redirected else answers[-watches:])
        self._seen = f"{kept}-{servers}" if kept.rpartition(".")[2] == evicted else ""
        return answers[:-watches]

    def _watch(self, pipe: Any) -> int:
        """Asks every server; how many these are."""
        self._fcall(pipe, "fusion_watch", (self._epoch_key,))
        if not self._is_cluster:
            return 1
        holder = self._node_of(self._epoch_key)
        others = [node for node in self._client.get_primaries() if node != holder]
        for node in others:
            self._fcall_at(node, pipe, "fusion_watch", ())
        return 1 + len(others)

    def _execute(self, fill: Callable[[Any], Any]) -> list[Any]:
        """As Server's. A key of which a part is gone ends the epoch: nothing is answered from what is left of it.

        Raises:
            Retryable: that was so.
        """
        answers = super()._execute(fill)
        if any(isinstance(answer, ResponseError) and str(answer).startswith("PARTS") for answer in answers):
            self._end_epoch()
        return answers

    def _end_epoch(self) -> None:
        epoch = self._epoch.rpartition("-")[0]
        super()._execute(lambda pipe: self._fcall(pipe, "fusion_release", (self._epoch_key,), epoch))
        raise Retryable("Redis lost a part of a key (evicted or deleted?); context is read again")

    @property
    def _epoch_key(self) -> str:
        return f"{self._prefix}:epoch"


def _told(answers: Sequence[Any]) -> tuple[str, str, str]:
    """Of what the servers tell: the epoch's value, keys evicted so far by all, and a short name for all of them."""
    value = next((kept.decode() for kept, _, _ in answers if kept is not None), "")
    evicted = str(sum(int(each) for _, each, _ in answers))
    replicas = b"".join(sorted(each for _, _, each in answers))
    return value, evicted, hashlib.blake2b(replicas, digest_size=4).hexdigest()
