"""Debian's headless Chromium, fetched into the cache where it is not installed, and driven through its own pipe.

`python -m tests.chromium` fetches it ahead of the tests. Nothing is installed: the packages are unpacked.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "chromium"
PACKAGE = "chromium-headless-shell"
MISSING = f"Chromium is missing and could not be fetched; install it: apt-get install {PACKAGE}"
# A browser hears commands by 3 and answers by 4.
_PIPES = """
import fcntl, os, sys
high = [fcntl.fcntl(int(one), fcntl.F_DUPFD, 100) for one in sys.argv[1:3]]
os.dup2(high[0], 3), os.dup2(high[1], 4), os.execv(sys.argv[3], sys.argv[3:])
"""
_FETCH_SECONDS, _ANSWER_SECONDS = 300, 30.0


def find() -> Path:
    """The program: from PATH, else from the cache, else fetched into it.

    Raises:
        FileNotFoundError: it cannot be had; the message says what to install.
    """
    for name in (PACKAGE, "chromium"):
        if found := shutil.which(name):
            return Path(found)
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (CACHE / "root").exists():
            _fetch()
    return CACHE / "root" / "usr" / "lib" / "chromium" / PACKAGE


def _fetch() -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise FileNotFoundError(MISSING)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        for names in (_wanted(), _wanted(update=True)):
            if names and not list(Path(folder).glob("*.deb")):
                _run(["apt-get", "download", *names], folder)
        packages = list(Path(folder).glob("*.deb"))
        if not any(one.name.startswith(PACKAGE) for one in packages):
            raise FileNotFoundError(MISSING)
        for one in packages:
            subprocess.run(["dpkg", "-x", one.name, "root"], cwd=folder, check=True, timeout=_FETCH_SECONDS)
        (Path(folder) / "root").rename(CACHE / "root")


def _wanted(update: bool = False) -> list[str]:
    """The packages that apt would install."""
    if update:
        _run(["apt-get", "update"], CACHE)
    told = _run(["apt-get", "install", "--simulate", "--no-install-recommends", PACKAGE], CACHE)
    return re.findall(r"^Inst (\S+)", told, re.MULTILINE)


def _run(command: list[str], folder: Path | str) -> str:
    done = subprocess.run(command, cwd=folder, timeout=_FETCH_SECONDS, capture_output=True, text=True, check=False)
    return done.stdout


class Browser:
    """One tab. Commands are those of the DevTools protocol."""

    def __init__(self, process: subprocess.Popen[bytes], writes: int, reads: int) -> None:
        self._process, self._writes, self._reads = process, writes, reads
        self._number, self._left = 0, b""
        self.heard: list[dict[str, Any]] = []
        target = self._ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> Any:
        """What the tab answers.

        Raises:
            AssertionError: it refuses, or does not answer.
        """
        return self._ask(method, parameters, self._session)

    def _ask(self, method: str, parameters: dict[str, Any], session: str | None = None) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": session} if session else {}
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + _ANSWER_SECONDS
        while (told := self._next()).get("id") != self._number:
            assert time.monotonic() < deadline, f"{method}: no answer"
            self.heard.append(told)
        assert "error" not in told, f"{method}: {told['error']}"
        return told["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            part = os.read(self._reads, 1 << 20)
            assert part, "the browser has ended"
            self._left += part
        one, _, self._left = self._left.partition(b"\0")
        told: dict[str, Any] = json.loads(one)
        return told

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited."""
        given = {"expression": script, "returnByValue": True, "awaitPromise": True, "userGesture": True}
        told = self.ask("Runtime.evaluate", **given)
        assert "exceptionDetails" not in told, f"{script}: {told['exceptionDetails']}"
        return told["result"].get("value")

    def until(self, script: str, seconds: float = 30.0) -> Any:
        """The first true value of an expression."""
        deadline = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, (
                f"not within {seconds} s: {script}; {self.run('document.body.innerText')}"
            )
            time.sleep(0.1)
        return value

    def go(self, url: str, wide: int, high: int, scheme: str = "light", token: str | None = None) -> None:
        """Opens an address in a window of this size, in CSS pixels."""
        phone = wide < 500
        self.ask("Emulation.setDeviceMetricsOverride", width=wide, height=high, deviceScaleFactor=1, mobile=phone)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        if token is not None:
            coded = base64.b64encode(f"anna:{token}".encode()).decode()
            self.ask("Network.setExtraHTTPHeaders", headers={"Authorization": f"Basic {coded}"})
        self.ask("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def press(self, key: str, code: str = "", number: int = 0) -> None:
        """A key down and up; `code` and `number` where the key writes nothing."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        given = {"key": key, "code": code or key, "windowsVirtualKeyCode": number}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **given, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **given)

    def picture(self, path: Path, whole: bool = False) -> None:
        """What is seen, as PNG; `whole`: the page in its whole length."""
        told = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(told["data"]))

    def complaints(self) -> list[str]:
        """What the page's console and the browser's own log had to complain of."""
        told = [one["params"] for one in self.heard if one.get("method") == "Log.entryAdded"]
        thrown = [one["params"] for one in self.heard if one.get("method") == "Runtime.exceptionThrown"]
        return [json.dumps(one) for one in (*told, *thrown)]


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own in `folder`, that ends with the block."""
    program, libraries = find(), sorted({str(one.parent) for one in (CACHE / "root").glob("usr/lib/**/*.so*")})
    command = [
        str(program), "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--hide-scrollbars",
        f"--user-data-dir={folder / 'profile'}", "about:blank",
    ]  # fmt: skip
    given, writes = os.pipe()
    reads, taken = os.pipe()
    libc = ctypes.CDLL(None)
    # It ends with this process.
    pipes = [sys.executable, "-c", _PIPES, str(given), str(taken)]
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            [*pipes, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(given, taken),
            env={**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries), "HOME": str(folder)},
            preexec_fn=lambda: libc.prctl(1, signal.SIGKILL),
        )  # fmt: skip
    os.close(given)
    os.close(taken)
    try:
        yield Browser(process, writes, reads)
    finally:
        process.kill()
        process.wait()
        os.close(writes)
        os.close(reads)


if __name__ == "__main__":
    print(find())
