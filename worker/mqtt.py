"""One connection to an MQTT broker: made, or why it is not; for feeds and sinks alike."""

from __future__ import annotations

import ssl
import threading
from typing import Any

import paho.mqtt.client as paho

from worker.errors import Retryable, Unreachable
from worker.servers import MqttBroker
from worker.tls import NOT_LOCKED, Keys, ensure_files

QOS = 1
KEEPALIVE_SECONDS = 15
# Of the codes of MQTT 3.1.1: the user or password is wrong, or may do nothing here.
_REFUSALS = ("Bad user name or password", "Not authorized", "Unsupported protocol version")


def connect(client: paho.Client, told: MqttBroker, tls: ssl.SSLContext | None, seconds: float, section: str) -> bool:
    """Connects and starts the client's thread; whether the broker has kept its session.

    Args:
        seconds: how long each answer may take.
        section: where `told` stands in the configuration, for messages.

    Raises:
        Retryable: it is away, or does not answer.
        Unreachable: it refuses the user, or its certificate is not accepted.
    """
    answered, said = threading.Event(), list[tuple[str, bool]]()

    def connected(_: Any, __: Any, flags: Any, reason: Any, ____: Any) -> None:
        said.append((str(reason), flags.session_present))
        answered.set()

    if told.username is not None:
        client.username_pw_set(told.username, told.password)
    if tls is not None:
        client.tls_set_context(tls)
    client.on_connect, client.connect_timeout = connected, seconds
    where = f"{told.host}:{told.port}"
    try:
        client.connect(str(told.host), told.port, KEEPALIVE_SECONDS)
    except ssl.SSLCertVerificationError as error:
        raise Unreachable(f"{section}: the broker's certificate is not accepted: {error.verify_message}") from error
    except (OSError, ValueError) as error:
        raise Retryable(f"{where} is not reached ({type(error).__name__}: {error})") from error
    client.loop_start()
    in_time = answered.wait(seconds)
    if in_time and said[0][0] == "Success":
        return said[0][1]
    end(client)
    if in_time and said[0][0] in _REFUSALS:
        raise Unreachable(f"{section}: {where} refuses this user: {said[0][0]}")
    raise Retryable(f"{where} does not accept the connection ({said[0][0] if said else 'no answer'})")


def end(client: paho.Client) -> None:
    """Takes leave of the broker and ends the client's thread."""
    client.disconnect()
    client.loop_stop()


def tls_context(told: MqttBroker, section: str) -> ssl.SSLContext | None:
    """Checks the broker's certificate and its name; None: without TLS.

    Raises:
        ConfigError: a file of certificates does not fit.
    """
    if not told.tls:
        return None
    names = Keys(
        address=f"{section}.host", authority=f"{section}.ca_file", certificate=f"{section}.certfile",
        key=f"{section}.keyfile", password=NOT_LOCKED, protocol=f"{section}.tls",
    )  # fmt: skip
    ensure_files(names, told.ca_file, told.certfile, told.keyfile, None)
    context = ssl.create_default_context(cafile=told.ca_file)
    if told.certfile is not None:
        # Without a password OpenSSL would ask for one at the terminal, and wait there.
        context.load_cert_chain(told.certfile, told.keyfile, "")
    return context
