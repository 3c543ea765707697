"""A process that has imported everything and forks workers: each is a real process, started in milliseconds."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

_PR_SET_PDEATHSIG = 1


class Forked:
    """A worker that the nursery forked. Its exit code lies in a file that the nursery writes."""

    def __init__(self, pid: int, exits: Path) -> None:
        self.pid, self.returncode = pid, 0
        self._exit = exits / str(pid)

    def poll(self) -> int | None:
        """The exit code (negative: the signal), or None while it lives."""
        if not self._exit.exists():
            return None
        self.returncode = int(self._exit.read_text())
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended.

        Raises:
            TimeoutExpired: it has not in time.
        """
        deadline = time.monotonic() + timeout if timeout is not None else None
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"worker {self.pid}", timeout or 0)
            time.sleep(0.005)
        return code

    def send_signal(self, sig: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """Starts workers from a process that is ready to fork them."""

    def __init__(self, folder: Path) -> None:
        self._exits = folder / "exits"
        self._exits.mkdir()
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.nursery", str(self._exits)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._ask("")

    def _ask(self, line: str) -> str:
        assert self._child.stdin
        assert self._child.stdout
        print(line, file=self._child.stdin, flush=True)
        return self._child.stdout.readline()

    def start(self, path: Path, log: Path) -> Forked:
        """A worker with the settings of that file (see tests.worker_process); it writes to that log."""
        return Forked(int(self._ask(json.dumps([str(path), str(log)]))), self._exits)

    def close(self) -> None:
        """Ends the nursery, and with it every worker."""
        assert self._child.stdin
        self._child.stdin.close()
        self._child.wait()


@contextlib.contextmanager
def nursery(folder: Path) -> Iterator[Nursery]:
    """A Nursery that is closed at the end."""
    opened = Nursery(folder)
    try:
        yield opened
    finally:
        opened.close()


def _serve(exits: Path) -> None:
    import worker.model.preprocess  # noqa: F401  a worker that decodes must not spend its start on torch
    from tests import worker_process

    def reap(*_: object) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                told = exits / f"{pid}.new"
                told.write_text(str(os.waitstatus_to_exitcode(status)))
                told.rename(exits / str(pid))

    signal.signal(signal.SIGCHLD, reap)
    for line in sys.stdin:
        if not line.strip():
            print("ready", flush=True)
            continue
        path, log = json.loads(line)
        parent, pid = os.getpid(), os.fork()
        if pid == 0:
            _become_worker(worker_process.main, path, log, parent)
        print(pid, flush=True)


def _become_worker(main: object, path: str, log: str, parent: int) -> None:
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (out, 1), (out, 2)):
            os.dup2(source, target)
        sys.argv = ["worker", path]
        if os.getppid() == parent and callable(main):
            code = main()
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    except BaseException:  # noqa: BLE001  a forked child must not go back into the nursery
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
