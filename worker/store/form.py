"""Which form a group's keys have: leased in Redis by the workers that keep it, since two forms spoil each other."""

from __future__ import annotations

from typing import Any

from worker.errors import Fatal, Retryable
from worker.store.server import Server

# Another one where an earlier release would misread what this one keeps of a key, or of the flow.
FORM = "k1"
# Workers of another form may begin so long after the last one of this form has been heard of.
LEASE_MS = 15_000


class Forms(Server):
    """One form at a time: a worker of another one does not begin, or ends, and those that run go on."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._held_us = -LEASE_MS * 1000

    def hold_form(self) -> None:
        """This worker's form is the group's, for LEASE_MS.

        Raises:
            Retryable: living workers keep another one, or the server does not answer.
        """
        if (other := self._other()) is not None:
            raise Retryable(_told(other))

    def _hold_on(self, now_us: int) -> None:
        """The same, a few times in a lease, for a worker that runs; `now_us` is of the server's clock.

        Raises:
            Fatal: others have begun with another form, since this worker was not heard of for too long.
        """
        # Below 0 where the server's clock was set back, or another server has taken over.
        if 0 <= now_us - self._held_us < LEASE_MS * 1000 // 5:
            return
        if (other := self._other()) is not None:
            raise Fatal(f"{_told(other)}; this worker ends (docs/upgrades.md)")
        self._held_us = now_us

    def _other(self) -> str | None:
        kept: bytes = self._call("fusion_form", f"{self._prefix}:form", FORM, LEASE_MS)
        return None if kept.decode() == FORM else kept.decode()


def _told(other: str) -> str:
    return f"workers of another release keep this group's keys in form {other}, this one in {FORM}"
