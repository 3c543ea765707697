"""Results -> an HTTP server, by POST, signed as Standard Webhooks says (standardwebhooks.com)."""

from __future__ import annotations

import base64
import binascii
import email.utils
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import urllib3

from schemas import names
from worker import destinations
from worker.errors import ConfigError, Retryable, Unreachable
from worker.sinks.destination import Busy, Destination, Item, refused
from worker.tls import Keys, ensure_files

_SECRET_PREFIX = "whsec_"
_KEYS = Keys(
    address="sinks.webhook.url", authority="sinks.webhook.ca_file", certificate="", key="", password="",
    protocol="sinks.webhook.url",
)  # fmt: skip
# Answers that say that the same request may work later; any other 4xx says that it never will.
_LATER = frozenset({408, 421, 423, 425, 429})
_NO_ACCESS = frozenset({401, 407})
_TOLD_BYTES = 200
_RETRY_AFTER_SECONDS = 5.0


class WebhookDestination(Destination):
    """POSTs a result, or a JSON list of several. A redirect is not followed: it counts as refused."""

    def __init__(self, told: destinations.Webhook, now: Callable[[], float] = time.time) -> None:
        """`told.url` is given; `now`: seconds since 1970.

        Raises:
            ConfigError: the secret or a file of certificates does not fit.
        """
        self._url, self._now, self._many = str(told.url), now, told.batch > 1
        parts = urlsplit(self._url)
        self._host = f"{parts.scheme}://{parts.netloc}"
        self._secret = None if told.secret is None else _key(told.secret)
        self._headers = {name.strip(): value.strip() for name, _, value in (h.partition(":") for h in told.headers)}
        if told.authorization is not None:
            self._headers["Authorization"] = told.authorization
        seconds = told.timeout.total_seconds()
        ensure_files(_KEYS, told.ca_file, None, None, None)
        self._pool = urllib3.PoolManager(
            num_pools=1, maxsize=1, timeout=urllib3.Timeout(connect=min(seconds, 5.0), total=seconds),
            retries=False, ca_certs=told.ca_file, cert_reqs="CERT_REQUIRED",
        )  # fmt: skip

    def deliver(self, items: Sequence[Item]) -> None:
        """See `Destination`. The request's id is the result's, or of a list a digest of the results' ids."""
        if self._many:
            body = b"[" + b",".join(item.value for item in items) + b"]"
            request_id = hashlib.sha256("".join(item.id for item in items).encode()).hexdigest()[:32]
            self._post(request_id, body)
        else:
            for item in items:
                self._post(item.id, item.value)

    def _post(self, request_id: str, body: bytes) -> None:
        try:
            answer = self._pool.request(
                "POST", self._url, body=body, headers=self._signed(request_id, body), redirect=False,
                preload_content=False,
            )  # fmt: skip
            said = answer.read(_TOLD_BYTES, decode_content=False)
            answer.drain_conn()
            answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise _away(self._host, error) from error
        if not 200 <= answer.status < 300:
            self._judge(answer.status, said, answer.headers.get("Retry-After"))

    def _signed(self, request_id: str, body: bytes) -> dict[str, str]:
        stamp = str(int(self._now()))
        headers = {
            "Content-Type": names.JSON, "User-Agent": "fusion-worker", **self._headers,
            "Idempotency-Key": request_id, "webhook-id": request_id, "webhook-timestamp": stamp,
        }  # fmt: skip
        if self._secret is not None:
            headers["webhook-signature"] = signature(self._secret, request_id, stamp, body)
        return headers

    def _judge(self, status: int, said: bytes, retry_after: str | None) -> None:
        told = " ".join(said.decode(errors="replace").split())
        line = f"{self._host} answered {status}{f': {told}' if told else ''}"
        if status in _LATER or status >= 500:
            raise Busy(line, self._seconds(retry_after))
        if status in _NO_ACCESS:
            raise Unreachable(f"sinks.webhook: {line}; it refuses access: look at authorization and secret")
        raise refused(line)

    def _seconds(self, retry_after: str | None) -> float:
        """What Retry-After asks for: seconds, or a date."""
        if retry_after is None:
            return 0.0
        if re.fullmatch(r"[0-9]{1,6}", retry_after.strip()):
            return float(retry_after)
        try:
            at = email.utils.parsedate_to_datetime(retry_after).timestamp()
        except (ValueError, TypeError):
            return _RETRY_AFTER_SECONDS
        return max(0.0, at - self._now())

    def close(self) -> None:
        """Ends the connection."""
        self._pool.clear()


def signature(secret: bytes, request_id: str, stamp: str, body: bytes) -> str:
    """`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`."""
    signed = b".".join([request_id.encode(), stamp.encode(), body])
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


def _key(secret: str) -> bytes:
    """The bytes of a secret: of `whsec_...` the base64 that follows, else its UTF-8.

    Raises:
        ConfigError: what follows is no base64.
    """
    if not secret.startswith(_SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise ConfigError("sinks.webhook: the secret must be base64 behind whsec_") from error


def _away(host: str, error: urllib3.exceptions.HTTPError) -> Retryable:
    return Retryable(f"{host} does not answer ({type(error).__name__}: {error})")
