"""Redis over TLS with an ACL user: who is right gets in, who is not is told in one line; the least rights do."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.conftest import ROOT
from tests.security.cases import settings
from tests.security.certificates import Authority
from tests.security.redis_server import kind, open_redis
from tests.security.secured import PASSWORD
from worker.check import _redis as ask_redis
from worker.check import ask_all
from worker.demo.valkey import EmbeddedValkey
from worker.store.rights import DIRECT, INSIDE, least_acl

GROUP = settings({}).kafka.group_id


class Place:
    """Authorities, and servers of one kind: `open` lets in whom it knows, `mutual` wants a certificate besides."""

    def __init__(self, folder: Path, servers: dict[str, Any], authority: Authority, other: Authority) -> None:
        self.folder, self.servers, self.authority, self.other = folder, servers, authority, other

    def url(self, server: str = "open", authority: Any = "", scheme: str = "rediss", **more: Any) -> str:
        """An address, right but for the changes."""
        file = str(authority or self.authority.file)
        query = "&".join(f"{name}={value}" for name, value in {"ssl_ca_certs": file, **more}.items())
        return f"{scheme}://localhost:{self.servers[server].port}/0{f'?{query}' if scheme == 'rediss' else ''}"

    def shown(self, signer: Authority, locked: str | None = None, days: int = 5) -> dict[str, Any]:
        """A client certificate, as parts of an address."""
        pair = signer.sign("client", password=locked, days=days)
        return {"ssl_certfile": pair.certificate, "ssl_keyfile": pair.key}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server for each case, with a user of the least rights."""
    folder = tmp_path_factory.mktemp("redis")
    authority, other = Authority(folder, "authority"), Authority(folder, "other")
    shown = {
        "open": authority.sign("server"), "far": authority.sign("far", ["far.test"]),
        "expired": authority.sign("old", days=-1), "mutual": authority.sign("server2"),
    }  # fmt: skip
    with contextlib.ExitStack() as closing:
        servers = {}
        for name, pair in shown.items():
            (folder / name).mkdir()
            opened = open_redis(kind(), folder / name, pair, authority, mutual=name == "mutual")
            servers[name] = closing.enter_context(opened)
            servers[name].admin.execute_command("ACL", "SETUSER", "worker", "on", f">{PASSWORD}", *least_acl(GROUP))
            servers[name].admin.execute_command("ACL", "SETUSER", "default", "off")
        yield Place(folder, servers, authority, other)


def told(url: str, **changes: Any) -> tuple[int, str]:
    """`check`'s exit code and line about Redis."""
    section = {"url": url, "username": "worker", "password": PASSWORD, "timeout": "2s", **changes}
    patience = changes.pop("startup_timeout", "20s")
    section.pop("startup_timeout", None)
    answer = ask_all({"redis": (ask_redis, 60.0)}, settings({"startup_timeout": patience}, redis=section))["redis"]
    return answer.exit_code, answer.line


