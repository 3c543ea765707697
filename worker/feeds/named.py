"""`KEY=ADDRESS` of the command line -> key and address; `${NAME}` in it is taken from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from worker.addresses import host_name
from worker.errors import ConfigError
from worker.text_files import is_utf8

_NAMED = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def all_named(given: Sequence[str], key: str | None) -> list[tuple[str, str]]:
    """(key, address) of each source; `key`: of a single one, whatever it is called.

    Raises:
        ConfigError: two have one key, a variable is not set, an address has no host to be called by, or `key` is for
            several.
    """
    named = [_named(one, key if len(given) == 1 else None) for one in given]
    if key and len(named) > 1:
        raise ConfigError("--key: there are several sources; write KEY=SOURCE for each")
    keys = [own for own, _ in named]
    if twice := [own for own in keys if keys.count(own) > 1]:
        raise ConfigError(f"SOURCE: two have the key {twice[0]!r}; write KEY=SOURCE for each")
    return named


def _named(given: str, key: str | None) -> tuple[str, str]:
    found = _NAMED.fullmatch(given)
    own, address = (found[1], found[2]) if found else (None, given)
    address = _VARIABLE.sub(lambda name: _variable(name[1]), address)
    if "://" in address:
        _ensure_host(address)
    if key or own:
        return key or own or "", address
    if "://" in address:
        try:
            parts = urlsplit(address)
        except ValueError as error:
            raise ConfigError(
                "SOURCE: where the host of an address stands is not clear; write '[' and ']' of a user or password as "
                "%5B and %5D, and an IPv6 address as [::1]"
            ) from error
        return f"{parts.hostname or ''}{parts.path}".rstrip("/"), address
    return Path(address).stem or Path(address).resolve().name, address


def _ensure_host(address: str) -> None:
    """Raises ConfigError: it names a host that no resolver takes; one that cannot be told is for whoever reads it."""
    try:
        named = urlsplit(address).hostname or ""
    except ValueError:
        return
    try:
        host_name(named)
    except ValueError as error:
        raise ConfigError(f"SOURCE: {error}") from error


def _variable(name: str) -> str:
    if (value := os.environ.get(name)) is None:
        raise ConfigError(f"SOURCE: the environment has no {name}")
    if not is_utf8(value):
        raise ConfigError(f"SOURCE: the environment's {name} is not UTF-8")
    return value
