"""Child processes that never outlive their parent, whatever kills it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from worker.errors import Unreachable

_PR_SET_PDEATHSIG = 1


def spawn(
    command: Sequence[str], *, log: Path | IO[bytes], environ: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Starts a child that the kernel kills when this process dies, also by SIGKILL (Linux, PR_SET_PDEATHSIG).

    The signal follows the death of the thread that started the child, so children are started by the main thread.
    Ctrl-C is heard by the parent alone, which ends them in its own order.
    """
    parent = os.getpid()
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def die_with_parent() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    with contextlib.ExitStack() as opened:
        out = opened.enter_context(log.open("ab")) if isinstance(log, Path) else log
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=None if environ is None else dict(environ),
            preexec_fn=die_with_parent,
            start_new_session=True,
        )


def free_port(*taken: int) -> int:
    """A port that nobody listens on now, and none of those that are `taken` though nobody does yet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return free_port(*taken) if port in taken else port


def wait_for(what: str, ready: Callable[[], bool], child: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    """Returns once `ready`.

    Raises:
        Unreachable: the child ended or took too long; with the end of its log.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if child.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            why = f"ended with {child.returncode}" if child.poll() is not None else f"did not answer in {seconds:g} s"
            raise Unreachable(f"{what} {why}; the end of its log:\n{said}")
        time.sleep(0.05)


def stop(child: subprocess.Popen[bytes], grace_seconds: float = 5.0) -> None:
    """SIGTERM, then SIGKILL."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            child.kill()
    child.wait()


def answers(port: int) -> bool:
    """True when something listens on this port of the loopback."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
