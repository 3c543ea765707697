"""A key, an id or a place -> the lines of `explain`, by a process of its own: what a person wants to know costs the
worker neither its memory nor its interpreter, and is the first to go where a machine has too little."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import subprocess
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from worker.console.seen import LastSeen
from worker.console.verdicts import Teller
from worker.redaction import without_secrets

# Loading a model takes up to ten seconds on a busy machine; reading the log takes the rest.
SECONDS = 120.0
# One that nobody waits for any more ends within a fraction of this, and who began the next may be the same person.
TURN_SECONDS = 2.0
MOST_CHARACTERS = 300
NICE = 15
_FIRST_TO_GO = "1000"  # for the kernel, when memory runs out
_PLACE = re.compile(r"[A-Za-z0-9._-]{1,249}/\d{1,9}/\d{1,18}")


class Search:
    """One at a time. Safe to call from any thread."""

    def __init__(
        self, command: Sequence[str], last: LastSeen, teller: Teller, seconds: float = SECONDS
    ) -> None:  # fmt: skip
        """`command`: that of `explain` with the worker's own settings; (): there is none."""
        self._command, self._last, self._teller, self._seconds = list(command), last, teller, seconds
        self._one, self._closed = threading.Lock(), threading.Event()
        self._running: subprocess.Popen[bytes] | None = None

    def refusal(self, wanted: str) -> str | None:
        """Why this cannot be looked for; None: it can."""
        if not wanted or len(wanted) > MOST_CHARACTERS or not wanted.isprintable():
            return f"give a key, an id or TOPIC/PARTITION/OFFSET of 1 to {MOST_CHARACTERS} printable characters"
        if not self._command:
            return "this worker cannot explain: it was not started by `fusion-worker run`"
        return None

    def lines(self, wanted: str) -> Iterator[bytes]:
        """What is said, as it is said, and b"" where nothing is for a while, so that who asks can be missed.

        It ends with the process, with `close`, or after so many seconds.
        """
        if not self._one.acquire(timeout=TURN_SECONDS):
            yield b"another search runs; try again when it has ended\n"
            return
        try:
            yield f"looking for {wanted}; the log is read and the model loaded, which takes a while\n".encode()
            with contextlib.closing(self._run(self._arguments(wanted))) as said:
                yield from said
        finally:
            self._one.release()

    def close(self) -> None:
        """Ends what runs; the worker's own end waits for no thread that would."""
        self._closed.set()
        if (running := self._running) is not None:
            running.kill()

    def _arguments(self, wanted: str) -> list[str]:
        """What is on the page is known; what looks like a place is one; anything else is looked for in the results."""
        for seen in reversed(self._last.now()):
            told = self._teller.told(seen)
            ids = {one["id"] for one in told["inputs"][:1]}
            if wanted in {told["id"], told["key"], *ids}:
                return ["--", seen.outcome.record.place]
        return ["--", wanted] if _PLACE.fullmatch(wanted) else [f"--find={wanted}"]

    def _run(self, arguments: Sequence[str]) -> Generator[bytes]:
        command = [*self._command, *arguments]
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        except OSError as error:
            yield f"explain cannot be started: {error.strerror}\n".encode()
            return
        self._running = process
        said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(process, said), name="explain-said", daemon=True).start()
        deadline = time.monotonic() + self._seconds
        try:
            _step_back(process.pid)
            while not self._closed.is_set():
                if time.monotonic() > deadline:
                    yield f"ended: it took longer than {self._seconds:.0f} s\n".encode()
                    return
                try:
                    line = said.get(timeout=0.2)
                except queue.Empty:
                    yield b""
                    continue
                if line is None:
                    return
                yield without_secrets(line.decode(errors="replace")).encode()
        finally:
            self._running = None
            process.kill()
            process.wait()


def _step_back(pid: int) -> None:
    """Whatever the kernel has to give goes to the worker; a process that has ended already needs nothing."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, NICE)
        Path(f"/proc/{pid}/oom_score_adj").write_text(_FIRST_TO_GO)


def _read(process: subprocess.Popen[bytes], said: queue.SimpleQueue[bytes | None]) -> None:
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            said.put(line)
    said.put(None)
