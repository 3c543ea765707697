"""What Redis knows of one key goes, beside workers that run."""

from __future__ import annotations

import hashlib
from typing import Any

from worker.store.client import translated
from worker.store.epoch import Epochs
from worker.store.sweep import STEP_KEYS, escaped

_PARTS = (b"z", b"p", b"m", b"q", b"c")


class Forgetting(Epochs):
    """The forgetting of ContextStore."""

    def forget(self, key: str) -> tuple[int, int]:
        """Deletes the events of a key in all streams, also of epochs that have ended and of streams that are no longer
        configured.

        1. Of the epoch in force the events go in one step a stream; the highest event time and the anchors that wait
           stay, which name no body, so that no worker waits for what it has seen already.
        2. Of other epochs everything goes: nobody reads it.

        Returns:
            How many events were deleted, and how many Redis keys of other epochs.

        Raises:
            Retryable: the server did not answer, or had lost a part of the key; then context is read again from Kafka.
        """
        tag = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        current = self._in_force()
        own, others = set[bytes](), list[bytes]()
        for name in self._of_tag(tag):
            epoch = name[len(self._prefix) + 1 :].partition(b":")[0]
            if current is not None and epoch.rpartition(b"-")[0] == current:
                own.add(name[:-1])
            else:
                others.append(name)

        def forget(pipe: Any) -> None:
            for stem in sorted(own):
                self._fcall(pipe, "fusion_forget", [stem + part for part in _PARTS])
            for name in others:
                pipe.unlink(name)

        answers = self._answers(forget) if own or others else []
        return sum(int(one) for one in answers[: len(own)]), sum(int(one) for one in answers[len(own) :])

    def _in_force(self) -> bytes | None:
        """The epoch's value, where there is one; unlike `epoch` it begins none."""
        with translated():
            found: bytes | None = self._client.get(self._epoch_key)
        return found

    def _of_tag(self, tag: str) -> set[bytes]:
        """All Redis keys of the entity; they lie on one server. A scan may tell a key twice."""
        client: Any = self._client
        place = {"target_nodes": self._node_of(f"{{{tag}}}")} if self._is_cluster else {}
        found, cursor = set[bytes](), 0
        with translated():
            while True:
                told, names = client.scan(
                    cursor, match=f"{escaped(self._prefix)}:*{{{tag}}}:*", count=STEP_KEYS, **place
                )
                found.update(names)
                cursor = next(iter(told.values())) if isinstance(told, dict) else told
                if not cursor:
                    return found
