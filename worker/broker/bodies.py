"""References -> the records that lie there, read beside the loop: a partition that brings nothing stops no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from worker.broker.places import PATIENCE_SECONDS, Places
from worker.errors import Poison, Retryable
from worker.ports import Log
from worker.records import Partition, Record, Reference

# Of one run: with more the bodies of other partitions wait longer for their turn, with less each costs more.
RUN_BODIES, RUN_BYTES = 64, 8 * 2**20
# A gap of more bytes within a run is not read over: a new assignment costs about as much as reading so many.
GAP_BYTES = 2 * 2**20
# A partition that brings nothing is asked about at once, then after 1, 2, 4 s, up to the most.
MOST_AGAIN_SECONDS = 10.0
# A topic is gone when Kafka has told so this often in a row: a broker that has just started may not know it yet.
TOLD_GONE = 3
CLOSE_SECONDS = 3.0


@dataclass(slots=True)
class _Slow:
    """A partition that brings nothing. `left`: the places that it was asked for, also when nobody wants them meanwhile;
    `gone`: how often in a row Kafka has told that there is no such partition."""

    again: float
    left: list[Reference]
    gone: int = 0


class BodyReader:
    """worker.ports.Bodies on Kafka. Nothing is decided by a timeout: it asks for as long as a body is wanted.

    One thread reads. Another asks about the partitions that bring nothing, until they do again or what is wanted of
    them is gone. Both begin when they are first needed, and with them their consumers.
    """

    def __init__(self, connection: Mapping[str, Any], log: Log, failed: Callable[[BaseException], None]) -> None:
        """`connection`: what `connection_options` gives; `failed` hears of what ended a thread."""
        self._log, self._failed = log, failed
        self._changed = threading.Condition()
        self._wanted: dict[Partition, dict[int, Reference]] = {}
        self._arrived: list[tuple[Reference, Record | Poison | None]] = []
        self._slow: dict[Partition, _Slow] = {}
        # Found to be gone when nobody wanted them: who waits for a silent partition gives its places back meanwhile.
        self._known_gone: dict[Partition, set[Reference]] = {}
        self._waits: dict[Partition, float] = {}  # how long each is waited for next; until a record of it comes
        self._stop = False
        self._threads: dict[str, threading.Thread] = {}
        self._reading, self._asking = Places(connection), Places(connection)

    def want(self, references: Iterable[Reference]) -> None:
        """See worker.ports.Bodies."""
        with self._changed:
            for one in references:
                if one in self._known_gone.get(one.partition, ()):
                    self._known_gone[one.partition].remove(one)
                    self._arrived.append((one, None))
                else:
                    self._wanted.setdefault(one.partition, {})[one.offset] = one
            if self._wanted:
                self._begin("bodies", self._read_one, self._reading)
            self._changed.notify_all()

    def unwant(self, references: Iterable[Reference]) -> None:
        """See worker.ports.Bodies."""
        with self._changed:
            for one in references:
                self._strike(one)

    def arrived(self) -> list[tuple[Reference, Record | Poison | None]]:
        """See worker.ports.Bodies."""
        if not self._arrived:
            return []
        with self._changed:
            found, self._arrived = self._arrived, []
        return found

    @property
    def slow(self) -> Collection[Partition]:
        """See worker.ports.Bodies."""
        return tuple(self._slow)

    def close(self) -> None:
        """Ends the threads and their consumers; a call that hangs is left behind."""
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        deadline = time.monotonic() + CLOSE_SECONDS
        for thread in self._threads.values():
            thread.join(max(0.0, deadline - time.monotonic()))

    def _begin(self, name: str, step: Callable[[], bool], places: Places) -> None:
        if name in self._threads or self._stop:
            return
        self._threads[name] = threading.Thread(target=self._run, args=(step, places), name=name, daemon=True)
        self._threads[name].start()

    def _run(self, step: Callable[[], bool], places: Places) -> None:
        try:
            while step():
                pass
        except BaseException as error:  # noqa: BLE001  the loop must hear of it, whatever it is
            self._failed(error)
        finally:
            places.close()

    def _strike(self, one: Reference) -> bool:
        """No longer wanted; False where it was not."""
        places = self._wanted.get(one.partition, {})
        found = places.pop(one.offset, None)
        if not places:
            self._wanted.pop(one.partition, None)
        return found is not None

    def _deliver(self, one: Reference, body: Record | Poison | None) -> None:
        with self._changed:
            if body is not None:
                self._waits.pop(one.partition, None)
            if self._strike(one):
                self._arrived.append((one, body))

    def _read_one(self) -> bool:
        """Reads a run of the partition whose turn it is; False at the end."""
        with self._changed:
            while not self._stop and not (due := [p for p in self._wanted if p not in self._slow]):
                self._changed.wait()
            if self._stop:
                return False
            partition = due[0]
            places = self._wanted[partition] = self._wanted.pop(partition)  # its next turn comes last
            run = run_of(places.values())
        left, said = run, "it brings nothing"
        try:
            left = self._reading.read(run, self._deliver, lambda: self._stop)
        except Retryable as error:
            said = str(error)
            self._reading.close()
        if left and not self._stop:
            self._is_slow(partition, said, left)
        return True

    def _is_slow(self, partition: Partition, said: str, left: list[Reference]) -> None:
        self._tell(partition, said)
        with self._changed:
            waits = self._waits.get(partition)
            self._slow[partition] = _Slow(time.monotonic() + (waits or 0.0), left)
            self._waits[partition] = min(2 * (waits or PATIENCE_SECONDS / 2), MOST_AGAIN_SECONDS)
            self._begin("slow bodies", self._ask_one, self._asking)
            self._changed.notify_all()

    def _tell(self, partition: Partition, said: str) -> None:
        self._log.warning(
            "bodies are awaited from Kafka", topic=partition.topic, partition=partition.number, reason=said,
            action="none: their keys go on when it answers, the others go on now",
        )  # fmt: skip

    def _ask_one(self) -> bool:
        """Asks about the slow partition whose time has come; False at the end."""
        with self._changed:
            while not self._stop and (partition := self._due()) is None:
                times = [slow.again for slow in self._slow.values()]
                self._changed.wait(max(0.0, min(times) - time.monotonic()) if times else None)
            if self._stop or partition is None:
                return False
            wanted = list({*self._slow[partition].left, *self._wanted.get(partition, {}).values()})
        try:
            gone = self._asking.gone(wanted, partition)
        except Retryable as error:
            self._tell(partition, str(error))
            self._asking.close()
            self._later(partition, told_gone=False)
            return True
        if gone is None and self._slow[partition].gone + 1 < TOLD_GONE:
            self._later(partition, told_gone=True)
            return True
        with self._changed:
            lost = set(wanted if gone is None else gone)
            told = {one for one in lost if self._strike(one)}
            self._arrived += [(one, None) for one in told]
            self._known_gone[partition] = lost - told
            if lost:
                self._waits.pop(partition, None)
            del self._slow[partition]
            self._changed.notify_all()
        return True

    def _due(self) -> Partition | None:
        """A slow partition that is to be asked about now."""
        now = time.monotonic()
        return next((partition for partition, slow in self._slow.items() if slow.again <= now), None)

    def _later(self, partition: Partition, *, told_gone: bool) -> None:
        with self._changed:
            slow = self._slow[partition]
            slow.gone = slow.gone + 1 if told_gone else 0
            waits = self._waits.get(partition, PATIENCE_SECONDS)
            slow.again = time.monotonic() + waits
            self._waits[partition] = min(2 * waits, MOST_AGAIN_SECONDS)


def run_of(wanted: Iterable[Reference]) -> list[Reference]:
    """The first of one partition's places, in order, that are worth reading in one go."""
    run: list[Reference] = []
    size = 0
    for one in sorted(wanted, key=lambda one: one.offset):
        gap = (one.offset - run[-1].offset - 1) * one.size if run else 0
        if run and (len(run) == RUN_BODIES or size + one.size > RUN_BYTES or gap > GAP_BYTES):
            break
        run.append(one)
        size += one.size
    return run
