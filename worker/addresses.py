"""Addresses of servers as they are written in the configuration -> the same, or the reason why not."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

MOST_PORT = 65535
# What a Redis address may carry behind its `?`. Time limits and decoding are the worker's own.
REDIS_OPTIONS = (
    "db", "username", "password", "client_name", "ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_path", "ssl_certfile",
    "ssl_keyfile", "ssl_password", "ssl_check_hostname",
)  # fmt: skip


def host_name(value: str) -> str:
    """The name or address of a machine, as a resolver takes it.

    Raises:
        ValueError: no resolver does; the message does not repeat it, since it may stand in a secret.
    """
    try:
        value.encode("idna")
    except UnicodeError as error:
        raise ValueError(
            "the host is no name: between its dots stand 1 to 63 characters each, such as broker-1.example.org"
        ) from error
    return value


def brokers(value: str) -> str:
    """`host:port`, separated by commas; an IPv6 address stands in brackets.

    Raises:
        ValueError: some part is none.
    """
    for address in (one.strip() for one in value.split(",")):
        found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+):(\d{1,5})", address)
        if not found:
            raise ValueError("some address is not host:port")
        if not 1 <= int(found[2]) <= MOST_PORT:
            raise ValueError(f"port {found[2]} is not from 1 to {MOST_PORT}")
        host_name(found[1].strip("[]"))
    return value


def redis_address(value: str) -> str:
    """`redis://`, `rediss://` or `unix://`, read once here as the client will read it; no message tells a password.

    Raises:
        ValueError: the client would read it differently from how it was meant, or not at all.
    """
    credentials, _, place = value.partition("://")[2].rpartition("@")
    if re.search(r"[/#?\[\]\s]", credentials):
        raise ValueError(
            "before its last '@' stands a '/', '#', '?', '[', ']' or a space; write them as %2F, %23, %3F, %5B, %5D "
            "and %20, or give the password as redis.password"
        )
    if re.search(r"[\s#]", place):
        raise ValueError("behind the host stands a '#' or a space; write them as %23 and %20")
    parts = _parts(value)
    if parts.scheme == "unix":
        if parts.hostname or not parts.path.strip("/"):
            raise ValueError("a socket's path is absolute: unix:///run/redis.sock")
    elif not parts.hostname:
        raise ValueError("it names no host")
    elif not re.fullmatch(r"/?|/\d{1,6}", parts.path):
        raise ValueError(f"database {parts.path[1:]!r} is no number; write /0")
    _options(parts.query, numbered=parts.scheme != "unix" and len(parts.path) > 1)
    return value


def _options(query: str, *, numbered: bool) -> None:
    given = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in given]
    if unknown := [name for name in names if name not in REDIS_OPTIONS]:
        hint = "; the time limit is redis.timeout" if "timeout" in unknown[0] else ""
        raise ValueError(f"unknown option {unknown[0]!r}; it may be {', '.join(REDIS_OPTIONS)}{hint}")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"option {twice[0]!r} is given twice")
    database = dict(given).get("db")
    if database is not None and (numbered or not re.fullmatch(r"\d{1,6}", database)):
        raise ValueError("the database is given twice" if numbered else f"database {database!r} is no number")


def collector(value: str) -> str:
    """`http://` or `https://` with a host and no user: secrets have a key of their own.

    Raises:
        ValueError: it is not that.
    """
    parts = _parts(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it is not http:// or https:// with a host")
    if "@" in parts.netloc or re.search(r"\s", value):
        raise ValueError("it holds a user or a space; give what proves who you are as traces.header")
    return value


def webhook(value: str) -> str:
    """`http://` or `https://` with a host and no user; a token may stand in it.

    Raises:
        ValueError: it is not that.
    """
    if not re.fullmatch(r"https?://[^\s@]+", value) or not _parts(value).hostname:
        raise ValueError("it names no host, or holds a user or a space")
    return value


def _parts(value: str) -> SplitResult:
    """Raises ValueError: its host cannot be told or is none, or its port is none."""
    try:
        parts = urlsplit(value)
    except ValueError as error:
        raise ValueError("its host cannot be told; an IPv6 address stands in brackets, such as [::1]") from error
    try:
        fits = parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"the port must be a number from 1 to {MOST_PORT}")
    host_name(parts.hostname or "")
    return parts
