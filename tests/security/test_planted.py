"""A planted secret in every place where one can be configured: nothing that the worker says or writes has it."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import ROOT
from tests.security.cases import least
from tests.security.certificates import Authority
from tests.security.planted import PLAIN, SECRET, TOKEN, found
from tests.security.redis_server import kind, open_redis
from tests.security.secured import SecuredKafka
from tests.security.test_running import told
from tests.town import Town, town
from worker.config import Settings
from worker.describe import flatten, is_secret
from worker.store.rights import least_acl


class Planted:
    """A configuration that is right, with the secret in each of its places."""

    def __init__(self, made: Town, folder: Path, secret: str) -> None:
        self.config, self._folder = folder / "fusion.toml", folder
        (folder / "password").write_text(secret, encoding="utf-8")
        self.token = folder / "token"
        self.token.write_text(TOKEN, encoding="utf-8")
        made.settings.setdefault("http", {})["token_file"] = str(self.token)
        self.config.write_text(_toml(made.settings), encoding="utf-8")
        self.environ = {
            **os.environ,
            "FUSION__KAFKA__SASL_PLAIN_PASSWORD_FILE": str(folder / "password"),
            "FUSION__KAFKA__SSL_PASSWORD": secret,
            "FUSION__REDIS__PASSWORD": secret,
            "FUSION__TRACES__ENDPOINT": "http://localhost:9/v1/traces",  # nobody is there
            "FUSION__TRACES__RATIO": "1.0",
            "FUSION__TRACES__HEADER": f"X-Key={secret}",
            "FUSION__FEEDS__MQTT__USERNAME": "feed",  # of a command that is not run here
            "FUSION__FEEDS__MQTT__PASSWORD": secret,
        }

    def start(self, log: Path, *arguments: str, **environ: str) -> subprocess.Popen[bytes]:
        """The command with this configuration; all that it says goes to that file."""
        command = [sys.executable, "-m", "tests.security.echo_command", "--debug", "--config", str(self.config)]
        with log.open("ab") as out:
            return subprocess.Popen([*command, *arguments], stdout=out, stderr=out, env={**self.environ, **environ})


def _toml(settings: Mapping[str, Any], prefix: str = "") -> str:
    tables = {name: value for name, value in settings.items() if isinstance(value, Mapping)}
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items() if name not in tables]
    told = f"[{prefix}]\n{''.join(lines)}" if lines else ""
    return told + "".join(_toml(value, f"{prefix}.{name}".strip(".")) for name, value in tables.items())


@pytest.fixture
def planted(kafka: SecuredKafka, tmp_path: Path) -> Iterator[tuple[Town, Planted]]:
    """Servers that know the secret, and a town for it."""
    authority = Authority(tmp_path, "authority")
    (tmp_path / "redis").mkdir()
    with open_redis(kind(), tmp_path / "redis", authority.sign("server"), authority, mutual=True) as server:
        shown = authority.sign("redis-client", password=PLAIN)
        query = f"ssl_ca_certs={authority.file}&ssl_certfile={shown.certificate}&ssl_keyfile={shown.key}"
        address = f"localhost:{server.port}/0?{query}&ssl_password={quote(PLAIN, safe='')}"
        stack: Any = SimpleNamespace(bootstrap_servers=kafka.broker.address, redis_url="redis://nowhere")
        pair = kafka.authority.sign("locked-client", password=PLAIN)
        given = {**kafka.sasl("", "SCRAM-SHA-512", sasl_plain_password=None), **kafka.client(pair)}
        with town(stack, tmp_path, {"texts": 1}, kafka=given, log={"level": "debug"}) as made:
            made.settings["kafka"]["sasl_plain_username"] = made.name
            made.settings["redis"]["url"] = f"rediss://{made.name}:{quote(PLAIN, safe='')}@{address}"
            kafka.let_in(made.name, PLAIN)
            whole = made.settings | {"kafka": made.settings["kafka"] | {"sasl_plain_password": PLAIN}}
            kafka.allow(made.name, least(Settings.model_validate(whole)))
            server.admin.execute_command("ACL", "SETUSER", made.name, "on", f">{PLAIN}", *least_acl(made.name))
            yield made, Planted(made, tmp_path, PLAIN)


def test_no_output_has_a_planted_secret(planted: tuple[Town, Planted]) -> None:
    """A worker that runs, its page, its results and dead letters, `check`, and what fails, with tracebacks."""
    made, command = planted
    said = made.folder / "said.txt"
    wrong = made.folder / "wrong"
    wrong.write_text(SECRET, encoding="utf-8")
    made.workers.append(command.start(made.folder / f"{made.name}.log", "run"))
    refused = {"FUSION__KAFKA__SASL_PLAIN_PASSWORD_FILE": str(wrong)}
    ends = [
        (command.start(said, "check", "--all"), 0),
        (command.start(said, "check", **refused), 3),
        (command.start(said, "run", "--set", "log.format=console", **refused), 1),
        (command.start(said, "check", "--set", f"redis.url=rediss://:{SECRET}@localhost/0"), 1),
        (command.start(said, "check", FUSION__KAFKA__SSL_PASSWORD=SECRET), 2),
        (command.start(said, "check", "--set", "http.port=x"), 1),
        (command.start(said, "check", "--set", f"http.token_file={wrong}"), 2),
        (command.start(said, "run", "--set", f"http.token_file={wrong}"), 1),
    ]
    told(made, 7)
    page = "".join(asked(made, command))
    codes = [(one.wait(60), code) for one, code in ends]
    assert made.stop() == [0]
    written = b"".join(repr((one.key, one.value, one.headers)).encode() for one in [*made.raw, *made.dead])
    places = {
        "log": (made.folder / f"{made.name}.log").read_bytes(), "said": said.read_bytes(), "page": page.encode(),
        "written": written,
    }  # fmt: skip
    assert {place: found(text) for place, text in places.items()} == {place: [] for place in places}
    assert [one for one, code in codes] == [code for _, code in codes], places["said"].decode()
    assert b"Traceback" in places["said"], "--debug was asked for"
    assert b"[redacted]" in places["said"] or b"***" in places["said"]


def asked(made: Town, command: Planted) -> Iterator[str]:
    """What each page says, headers too: with the token, with another, without; and after one that cannot be used came
    into its file, which leaves the old one in force."""
    port = made.ports()[made.workers[0].pid]

    def answer(path: str, token: str | None) -> tuple[int, str]:
        shown = {"Authorization": f"Bearer {token}"} if token is not None else {}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", headers=shown)
        try:
            with urllib.request.urlopen(request, timeout=5) as one:
                return one.status, f"{one.headers}{one.read().decode()}"
        except urllib.error.HTTPError as error:
            return error.code, f"{error.headers}{error.read().decode()}"

    for replaced in (False, True):
        if replaced:
            command.token.write_text(SECRET, encoding="utf-8")
        codes = []
        for path, token in (("metrics", TOKEN), ("metrics", None), ("metrics", quote(PLAIN)), (quote(TOKEN), TOKEN),
                            ("readyz", TOKEN), ("livez", None)):  # fmt: skip
            code, said = answer(path, token)
            codes.append(code)
            yield said
        assert codes == [200, 401, 401, 404, 200, 200]


def test_the_search_finds_what_is_there() -> None:
    """In each spelling."""
    for spelt in (SECRET, quote(PLAIN), repr(SECRET), json.dumps(SECRET), base64.b64encode(PLAIN.encode()).decode()):
        assert found(f"... {spelt} ...".encode())


def test_every_secret_of_the_configuration_is_planted() -> None:
    """A key that is a secret and has no secret above would be one that nobody looks for."""
    secrets = {key for key, _, info in flatten(Settings()) if is_secret(info)}
    secrets -= {name for name in secrets if name.startswith("sinks.")}  # tests/integration/test_sink_planted.py
    kafka, redis = {"kafka.sasl_plain_password", "kafka.ssl_password"}, {"redis.url", "redis.password"}
    assert secrets == {*kafka, *redis, "traces.header", "feeds.mqtt.password"}


def test_the_page_lists_every_secret() -> None:
    """docs/security.md, in the words of the configuration and no others."""
    page = (ROOT / "docs/security.md").read_text()
    listed = page.partition("Secrets are ")[2].partition("each also as a file")[0]
    assert sorted(re.findall(r"`([\w.]+)`", listed)) == sorted(
        key for key, _, info in flatten(Settings()) if is_secret(info)
    )
