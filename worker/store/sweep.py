"""Keys that nobody needs any more go, and those that may be needed stay: one pass over all keys, in small steps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from worker.errors import Retryable
from worker.store.client import translated
from worker.store.epoch import Epochs
from worker.store.lifetime import Upkeep

# Keys looked at in one step: well below a millisecond of the server, and of a worker's turn.
STEP_KEYS = 1_000
# One worker of a pool passes at a time; when it is killed another one begins after this long.
PASS_TTL_MS = 5_000
_EPOCH = rb"[0-9a-f]{16}(?:\.\d+)?-[0-9a-f]{8}"
_OF_EPOCH = re.compile(
    rb"(?:flow|top|sweep):(" + _EPOCH + rb")|(" + _EPOCH + rb"):(\{[0-9a-f]{32}\}:.*):([zpmqc])", re.DOTALL
)
_GLOB = re.compile(r"([*?\[\]^\\])")


class Sweeps(Epochs):
    """A pass takes away the keys of epochs that have ended, and prolongs what may be needed where time stands still."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._upkeep = Upkeep(self._lifetime.epoch_ms)
        self._pass: Iterator[list[bytes]] | None = None
        self._began = 0, -1
        self._ended: list[bytes] = []
        self._is_due, self._is_confirmed = True, False

    def enter(self, epoch: str) -> None:
        """See ContextStore.enter."""
        super().enter(epoch)
        self._begin_anew()

    def _watched(self, fill: Callable[[Any], Any]) -> list[Any]:
        """As Epochs'. The epoch that was entered is confirmed, or not."""
        answers = super()._watched(fill)
        self._is_confirmed = self._seen == self._epoch
        return answers

    def _step(self, now_us: int, needed_us: int | None) -> None:
        """What one exchange does for the keys' lives."""
        if not self._epoch:
            return
        top_us = int(self._call("fusion_top", self._top_key, self._indexed_us, self._lifetime.data_ms))
        if self._upkeep.passed(now_us, needed_us, top_us):
            self._prolong()
        self._unlink_ended()
        if not (self._is_due or self._upkeep.is_slow(now_us)):
            return
        if not self._call("fusion_hold", self._pass_key, self._worker, PASS_TTL_MS, 0):
            self._is_due, self._pass = False, None
            return
        if self._pass is None:
            self._pass, self._began = self._batches(), (now_us, top_us)
        try:
            with translated():
                names = next(self._pass, None)
            if names is not None:
                self._look_at(names, needed_us)
        except Retryable:
            self._pass = None
            raise
        if names is None:
            self._finish()

    def _finish(self) -> None:
        """All has been touched; the others need not do it again soon."""
        self._upkeep.touched(*self._began)
        self._prolong()
        self._call("fusion_hold", self._pass_key, self._worker, self._lifetime.epoch_ms // 2, 0)
        self._pass, self._is_due = None, False

    def _look_at(self, names: list[bytes], needed_us: int | None) -> None:
        """Notes the keys of other epochs. They go at the next step if this epoch is in force then: it was so after
        they were found, so theirs is not one that has just begun."""
        own, alive = self._epoch.encode(), []
        for name in names:
            if found := _OF_EPOCH.fullmatch(name, len(self._prefix) + 1):
                if (found[1] or found[2]) != own:
                    self._ended.append(name)
                elif found[4] == b"m":
                    alive.append(name[:-1])
        self._is_confirmed = False
        from_us = -1 if needed_us is None else needed_us

        def fill(pipe: Any) -> None:
            for stem in alive:
                keys = [stem + part for part in (b"z", b"p", b"m", b"q", b"c")]
                self._fcall(pipe, "fusion_renew", keys, from_us, self._lifetime.data_ms)

        if alive:
            self._answers(fill)

    def _unlink_ended(self) -> None:
        if self._ended and self._is_confirmed:
            gone, self._ended = self._ended, []

            def fill(pipe: Any) -> None:
                for name in gone:
                    pipe.unlink(name)

            self._answers(fill)

    def _batches(self) -> Iterator[list[bytes]]:
        """All keys of the namespace, as many at a time as a step may take; of a cluster one primary after the other."""
        pattern = escaped(self._prefix) + ":*"
        client: Any = self._client
        places = [{"target_nodes": node} for node in client.get_primaries()] if self._is_cluster else [{}]
        for place in places:
            cursor: Any = 0
            while True:
                cursor, names = client.scan(cursor, match=pattern, count=STEP_KEYS, **place)
                cursor = next(iter(cursor.values())) if isinstance(cursor, dict) else cursor
                yield names
                if cursor == 0:
                    break

    @property
    def _top_key(self) -> str:
        return f"{self._prefix}:top:{self._epoch}"

    @property
    def _pass_key(self) -> str:
        return f"{self._prefix}:sweep:{self._epoch}"


def escaped(text: str) -> str:
    """As a pattern of SCAN that this text alone matches."""
    return _GLOB.sub(r"\\\1", text)
