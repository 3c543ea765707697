"""Transactional slots: the lowest free numbers, leased in Redis."""

from __future__ import annotations

from typing import Any

from worker.store.client import translated
from worker.store.server import Server

# A killed worker's slot is free after this long; the lease is renewed five times in it.
SLOT_TTL_MS = 2_000
# The list of slots that were held is of use to whoever comes next, while any worker of the pool may come back.
LIST_TTL_MS = 3_600_000


class Slots(Server):
    """The slots of ContextStore."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._slot: int | None = None
        self._adopted: set[int] = set()

    def lease_slot(self) -> int:
        """See ContextStore.lease_slot."""
        slot = 0
        while not self.adopt_slot(slot):
            slot += 1
        self._slot = slot
        self._adopted.discard(slot)
        self.renew_slot()
        return slot

    def renew_slot(self) -> bool:
        """See ContextStore.renew_slot."""
        for slot in tuple(self._adopted):
            if not self._hold(slot, 0):
                self._adopted.discard(slot)
        if self._slot is None:
            return True
        self._call("fusion_enlist", f"{self._prefix}:slots", self._slot, LIST_TTL_MS)
        return self._hold(self._slot, 0)

    def release_slot(self) -> None:
        """See ContextStore.release_slot."""
        if self._slot is not None:
            self.bury_slot(self._slot)
            self._slot = None

    def orphaned_slots(self) -> list[int]:
        """See ContextStore.orphaned_slots."""
        with translated():
            known = sorted(int(slot) for slot in self._client.smembers(f"{self._prefix}:slots"))
            return [slot for slot in known if not self._client.exists(self._slot_key(slot))]

    def adopt_slot(self, slot: int) -> bool:
        """See ContextStore.adopt_slot."""
        if not self._hold(slot, 1):
            return False
        self._adopted.add(slot)
        return True

    def has_adopted(self, slot: int) -> bool:
        """See ContextStore.has_adopted."""
        return slot in self._adopted

    def _hold(self, slot: int, take: int) -> bool:
        return bool(self._call("fusion_hold", self._slot_key(slot), self._worker, SLOT_TTL_MS, take))

    def bury_slot(self, slot: int) -> None:
        """See ContextStore.bury_slot."""
        self._adopted.discard(slot)
        if self._call("fusion_release", self._slot_key(slot), self._worker):
            with translated():
                self._client.srem(f"{self._prefix}:slots", slot)

    def _slot_key(self, slot: int) -> str:
        return f"{self._prefix}:slot:{slot}"
