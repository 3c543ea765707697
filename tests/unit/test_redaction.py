"""No secret of the settings is told, in whatever spelling and through whichever door."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import redaction
from worker.describe import is_secret, keys
from worker.errors import ConfigError
from worker.redaction import REDACTED, remember, without_secrets
from worker.settings import load, redacted

ROOT = Path(__file__).parents[2]
PASSWORDS = ("se/cretWqrd", "se#cretWqrd", "se?cretWqrd", "se[cretWqrd", "secret Wqrd", "se@cret/Wqrd", "se:cret/Wo/rd")


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    remember(())


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_an_address_that_cannot_be_read_tells_no_part_of_its_password(password: str, debug: list[str]) -> None:
    """Through the process itself, with and without a traceback: one line, exit 2, no piece of four letters."""
    given_url = f"redis.url=redis://:{password}@127.0.0.1:1/0"
    command = [sys.executable, "-m", "worker", *debug, "check", "--set", given_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    told = done.stdout + done.stderr
    assert done.returncode in (1, 2), told
    assert "redis.url" in told
    assert not [n for n in range(len(password) - 3) if password[n : n + 4] in told], told
    if not debug:
        (line,) = done.stderr.splitlines()
        assert "give the password as redis.password" in line


@given(st.text(min_size=4, max_size=30).filter(lambda text: text.strip() == text), st.sampled_from(range(7)))
def test_every_spelling_of_a_secret_goes(secret: str, spelling: int) -> None:
    """As it is, percent-encoded, as a form has it, as JSON and as Python writes it; also within a word."""
    remember([secret])
    spelt = [
        secret, quote(secret), quote(secret, safe=""), quote_plus(secret), quote(secret, safe="").lower(),
        json.dumps(secret)[1:-1], repr(secret)[1:-1],
    ][spelling]  # fmt: skip
    told = without_secrets(f"cannot<{spelt}>reach")
    assert told == f"cannot<{REDACTED}>reach"


def test_pieces_of_an_address_go_and_its_host_stays() -> None:
    """A parser that cuts the password at a slash may tell what lies before it."""
    remember(["redis://user:pa/ss?wqrd#x@example:6379/0", "redis://h/0?password=q%2Fw"])
    told = without_secrets("could not cast 'pa' at example:6379, user; neither wqrd nor q/w")
    assert f"cast '{REDACTED}' at example:6379, user; neither {REDACTED} nor {REDACTED}" in told
    remember(["a"])
    assert without_secrets("a bad day") == f"{REDACTED} bad day"
    remember(())
    assert redaction._Known.pattern is None


def test_a_load_remembers_its_secrets(tmp_path: Path) -> None:
    """Those of the file, the environment, a secret's file and --set, also when the configuration is refused."""
    (tmp_path / "key").write_text("k3y-w0rd\n")
    (tmp_path / "fusion.toml").write_text('[kafka]\nsasl_plain_password = "f1le-word"\n[http]\nport = "x"\n')
    environ = {"FUSION__KAFKA__SSL_PASSWORD_FILE": str(tmp_path / "key"), "FUSION__REDIS__URL": "redis://:env-w0rd@h/0"}
    with pytest.raises(ConfigError):
        load(tmp_path / "fusion.toml", ["redis.password=s3t-word"], environ)
    for secret in ("f1le-word", "k3y-w0rd", "env-w0rd", "s3t-word"):
        assert without_secrets(f"x{secret}x") == f"x{REDACTED}x"


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("redis://h:6379/abc", "database 'abc' is no number"),
        ("redis://h/0/1", "database '0/1' is no number"),
        ("redis://h/-1", "is no number"),
        ("redis://h/0?db=1", "the database is given twice"),
        ("redis://h?db=x", "database 'x' is no number"),
        ("redis://h/0?foo=1", "unknown option 'foo'; it may be db, username, password"),
        ("redis://h/0?socket_timeout=1", "the time limit is redis.timeout"),
        ("redis://h/0?client_name=a&client_name=b", "'client_name' is given twice"),
        ("redis://h:0/0", "the port must be a number from 1 to 65535"),
        ("redis://h:70000/0", "the port must be a number from 1 to 65535"),
        ("redis://h:x/0", "the port must be a number from 1 to 65535"),
        ("redis:///0", "it names no host"),
        ("redis://h/0#x", "stands a '#'"),
        ("unix://run/redis.sock", "a socket's path is absolute"),
        ("http://h", "must be an address that begins with redis://"),
    ],
)  # fmt: skip
def test_an_address_that_would_be_misread_is_refused(address: str, why: str) -> None:
    """An unknown option, a database that is no number, a port that is none: before anything connects."""
    with pytest.raises(ConfigError) as caught:
        load(None, [f"redis.url={address}"], {})
    assert "redis.url = " in str(caught.value)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "redis://h",
        "redis://h/",
        "rediss://u:p%2Fw@h:1/3?ssl_cert_reqs=none",
        "unix:///run/r.sock?db=2",
        "redis://[::1]:1/0",
    ],
)
def test_an_address_that_is_right_is_taken(address: str) -> None:
    """As it is written."""
    assert load(None, [f"redis.url={address}"], {}).settings.redis.url == address


def test_a_secret_of_a_wrong_type_is_not_shown() -> None:
    """A list where an address should be is one line without it."""
    with pytest.raises(ConfigError) as caught:
        load(None, [], {"FUSION__REDIS__URL": '["redis://:s3cret@h"]'})
    assert "s3cret" not in str(caught.value)
    assert redacted(load(None, ["redis.password=s3cret"], {}).settings)["redis.password"] == "***"


def _said(source: str) -> Iterator[str]:
    """The lines of text in a source, with a letter where a value comes; no docstrings, patterns and pages."""
    for node in ast.walk(ast.parse(source)):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        texts = [str(part.value) if isinstance(part, ast.Constant) else "X" for part in parts]
        if " " in (text := "".join(texts)) and "\n" not in text and isinstance(node, ast.JoinedStr | ast.Constant):
            yield text


def test_our_own_words_are_told_as_they_are_written() -> None:
    """No help and no message has the look of a secret or of an address with a password."""
    spoiled = [
        text for path in (ROOT / "worker").rglob("*.py") if path.name != "redaction.py"
        for text in _said(path.read_text(encoding="utf-8")) if without_secrets(text) != text
    ]  # fmt: skip
    assert spoiled == []


@pytest.mark.parametrize("key", sorted(key for key, info in keys([]).items() if is_secret(info)))
def test_what_is_wrong_with_a_secret_is_told(key: str, tmp_path: Path) -> None:
    """That its file is not there, and where; that it was given twice, and by what."""
    name, file = f"FUSION__{key.upper().replace('.', '__')}", tmp_path / "file"
    file.write_text("abcdefgh")
    with pytest.raises(ConfigError) as absent:
        load(None, [], {f"{name}_FILE": "/absent"})
    assert without_secrets(str(absent.value)) == f"environment {name}_FILE names '/absent': no such file"
    with pytest.raises(ConfigError) as twice:
        load(None, [], {name: "abcdefgh", f"{name}_FILE": str(file)})
    told = f"{key} is given twice: by environment {name} and by environment {name}_FILE ({file})"
    assert without_secrets(str(twice.value)) == told
