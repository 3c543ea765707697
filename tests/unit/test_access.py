"""worker/ops/access.py: /metrics behind a token and TLS, whose files are replaced under a running server."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.security.certificates import Authority, Pair
from worker.config import Settings
from worker.errors import ConfigError
from worker.findings.host import of_http
from worker.from_settings import access_of
from worker.ops.health import Health
from worker.ops.http import OpsServer
from worker.ops.metrics import PrometheusObserver
from worker.settings import load

TOKEN = "s3cret-t0ken_with.all~+/-signs=="
Serve = Callable[..., OpsServer]


class Lines:
    """A log that is read afterwards."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda event, **more: self.told.append(f"{event} {more}")


@pytest.fixture
def log() -> Any:
    return Lines()


@pytest.fixture
def serve(log: Any) -> Iterator[Serve]:
    """Starts a server with these keys of `[http]`."""
    with contextlib.ExitStack() as closing:

        def start(**keys: str) -> OpsServer:
            access = access_of(Settings.model_validate({"http": keys}), log)
            server = OpsServer("127.0.0.1", 0, PrometheusObserver().registry, Health(), access)
            server.start()
            closing.callback(server.stop)
            return server

        yield start


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


def ask(server: OpsServer, path: str, token: str | None = None, trust: Path | None = None) -> tuple[int, str]:
    """Status and body; `trust`: by TLS, whose certificate this authority has signed."""
    if trust is None:
        link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    else:
        context = ssl.create_default_context(cafile=str(trust))
        link = http.client.HTTPSConnection("localhost", server.port, timeout=10, context=context)
    with contextlib.closing(link):
        link.request("GET", path, headers={} if token is None else {"Authorization": token})
        answer = link.getresponse()
        return answer.status, answer.read().decode()


