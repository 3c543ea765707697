"""Settings -> a redis-py client whose waits are bounded, and its errors in the worker's words."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    OutOfMemoryError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from worker.errors import NoRoom, Retryable, Unreachable
from worker.tls import Keys, ensure_files, meaning

KEYS = Keys(
    address="redis.url", authority="ssl_ca_certs of redis.url", certificate="ssl_certfile of redis.url",
    key="ssl_keyfile of redis.url", password="ssl_password of redis.url",
    protocol="redis.url: rediss:// is TLS, redis:// is not",
)  # fmt: skip
# So do a port that speaks TLS, or wants a client certificate, and a server that starts or ends.
_HANGS_UP = re.compile("(?i)EOF|reset by peer|closed by server|broken pipe")
# What a function's own command is answered with, by Redis 7.0 and by what came after; the error's first word is ERR.
_REFUSED_INSIDE = re.compile("^The user executing the script can't|ACL failure in script")


def connect(options: Mapping[str, Any]) -> Any:
    """A client for the `[redis]` section; nothing is sent yet, but to a cluster.

    redis-py 8 retries by itself with back-off: one ping to a closed port took 4.4 s (PARTS 0.6). The loop repeats
    instead, so every call gives up after `timeout`.
    """
    seconds = options["timeout"].total_seconds()
    more: dict[str, Any] = {
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
        **{name: options[name] for name in ("username", "password") if options.get(name)},
    }
    more |= _tls(options["url"])
    try:
        if options["cluster"]:
            with translated():
                return RedisCluster.from_url(options["url"], **more)
        return redis.Redis.from_url(options["url"], **more)
    except ValueError as error:
        raise Unreachable(f"redis.url: {error}") from error


def _tls(url: str) -> dict[str, str]:
    """What a client of that address needs beside it.

    Raises:
        ConfigError: a file that the address names is not there or does not fit.
    """
    address = urlsplit(url)
    if address.scheme != "rediss":
        return {}
    given = parse_qs(address.query)
    names = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_password")
    ensure_files(KEYS, *(given.get(name, [None])[0] for name in names))
    return {"ssl_password": ""}


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Errors of the server become Retryable; a refused password or right becomes Unreachable.

    Raises:
        Retryable: away, loading, full, read-only or without enough replicas.
        Unreachable: credentials, rights or certificates are wrong; repeating does not help.
    """
    try:
        yield
    except OutOfMemoryError as error:
        raise NoRoom(f"Redis is full: {error}; raise its maxmemory, or lower streams.*.horizon") from error
    except (AuthenticationError, NoPermissionError, ResponseError) as error:
        said = str(error)
        if isinstance(error, NoPermissionError) or said.startswith("NOPERM") or _REFUSED_INSIDE.search(said):
            raise Unreachable(
                f"Redis refuses a right: {said.rstrip('.')}; its ACL user needs +@all -@dangerous +function "
                "+info +keys +scan on ~fw:<kafka.group_id>:* (docs/security.md has the least)"
            ) from error
        if isinstance(error, AuthenticationError) or said.startswith(("WRONGPASS", "NOAUTH")):
            raise Unreachable(f"Redis refuses access: {said}; check redis.username and redis.password") from error
        raise Retryable(f"Redis: {error}") from error
    except (RedisError, RedisClusterException) as error:
        if (meant := meaning(str(error), KEYS)) is not None:
            raise Unreachable(f"Redis at redis.url and this worker do not agree: {meant}") from error
        if _HANGS_UP.search(str(error)):
            raise Retryable(f"Redis: {type(error).__name__}: {error}; see {KEYS.protocol}") from error
        raise Retryable(f"Redis: {type(error).__name__}: {error}") from error


def raise_first(answers: Sequence[Any]) -> None:
    """Raises the first error among a pipeline's answers, in the worker's words."""
    for answer in answers:
        if isinstance(answer, Exception):
            with translated():
                raise answer
