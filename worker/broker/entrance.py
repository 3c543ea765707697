"""The way in to each broker: TLS files, handshake, sign-in -> one sentence that says what is wrong, or nothing.

kafka-python 3.0.12 repeats whatever fails before a connection stands until its time is up, and says only then, and only
that it was `Unable to bootstrap`.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping
from typing import Any

from kafka.errors import (
    AuthorizationError,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)
from kafka.net.compat import KafkaNetClient

from worker.errors import Unreachable
from worker.tls import Keys, ensure_files, meaning

# A broker that starts refuses connections for seconds; asked again after so long it costs nobody anything.
_AGAIN_SECONDS = 0.2
_LEAST_SECONDS = 1.0
_SIGN_IN = (SaslAuthenticationFailedError, UnsupportedSaslMechanismError, IllegalSaslStateError, AuthorizationError)
KEYS = Keys(
    address="kafka.bootstrap_servers", authority="kafka.ssl_cafile", certificate="kafka.ssl_certfile",
    key="kafka.ssl_keyfile", password="kafka.ssl_password", protocol="kafka.security_protocol",
)  # fmt: skip
_CLOSED = (
    "it ended the connection; a port that speaks TLS, or does not, or wants SASL, or wants a client certificate, does "
    "so: see kafka.security_protocol and kafka.ssl_certfile"
)


def ensure_tls_files(options: Mapping[str, Any]) -> None:
    """Looks at the files of `kafka.ssl_*`, where the protocol uses them.

    Raises:
        ConfigError: one that is not there or does not fit, with the remedy.
    """
    if str(options.get("security_protocol", "")).endswith("SSL"):
        names = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_password")
        ensure_files(KEYS, *(options.get(name) for name in names))


def ensure_let_in(options: Mapping[str, Any], timeout_seconds: float) -> None:
    """Waits until a broker lets this worker in and tells of the others, and then until each has let it in or is away.

    Args:
        options: what `connection_options` gives.

    Raises:
        ConfigError: a TLS file that does not fit.
        Unreachable: all refuse it, at once where repeating cannot help, with each one's reason; or none is there.
    """
    ensure_tls_files(options)
    began, at = time.monotonic(), f"Kafka at kafka.bootstrap_servers = {', '.join(options['bootstrap_servers'])!r}"
    deadline = began + timeout_seconds
    with contextlib.closing(_Entrance(options, deadline)) as entrance:
        while refused := entrance.refused():
            told = "; ".join(dict.fromkeys(why for why, _ in refused.values()))
            if all(final for _, final in refused.values()):
                raise Unreachable(f"{at} and this worker do not agree: {told}")
            if time.monotonic() > deadline:
                raise Unreachable(f"{at} not reached within {time.monotonic() - began:.1f} s: {told}")
            time.sleep(_AGAIN_SECONDS)
        if others := entrance.others():
            raise Unreachable("; ".join(f"Kafka's broker at {address}: {why}" for address, why in others.items()))


class _Entrance:
    def __init__(self, options: Mapping[str, Any], deadline: float) -> None:
        self._deadline = deadline
        self._client: Any = KafkaNetClient(**options)
        self._manager = self._client._manager
        self._net, self._cluster = self._manager._net, self._manager.cluster
        self._net.start()

    def refused(self) -> dict[str, tuple[str, bool]]:
        """By address why it does not let us in, and whether that is final; empty once one of them does."""
        found = {}
        for broker in self._cluster.bootstrap_brokers():
            failure = self._try(self._asked, broker.node_id)
            if failure is None:
                return {}
            found[f"{broker.host}:{broker.port}"] = _judged(failure)
        return found

    def others(self) -> dict[str, str]:
        """Of the brokers that the cluster names those that can never be used."""
        found = {}
        for broker in self._cluster.brokers():
            failure = self._try(self._connected, broker.node_id)
            why, is_final = ("", False) if failure is None else _judged(failure)
            if is_final:
                found[f"{broker.host}:{broker.port}"] = why
        return found

    def _try(self, step: Any, node: Any) -> Exception | None:
        self._manager.reset_backoff(node)
        self._manager._auth_failures.pop(node, None)
        try:
            self._manager.run(step, node)
        except (KafkaError, OSError) as error:
            return error
        return None

    async def _connected(self, node: Any) -> None:
        left = max(_LEAST_SECONDS, self._deadline - time.monotonic())
        await self._manager.get_connection(node, timeout_ms=int(left * 1000))

    async def _asked(self, node: Any) -> None:
        """A broker that wants more than it was shown says so, or hangs up, at the first question only."""
        await self._connected(node)
        await self._cluster.refresh_metadata(node)

    def close(self) -> None:
        self._client.close()
        self._net.stop()


def _judged(error: Exception) -> tuple[str, bool]:
    """What it means, and whether repeating cannot help."""
    said = " ".join(str(error).split())
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"it does not know kafka.sasl_mechanism ({said})", True
    if isinstance(error, IllegalSaslStateError):
        return "it asks nobody to sign in there; see kafka.security_protocol", True
    if isinstance(error, _SIGN_IN):
        return f"it refuses access ({said}); check kafka.sasl_plain_username and kafka.sasl_plain_password", True
    if (meant := meaning(said, KEYS)) is not None:
        return meant, True
    if "Invalid frame length" in said:
        return f"it answers, but not as a listener without TLS does; see {KEYS.protocol}", True
    if re.search("(?i)disconnected|EOF|reset by peer|broken pipe", said):
        return _CLOSED, False
    return f"{said}; does a broker run there, and is the address right?", False
