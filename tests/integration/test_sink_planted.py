"""Secrets of a webhook, planted: nothing that its sink says or writes has one, whatever the server answers."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.security.planted import SECRET, found
from tests.sinks import ROOT, Sinks, result, sinks, wait_until
from tests.webhook_server import webhook_server


def page(port: int, path: str) -> str:
    """What it answers, an error too."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()


def told(made: Sinks, *arguments: str, debug: bool = True) -> str:
    """What the command says with these arguments."""
    command = [sys.executable, "-m", "worker", *(["--debug"] if debug else []), *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    return ended.stdout + ended.stderr


def test_no_secret_of_a_webhook_is_told(stack: Any, tmp_path: Path) -> None:
    """Busy, refusing one result, refusing access, gone: logs, pages, dead letters, `check --all`, tracebacks."""
    with sinks(stack, tmp_path, 1) as made, webhook_server(tmp_path / "server") as server:
        secrets = {
            "url": f"{server.url}/{quote(SECRET, safe='')}?token={quote(SECRET, safe='')}",
            "secret": SECRET, "authorization": f"Bearer {SECRET.strip()}", "timeout": "1s", "retry_max": "1s",
        }  # fmt: skip
        server.answer("503")
        made.feed([result("k", number) for number in range(3)])
        sink = made.start("webhook", **secrets)
        wait_until(lambda: len(server.requests()) >= 2)
        assert found(repr(server.requests()).encode()), "it is sent"
        said = [page(made.port(), path) for path in ("metrics", "readyz", "livez")]
        server.answer("400")
        wait_until(lambda: len(made.letters("webhook")) == 3)
        server.stop()
        made.feed([result("k", 3)])
        wait_until(lambda: page(made.port(), "readyz") != "ready\n")
        said += [page(made.port(), path) for path in ("metrics", "readyz")]
        server.answer("401")
        server.start()
        assert sink.wait(60) == 3
        said += [repr((one.key, one.value, one.headers)) for one in made.letters("webhook")]
        said += [path.read_text() for path in made.folder.glob("sink-*.log")]
        arguments = made.arguments("webhook", **secrets)
        said.append(told(made, *arguments, "--once"))
        said.append(told(made, "check", "--all", *arguments[arguments.index("--set") :]))
        assert "sinks.webhook.authorization = ***" in said[-1]
        assert "401" in said[-2]
        assert [found(one.encode()) for one in said] == [[]] * len(said)
