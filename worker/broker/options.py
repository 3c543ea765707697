"""The `[kafka]` section -> the keyword arguments by which kafka-python connects, and is a member of the group."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

# The client's own 30 s lets it sleep on for half a minute after a broker is back; a try a second costs nobody anything.
RECONNECT_BACKOFF_MAX_MS = 1_000
# The broker answers a fetch at once when it has something; this only bounds how long it holds one that finds nothing.
FETCH_WAIT_MS = 50
CONNECTION_KEYS = (
    "security_protocol",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_password",
    "ssl_check_hostname",
)


def connection_options(kafka: Mapping[str, Any]) -> dict[str, Any]:
    """Bootstrap addresses and security for any kafka-python client; a key that is None is left to the client.

    The section's other keys (group, timeouts, fetch sizes) belong to single clients and are not here.
    """
    servers = [address.strip() for address in kafka["bootstrap_servers"].split(",") if address.strip()]
    chosen = {name: kafka[name] for name in CONNECTION_KEYS if kafka.get(name) is not None}
    if "ssl_certfile" in chosen:
        chosen.setdefault("ssl_password", "")  # without one OpenSSL asks at the terminal, and waits there
    return {"bootstrap_servers": servers, "reconnect_backoff_max_ms": RECONNECT_BACKOFF_MAX_MS, **chosen}


def member_options(kafka: Mapping[str, Any]) -> dict[str, Any]:
    """Of the group's member alone."""
    session_ms = _milliseconds(kafka["session_timeout"])
    return {
        "group_id": kafka["group_id"],
        "auto_offset_reset": kafka["auto_offset_reset"],
        "session_timeout_ms": session_ms,
        # A member hears of a rebalance with its next heartbeat, and a cooperative one takes two rounds.
        "heartbeat_interval_ms": max(100, session_ms // 12),
        "max_poll_interval_ms": _milliseconds(kafka["max_poll_interval"]),
        "fetch_max_bytes": int(kafka["fetch_max_bytes"]),
        "max_poll_records": kafka["max_poll_records"],
    }


def _milliseconds(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)
