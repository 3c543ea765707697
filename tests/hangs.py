"""Libraries that never come back, for a worker's process: `"mutant": "tests.hangs:NAME"` puts one in."""

from __future__ import annotations

import ctypes
import threading
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer

from tests import worker_process
from worker.broker.slots import SlotSink
from worker.broker.source import KafkaSource

_folder = Path()


def begin(name: str, folder: Path) -> None:
    """Puts the hang of that name in; it leaves the file `hangs` once it has begun to hang."""
    global _folder
    _folder = folder
    globals()[name]()


def _mark() -> None:
    (_folder / "hangs").touch()


def _for_ever(*_: Any, **__: Any) -> Any:
    _mark()
    threading.Event().wait()


def _after_records(hang: Any) -> None:
    poll = KafkaSource.poll
    seen: list[Any] = []

    def wrong(self: KafkaSource, timeout_seconds: float) -> Any:
        if seen:
            hang()
        found = poll(self, timeout_seconds)
        seen.extend(found.records)
        return found

    KafkaSource.poll = wrong  # type: ignore[method-assign]


def poll_turns() -> None:
    """A poll that turns for ever in Python."""

    def hang() -> None:
        _mark()
        while True:
            pass

    _after_records(hang)


def poll_blocks() -> None:
    """A poll that waits in a system library, where Python hears no signal."""

    def hang() -> None:
        _mark()
        library, lock = ctypes.CDLL(None), ctypes.create_string_buffer(64)
        while True:
            library.pthread_mutex_lock(lock)

    _after_records(hang)


def model() -> None:
    """A model that never answers."""
    worker_process.EchoModel.infer = _for_ever  # type: ignore[method-assign]


def decoder() -> None:
    """A decoder that never answers."""
    worker_process.EchoModel.prepare = _for_ever  # type: ignore[method-assign]


def commit() -> None:
    """A transaction that never ends."""
    SlotSink.publish = _for_ever  # type: ignore[method-assign]


def farewell() -> None:
    """A consumer that never leaves its group."""
    KafkaConsumer.close = _for_ever
