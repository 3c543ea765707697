"""An HTTP server of a test, a process of its own: `python -m tests.webhook_server FOLDER`.

Each request is a line of FOLDER/requests; FOLDER/mode says how the next are answered: `ok`, a status such as `503`,
`429 SECONDS`, `redirect`, `hang`, or `400 TEXT`: only where the body holds the text. FOLDER/port has its port.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    folder: Path
    lock = threading.Lock()

    def do_POST(self) -> None:
        """One request."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        words = (self.folder / "mode").read_text().split()
        taken = words[0] == "ok" or (words[0] == "400" and len(words) > 1 and words[1].encode() not in body)
        status = 200 if taken else 302 if words[0] == "redirect" else int(words[0]) if words[0].isdigit() else 0
        headers = {name.lower(): value for name, value in self.headers.items()}
        line = {"at": time.time(), "path": self.path, "status": status, "headers": headers, "body": body.decode()}
        with self.lock, (self.folder / "requests").open("a") as out:
            out.write(json.dumps(line) + "\n")
        if status == 0:
            threading.Event().wait(30)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        if words[0] == "429" and len(words) > 1:
            self.send_header("Retry-After", words[1])
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"hm")

    do_GET = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


class Server:
    """The handle of a running one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answer("ok")
        self._port = 0
        self.start()

    def start(self) -> None:
        """Begins, at the same port as before."""
        (self.folder / "port").unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.webhook_server", str(self.folder), str(self._port)]
        self._process = subprocess.Popen(command, cwd=Path(__file__).parents[1])
        deadline = time.monotonic() + 20
        while not (self.folder / "port").exists():
            assert time.monotonic() < deadline, "no server"
            time.sleep(0.02)
        self._port = int((self.folder / "port").read_text())

    def stop(self) -> None:
        """Ends it at once."""
        self._process.kill()
        self._process.wait()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}/results"

    def answer(self, mode: str) -> None:
        """From now on."""
        fresh = self.folder / "mode.new"
        fresh.write_text(mode)
        fresh.rename(self.folder / "mode")

    def requests(self) -> list[dict[str, Any]]:
        """What came."""
        found = self.folder / "requests"
        return [json.loads(line) for line in found.read_text().splitlines()] if found.exists() else []

    def taken(self) -> list[dict[str, Any]]:
        """The results that were answered with 200."""
        bodies = [json.loads(one["body"]) for one in self.requests() if one["status"] == 200]
        return [one for body in bodies for one in (body if isinstance(body, list) else [body])]


@contextlib.contextmanager
def webhook_server(folder: Path) -> Iterator[Server]:
    """A running one."""
    folder.mkdir()
    server = Server(folder)
    try:
        yield server
    finally:
        server.stop()


if __name__ == "__main__":
    _Handler.folder = Path(sys.argv[1])
    made = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), _Handler)
    fresh_port = Path(sys.argv[1]) / "port.new"
    fresh_port.write_text(str(made.server_address[1]))
    fresh_port.rename(Path(sys.argv[1]) / "port")
    made.serve_forever()
