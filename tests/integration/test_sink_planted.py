"""Secrets of sinks, planted: nothing that one says or writes has one, whatever the server answers."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.security.planted import SECRET, found
from tests.sinks import ROOT, Sinks, result, sinks, wait_until
from tests.webhook_server import webhook_server
from worker.demo.processes import free_port


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


@pytest.mark.parametrize("kind", ["mqtt", "sql"])
def test_no_secret_of_a_sink_is_told_where_nobody_answers(stack: Any, tmp_path: Path, kind: str) -> None:
    """With tracebacks, at `debug`: the password of a broker, and an address with one."""
    port = free_port()
    given = {
        "mqtt": {"host": "127.0.0.1", "port": port, "username": "home", "password": SECRET},
        "sql": {"url": f"postgresql+pg8000://home:{quote(SECRET, safe='')}@127.0.0.1:{port}/results"},
    }[kind]
    with sinks(stack, tmp_path, 1) as made:
        brief = ("--set", "kafka.startup_timeout=1s", "--set", "log.level=debug", "--once")
        said = told(made, *made.arguments(kind, *brief, timeout="1s", **given))
        assert str(port) in said
        assert "Traceback" in said, "--debug was asked for"
        assert found(said.encode()) == []
