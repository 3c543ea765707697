"""Who may read what the HTTP server tells, and by which certificate it shows itself. The files are read again when they
change, as certificate managers and Kubernetes replace them under a running process."""

from __future__ import annotations

import base64
import hmac
import os
import re
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from worker.errors import ConfigError
from worker.ports import Log
from worker.text_files import read_text
from worker.tls import NOT_LOCKED, Keys, ensure_files

KEYS = Keys(
    address="http.host", authority="http.ssl_certfile", certificate="http.ssl_certfile", key="http.ssl_keyfile",
    password=NOT_LOCKED, protocol="http.ssl_certfile",
)  # fmt: skip
# What a header can carry as a bearer token (RFC 6750, section 2.1).
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_Read = TypeVar("_Read")


class Access:
    """Guarantees: the token is compared in constant time and told nowhere; a changed file that cannot be used leaves
    what was read before in force, which is logged once. Safe to call from any thread."""

    def __init__(self, certificate: Path | None, key: Path | None, token: Path | None, log: Log) -> None:
        """`key`: None: it lies in the certificate's file.

        Raises:
            ConfigError: a file is missing or does not fit.
        """
        pair = [path for path in (certificate, key) if path is not None]
        self._context = _Files(pair, lambda: _context(pair), log) if certificate is not None else None
        self._token = _Files([token], lambda: _token(token), log) if token is not None else None

    def context(self) -> ssl.SSLContext | None:
        """For a connection that begins now; None: without TLS."""
        return self._context.now() if self._context is not None else None

    def admits(self, authorization: str | None) -> bool:
        """Whether a request with this header may read what the token guards: it is a bearer token or a password."""
        if self._token is None:
            return True
        scheme, _, given = (authorization or "").partition(" ")
        given = _password(given) if scheme.lower() == "basic" else given if scheme.lower() == "bearer" else ""
        return hmac.compare_digest(given.strip().encode(), self._token.now().encode())

    @property
    def is_guarded(self) -> bool:
        """Whether there is a token at all."""
        return self._token is not None


def _password(given: str) -> str:
    """Of HTTP Basic, with whatever user: what a browser asks a person for."""
    try:
        return base64.b64decode(given.strip(), validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


class _Files(Generic[_Read]):
    """What was read of some files; again when one of them is another."""

    def __init__(self, paths: list[Path], read: Callable[[], _Read], log: Log) -> None:
        self._paths, self._read, self._log = paths, read, log
        self._lock = threading.Lock()
        self._seen, self._known = self._state(), read()

    def now(self) -> _Read:
        """What they hold, or held when they could last be used."""
        with self._lock:
            if (state := self._state()) != self._seen:
                self._seen = state
                try:
                    self._known = self._read()
                    self._log.info("read again", files=[str(path) for path in self._paths])
                except ConfigError as error:
                    self._log.warning("not read again", reason=str(error), action="what was read before stays in force")
            return self._known

    def _state(self) -> list[tuple[int, int, int] | None]:
        return [_state(path) for path in self._paths]


def _state(path: Path) -> tuple[int, int, int] | None:
    """Of what a link leads to."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _context(pair: list[Path]) -> ssl.SSLContext:
    certificate, key = str(pair[0]), str(pair[1]) if len(pair) > 1 else None
    ensure_files(KEYS, None, certificate, key, None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:  # It was exchanged in between.
        raise ConfigError(f"http.ssl_certfile = {certificate!r}: cannot be read ({error})") from error
    return context


def _token(path: Path) -> str:
    """Of the file's one line; nothing of it is told."""
    try:
        text = read_text(path).strip()
    except ValueError as error:
        raise ConfigError(f"http.token_file = {str(path)!r}: {error}") from error
    if not _TOKEN.fullmatch(text):
        told = "holds what no bearer token may: one line of letters, digits and ._~+/- is one" if text else "is empty"
        raise ConfigError(f"http.token_file = {str(path)!r}: {told}")
    return text
