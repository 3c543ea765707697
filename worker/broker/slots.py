"""Transactional ids as slots: leased in the store, and taken over from the dead, whose open transactions end so."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from worker.broker.sink import TransactionalSink
from worker.errors import Retryable
from worker.ports import Slots
from worker.records import Outgoing, Partition

# The lease lives 2 s in the store; a fifth of that survives four lost renewals.
RENEW_EVERY_SECONDS = 0.4
# It may be ending a dead worker's transaction; another one will.
CLOSE_SECONDS = 1.0
# After Redis was away or this process stood still all leases look as if they had run out; their holders need a moment.
STEADY_SECONDS = 4.0
# A dead worker's transaction whose coordinator is away is tried again after this long.
REAP_AGAIN_SECONDS = 1.0


class SlotSink:
    """A TransactionalSink whose id is a slot leased from the store: `<group>-<slot>`.

    A killed worker's open transaction is ended by whoever takes its slot: a new worker, or one of the living within a
    few seconds. Of two owners of one slot Kafka fences the older, which takes another.
    """

    def __init__(
        self, slots: Slots, make: Callable[[int], TransactionalSink], failed: Callable[[BaseException], None]
    ) -> None:
        """`make` gives the sink of a slot; `failed` hears of what ends the keeper's thread."""
        self._slots, self._make, self._failed = slots, make, failed
        self._sink: TransactionalSink | None = None
        self._steady_since = time.monotonic()
        self._stop = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="slots", daemon=True)
        self._keeper.start()

    def publish(
        self, outgoing: Sequence[Outgoing], offsets: Mapping[Partition, tuple[int, str]], membership: Any
    ) -> None:
        """See TransactionalSink.publish."""
        if self._sink is None:
            self._sink = self._make(self._slots.lease_slot())
        self._sink.publish(outgoing, offsets, membership)

    def fence(self) -> None:
        """See TransactionalSink.fence. Where another owns the slot by now, the next publish takes another one.

        Raises:
            Retryable: Kafka or Redis did not answer.
        """
        if self._sink is None:
            return
        self._sink.fence()
        if not self._slots.renew_slot():
            self._sink.close()
            self._sink = None

    def _keep(self) -> None:
        last = time.monotonic()
        try:
            while not self._stop.wait(RENEW_EVERY_SECONDS):
                try:
                    self._slots.renew_slot()
                    if time.monotonic() - last > 2 * RENEW_EVERY_SECONDS:
                        self._steady_since = time.monotonic()
                    elif time.monotonic() - self._steady_since > STEADY_SECONDS:
                        self._adopt()
                except Retryable:
                    # The loop says that Redis or Kafka is away; leases are looked at again once it has answered.
                    self._steady_since = time.monotonic()
                last = time.monotonic()
        except BaseException as error:  # noqa: BLE001  the loop must hear of it, whatever it is
            self._failed(error)

    def _adopt(self) -> None:
        """Each in a thread of its own: a coordinator that is away holds up neither the leases nor the other slots."""
        for slot in self._slots.orphaned_slots():
            if self._slots.adopt_slot(slot):
                threading.Thread(target=self._reap, args=(slot,), name=f"slot {slot}", daemon=True).start()

    def _reap(self, slot: int) -> None:
        """Ends the open transaction of a worker that died, and gives its slot back."""
        try:
            while self._slots.has_adopted(slot) and not self._stop.is_set():
                try:
                    with contextlib.closing(self._make(slot)) as sink:
                        sink.fence()
                        self._slots.bury_slot(slot)
                except Retryable:
                    self._stop.wait(REAP_AGAIN_SECONDS)
        except BaseException as error:  # noqa: BLE001  the loop must hear of it, whatever it is
            self._failed(error)

    def close(self) -> None:
        """Ends the producer and gives the slot back; while Redis is away its lease runs out instead."""
        self._stop.set()
        self._keeper.join(CLOSE_SECONDS)
        if self._sink is not None:
            self._sink.close()
            with contextlib.suppress(Retryable):
                self._slots.release_slot()
