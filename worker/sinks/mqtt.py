"""Results -> an MQTT broker: a retained state a key, and what Home Assistant needs to discover each key as a device."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from worker import destinations
from worker.errors import Retryable
from worker.mqtt import QOS, connect, end, tls_context
from worker.sinks.destination import Destination, Item
from worker.sinks.home_assistant import Topics, attributes, discovery, head_names, state
from worker.strict_json import write_json

_SECTION = "sinks.mqtt"
ONLINE, OFFLINE = b"online", b"offline"


class MqttDestination(Destination):
    """Publishes with QoS 1. What a broker has not acknowledged in time is published again, over a new connection, so
    that of one key what came last is what stays."""

    def __init__(self, told: destinations.Mqtt) -> None:
        """`told.host` is given.

        Raises:
            ConfigError: a file of certificates does not fit.
        """
        self._told, self._seconds = told, told.timeout.total_seconds()
        self._topics = Topics(told.base_topic, told.discovery_prefix, told.name)
        self._tls = tls_context(told, _SECTION)
        self._client: paho.Client | None = None
        # Keys that Home Assistant was told of over this connection, each with its further heads.
        self._known: dict[str, frozenset[str]] = {}

    def open(self) -> None:
        """Connects, and says that it is online; the broker says `offline` for it where it goes away without a word."""
        if self._client is not None and self._client.is_connected():
            return
        self._drop()
        client = paho.Client(CallbackAPIVersion.VERSION2, clean_session=True, reconnect_on_failure=False)
        client.max_inflight_messages_set(min(65_535, 2 * self._told.batch))
        client.will_set(self._topics.status, OFFLINE, QOS, retain=True)
        connect(client, self._told, self._tls, self._seconds, _SECTION)
        self._client, client.on_message = client, self._is_online
        client.subscribe(self._topics.status, QOS)
        self._publish({self._topics.status: ONLINE})

    @property
    def _where(self) -> str:
        return f"{self._told.host}:{self._told.port}"

    def _is_online(self, client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        """Another sink of the group has gone away; this one is here."""
        if message.payload == OFFLINE and client is self._client:
            client.publish(self._topics.status, ONLINE, QOS, retain=True)

    def deliver(self, items: Sequence[Item]) -> None:
        """See `Destination`. A key's device is told before its first state."""
        self.open()
        fresh = {item.key: item for item in items if not self._knows(item)}
        if self._told.discovery and fresh:
            expire = int(self._told.expire_after.total_seconds())
            told = {self._topics.config(key): write_json(discovery(item.result, self._topics, expire))
                    for key, item in fresh.items()}  # fmt: skip
            self._publish(told)
        self._known |= {key: head_names(item.result) for key, item in fresh.items()}
        self._publish_all(
            [(topic, body) for item in items for topic, body in (
                (self._topics.attributes(item.key), write_json(attributes(item.result))),
                (self._topics.state(item.key), write_json(state(item.result))),
            )]
        )  # fmt: skip

    def _knows(self, item: Item) -> bool:
        return item.key in self._known and head_names(item.result) <= self._known[item.key]

    def forget(self, key: str) -> str:
        """Takes a key's device out of Home Assistant; what was done, in words.

        Raises:
            Retryable: the broker does not acknowledge.
        """
        self.open()
        gone = (self._topics.config(key), self._topics.state(key), self._topics.attributes(key))
        self._publish(dict.fromkeys(gone, b""))
        return f"its retained messages are taken back ({', '.join(gone)}); a new result of it makes the device again"

    def _publish(self, told: Mapping[str, bytes]) -> None:
        self._publish_all(list(told.items()))

    def _publish_all(self, told: Sequence[tuple[str, bytes]]) -> None:
        """Returns once the broker has acknowledged all of it."""
        client, until = self._client, time.monotonic() + self._seconds
        if client is None:
            raise Retryable(f"{self._where} is not connected")
        sent = [client.publish(topic, body, QOS, retain=True) for topic, body in told]
        try:
            for one in sent:
                if one.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                    raise Retryable(f"{self._where} takes nothing ({paho.error_string(one.rc)})")
                while not one.is_published():
                    if time.monotonic() > until or not client.is_connected():
                        raise Retryable(f"{self._where} has not acknowledged within {self._seconds:g} s, or has gone")
                    one.wait_for_publish(min(0.1, self._seconds))
        except (Retryable, RuntimeError, ValueError) as error:
            self._drop()
            raise Retryable(str(error)) from error

    def _drop(self) -> None:
        """The connection ends without a word, and with it what it still holds: all of that will be published again."""
        client, self._client = self._client, None
        self._known.clear()
        if client is not None:
            client.on_message = None
            end(client)

    def close(self) -> None:
        """Says that it is offline, and ends."""
        client, self._client = self._client, None
        if client is None:
            return
        self._known.clear()
        client.publish(self._topics.status, OFFLINE, QOS, retain=True).wait_for_publish(1.0)
        end(client)