def written(path: Path, text: str) -> str:
    """The file's name."""
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_metrics_ask_for_the_token_and_health_does_not(serve: Serve, tmp_path: Path, log: Any, end: str) -> None:
    """A kubelet sends none. What was wrong with a request is not told, nor is the token anywhere."""
    server = serve(token_file=written(tmp_path / "token", TOKEN + end))
    refused = [None, "", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", "Bearer \u00e9", TOKEN]
    told = {ask(server, "/metrics", token) for token in refused}
    assert told == {(401, "a bearer token is needed\n")}
    for scheme in ("Bearer", "bearer"):
        status, page = ask(server, "/metrics", f"{scheme} {TOKEN}")
        assert status == 200
        assert TOKEN not in page
    assert ask(server, "/livez") == (200, "alive\n")
    assert ask(server, "/readyz") == (200, "ready\n")
    assert ask(server, "/metrics?token=" + TOKEN)[0] == 401
    assert TOKEN not in "\n".join(log.told)


def test_a_rotated_token_is_read(serve: Serve, tmp_path: Path, log: Any) -> None:
    """As Kubernetes does it: a link leads elsewhere. One that cannot be used leaves the old one in force."""
    for name, text in (("one", "first"), ("two", "second"), ("bad", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(text)
    link = tmp_path / "data"
    link.symlink_to(tmp_path / "one")
    server = serve(token_file=str(link / "token"))

    def lead(name: str) -> None:
        (tmp_path / "new").symlink_to(tmp_path / name)
        os.replace(tmp_path / "new", link)

    assert ask(server, "/metrics", "Bearer first")[0] == 200
    lead("two")
    assert [ask(server, "/metrics", f"Bearer {one}")[0] for one in ("first", "second")] == [401, 200]
    lead("bad")
    assert [ask(server, "/metrics", f"Bearer {one}")[0] for one in ("second", "")] == [200, 401]
    assert ask(server, "/metrics", "Bearer second")[0] == 200
    assert len([line for line in log.told if "is empty" in line]) == 1


def test_a_certificate_is_exchanged_under_a_running_server(serve: Serve, tmp_path: Path, authority: Authority) -> None:
    """Half of a pair leaves the old one in force; nobody is refused meanwhile."""
    pair, other = authority.sign("a"), Authority(tmp_path, "other").sign("b")
    server = serve(ssl_certfile=str(pair.certificate), ssl_keyfile=str(pair.key))
    before = shown(server)
    assert ask(server, "/livez", trust=authority.file) == (200, "alive\n")
    os.replace(other.certificate, pair.certificate)
    assert shown(server) == before
    os.replace(other.key, pair.key)
    assert shown(server) != before
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(server, "/livez", trust=authority.file)


def shown(server: OpsServer) -> bytes:
    """The certificate that it shows itself with."""
    return ssl.get_server_certificate(("127.0.0.1", server.port)).encode()


def test_who_does_not_finish_shaking_hands_holds_nobody_up(serve: Serve, authority: Authority) -> None:
    """Nor does one that speaks no TLS, or an old one."""
    pair = authority.sign("a")
    server = serve(ssl_certfile=str(pair.both))
    with socket.create_connection(("127.0.0.1", server.port)) as silent:
        silent.sendall(b"\x16\x03\x01")
        with pytest.raises((http.client.HTTPException, OSError)):
            ask(server, "/livez")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection(("127.0.0.1", server.port)) as link, pytest.raises(ssl.SSLError):
            old.wrap_socket(link, server_hostname="localhost")
        assert ask(server, "/readyz", trust=authority.file) == (200, "ready\n")


def _wrong(folder: Path, pair: Pair, locked: Pair, other: Pair) -> dict[str, dict[str, str]]:
    return {
        "http.ssl_certfile = '/absent.pem': no such file": {"ssl_certfile": "/absent.pem"},
        f"is not the key of http.ssl_certfile = '{pair.certificate}'": {
            "ssl_certfile": str(pair.certificate), "ssl_keyfile": str(other.key),
        },
        "is locked; give one that is not": {"ssl_certfile": str(locked.certificate), "ssl_keyfile": str(locked.key)},
        "http.token_file = '/absent': no such file": {"token_file": "/absent"},
        "is empty": {"token_file": written(folder / "empty", "\n")},
        "holds what no bearer token may": {"token_file": written(folder / "lines", f"{TOKEN}\nand more")},
        "is a folder": {"token_file": str(folder)},
    }  # fmt: skip


def test_what_does_not_fit_is_said_before_anything_is_served(tmp_path: Path, authority: Authority, log: Any) -> None:
    """One line each, with the key of the configuration and the file; no secret."""
    pair, locked, other = (
        authority.sign("a"), authority.sign("locked", password="secret"), authority.sign("other"),
    )  # fmt: skip
    for sentence, keys in _wrong(tmp_path, pair, locked, other).items():
        with pytest.raises(ConfigError) as caught:
            access_of(Settings.model_validate({"http": keys}), log)
        assert sentence in str(caught.value)
        assert caught.value.exit_code == 2
        assert TOKEN not in str(caught.value)
    with pytest.raises(ConfigError, match=r"http .*: ssl_keyfile has no effect without ssl_certfile, the certificate"):
        load(None, (f"http.ssl_keyfile={pair.key}",), {})


@pytest.mark.parametrize(
    ("keys", "warns"),
    [
        ({"host": "0.0.0.0", "token_file": "t"}, True),
        ({"host": "fd00::1", "token_file": "t"}, True),
        ({"host": "127.0.0.1", "token_file": "t"}, False),
        ({"host": "localhost", "token_file": "t"}, False),
        ({"host": "0.0.0.0", "token_file": "t", "ssl_certfile": "c"}, False),
        ({"host": "0.0.0.0"}, False),
    ],
)
def test_a_token_in_the_clear_is_a_finding(keys: dict[str, str], warns: bool) -> None:
    """`check` tells it, with the remedy."""
    found = of_http(Settings.model_validate({"http": keys}))
    assert [str(one) for one in found if "http.ssl_certfile" in one.remedy and "without TLS" in one.sentence] == [
        str(one) for one in found
    ]
    assert bool(found) is warns


@pytest.mark.parametrize(
    ("keys", "warns"),
    [
        ({"host": "0.0.0.0", "console": True}, True),
        ({"host": "0.0.0.0", "console": True, "token_file": "t", "ssl_certfile": "c"}, False),
        ({"host": "127.0.0.1", "console": True}, False),
    ],
)
def test_a_page_that_anybody_reads_is_a_finding(keys: dict[str, Any], warns: bool) -> None:
    """What lies on it is what the events hold."""
    found = [str(one) for one in of_http(Settings.model_validate({"http": keys}))]
    assert ["sees pictures" in one for one in found] == [True] * warns
