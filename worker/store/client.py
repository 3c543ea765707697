"""Settings -> a redis-py client whose waits are bounded, and its errors in the worker's words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import AuthenticationError, NoPermissionError, RedisClusterException, RedisError, ResponseError
from redis.retry import Retry

from worker.errors import Retryable, Unreachable


def connect(options: Mapping[str, Any]) -> Any:
    """A client for the `[redis]` section; nothing is sent yet.

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
    try:
        if options["cluster"]:
            with translated():
                return RedisCluster.from_url(options["url"], **more)
        return redis.Redis.from_url(options["url"], **more)
    except ValueError as error:
        raise Unreachable(f"redis.url: {error}") from error


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Errors of the server become Retryable; a refused password or right becomes Unreachable.

    Raises:
        Retryable: away, loading, full, read-only or without enough replicas.
        Unreachable: the credentials are wrong; repeating does not help.
    """
    try:
        yield
    except (AuthenticationError, NoPermissionError) as error:
        raise Unreachable(f"Redis refuses access: {error}; check redis.username and redis.password") from error
    except ResponseError as error:
        if str(error).startswith(("WRONGPASS", "NOAUTH", "NOPERM")):
            raise Unreachable(f"Redis refuses access: {error}; check redis.username and redis.password") from error
        raise Retryable(f"Redis: {error}") from error
    except (RedisError, RedisClusterException) as error:
        raise Retryable(f"Redis: {type(error).__name__}: {error}") from error


def raise_first(answers: Sequence[Any]) -> None:
    """Raises the first error among a pipeline's answers, in the worker's words."""
    for answer in answers:
        if isinstance(answer, Exception):
            with translated():
                raise answer