RIGHT: dict[str, Callable[[Place], str]] = {
    "TLS": lambda place: place.url(),
    "mTLS": lambda place: place.url("mutual", **place.shown(place.authority)),
    "mTLS, locked key": lambda place: place.url("mutual", **place.shown(place.authority, "pass"), ssl_password="pass"),
}
WRONG: dict[str, tuple[Callable[[Place], str], dict[str, Any], int, str]] = {
    "wrong password": (
        lambda place: place.url(), {"password": "not/this"}, 3, "check redis.username and redis.password"
    ),
    "no such user": (lambda place: place.url(), {"username": "nobody"}, 3, "check redis.username and redis.password"),
    "no password": (lambda place: place.url(), {"username": None, "password": None}, 3, "redis.password"),
    "wrong authority": (
        lambda place: place.url(authority=place.other.file), {}, 3, "signed by none of ssl_ca_certs of redis.url"
    ),
    "wrong host name": (lambda place: place.url("far"), {}, 3, "the certificate that it shows is of another host"),
    "expired": (lambda place: place.url("expired"), {}, 3, "the certificate that it shows has expired"),
    "client certificate of another authority": (
        lambda place: place.url("mutual", **place.shown(place.other)), {}, 3, "does not accept the client certificate"
    ),
    "no client certificate": (lambda place: place.url("mutual"), {"startup_timeout": "1s"}, 3, "redis.url"),
    "plaintext to a TLS port": (
        lambda place: place.url(scheme="redis"), {"startup_timeout": "1s"}, 3, "rediss:// is TLS, redis:// is not"
    ),
    "locked key, no password": (
        lambda place: place.url("mutual", **place.shown(place.authority, "pass")), {}, 2,
        "give ssl_password of redis.url",
    ),
    "no such file": (lambda place: place.url(authority="/nowhere.pem"), {}, 2, "no such file"),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_who_is_right_gets_in(place: Place, name: str) -> None:
    """As a user with the least rights, over TLS."""
    code, line = told(RIGHT[name](place))
    assert (code, "functions loaded and called" in line) == (0, True), line


@pytest.mark.parametrize("name", WRONG)
def test_who_is_wrong_is_told_why(place: Place, name: str) -> None:
    """One line, no secret."""
    url, changes, code, sentence = WRONG[name]
    found, line = told(url(place), **changes)
    assert (found, sentence in line) == (code, True), line
    assert not any(part in line for part in ("\n", "Traceback", PASSWORD, "not/this"))


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """A server without TLS."""
    server = EmbeddedValkey(tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture(scope="module", params=["valkey", "best"])
def bare(request: pytest.FixtureRequest, valkey: EmbeddedValkey, place: Place) -> Iterator[tuple[str, Any]]:
    """The address of a server where rights alone count, and its administrator: Valkey, and Debian's Redis, which words
    a refusal inside a function in its own way."""
    if request.param == "valkey":
        with redis.Redis.from_url(valkey.url) as admin:
            yield valkey.url, admin
    else:
        yield place.servers["open"].bare, place.servers["open"].admin


def test_tls_to_a_plaintext_port_is_told_in_time(valkey: EmbeddedValkey) -> None:
    """The server does not answer at all: the address is named."""
    code, line = told(f"rediss://localhost:{valkey.port}/0", startup_timeout="1s", timeout="1s")
    assert code == 3
    assert "redis.url" in line


@pytest.mark.parametrize("command", sorted({*DIRECT, *INSIDE}))
def test_each_command_that_is_missing_is_named(bare: tuple[str, Any], command: str) -> None:
    """By `check`, which does what a worker does; but for what a single event cannot come to. Redis 7.0 names the
    function's line instead."""
    url, admin = bare
    admin.flushall()
    rules = [rule for rule in least_acl(GROUP) if rule != f"+{command}"]
    admin.execute_command("ACL", "SETUSER", "bare", "reset", "on", f">{PASSWORD}", *rules)
    code, line = told(url, username="bare", startup_timeout="1s")
    if command in LATER:
        assert code == 0, line
    else:
        assert (code, "Redis refuses a right: " in line) == (3, True), line
        by_line = command in INSIDE and re.search(r"script: fusion_\w+, on @user_function:\d", line)
        assert f"'{command}'" in line or by_line, line


# Of events that leave, of many in a window, and of what a dead epoch left behind: no trial makes these.
LATER = ("hdel", "unlink", "zrange", "zrevrangebyscore")


def test_the_least_rights_are_those_of_the_code() -> None:
    """Every command that a function calls is among them, and none more."""
    code = "".join(path.read_text() for path in (ROOT / "worker/store").glob("*.lua"))
    assert {name.lower() for name in re.findall(r"redis\.p?call\('(\w+)'", code)} == set(INSIDE)


def test_the_page_shows_the_least_rights() -> None:
    """docs/security.md has the rule as it is given here."""
    page = (ROOT / "docs/security.md").read_text()
    assert " ".join(least_acl("fusion-worker")) in " ".join(page.split())
