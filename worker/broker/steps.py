"""A step -> its answer in time, or never: steps run one after another in a thread that outlives them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

_Step = tuple[Callable[[], Any], Callable[[Any], None], "Future[Any]"]


class NoAnswerError(Exception):
    """A step has not come back in time."""


class Steps:
    """Watches steps. Not thread-safe.

    Guarantees: one step at a time; one that has no answer in time is left behind in its thread, which ends when it
    comes back, and the next step has a thread of its own.
    """

    def __init__(self, name: str) -> None:
        """`name` is the threads'."""
        self._name = name
        self._jobs: queue.SimpleQueue[_Step | None] | None = None

    def run(self, step: Callable[[], Any], late: Callable[[Any], None], timeout_seconds: float) -> Any:
        """What the step gives or raises; `late` gets what it gives after its time.

        Raises:
            NoAnswerError: it has not come back in time.
        """
        if self._jobs is None:
            self._jobs = queue.SimpleQueue()
            threading.Thread(target=_work, args=(self._jobs,), name=self._name, daemon=True).start()
        answer: Future[Any] = Future()
        self._jobs.put((step, late, answer))
        try:
            return answer.result(timeout_seconds)
        except FutureTimeout:
            if not answer.cancel():
                return answer.result()
            self.end()
            raise NoAnswerError from None

    def end(self) -> None:
        """No more steps in this thread; it ends once the step under way comes back."""
        if self._jobs is not None:
            self._jobs.put(None)
            self._jobs = None


def _work(jobs: queue.SimpleQueue[_Step | None]) -> None:
    while (job := jobs.get()) is not None:
        step, late, answer = job
        try:
            found, error = step(), None
        except BaseException as raised:  # noqa: BLE001  whoever waits gets it
            found, error = None, raised
        if not answer.set_running_or_notify_cancel():
            late(found)
        elif error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(found)
        del job, step, late, answer, found, error
