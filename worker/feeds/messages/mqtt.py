"""An MQTT broker's messages -> events; a message of QoS 1 is acknowledged when Kafka has its event."""

from __future__ import annotations

import queue
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from worker.errors import Retryable, Unreachable
from worker.feeds.messages.intake import Intake
from worker.feeds.messages.translate import Message
from worker.mqtt import QOS, connect, end
from worker.ports.ops import Health, Log
from worker.servers import MqttFeed

SECTION = "feeds.mqtt"
_TURN_SECONDS = 0.1
_AGAIN_SECONDS, _AT_MOST_SECONDS = 0.2, 5.0
# The process waits a little longer for its sources.
_LEAVE_SECONDS = 3.0
# A connection that holds for less is not told: two feeds with one client_id take it from each other all the time.
_STEADY_SECONDS = 2.0
_REFUSED = 0x80


class MqttSource:
    """One connection, made again for as long as it runs.

    Guarantees: what comes with QoS 1 is acknowledged once Kafka has its event, or once it is clear that none comes of
    it; so nothing of it is lost by a crash while the broker keeps the session. Retained messages that the broker
    replays are no new events: they are counted, and told once a connection.
    """

    def __init__(
        self, told: MqttFeed, client_id: str, filters: Sequence[str], tls: ssl.SSLContext | None, intake: Intake,
        health: Health, log: Log, sent_before: Callable[[], Iterable[tuple[str, int]]] = tuple,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:  # fmt: skip
        """`filters`: what is subscribed to; `sent_before`: deliveries that are events by their arrival, and its time;
        `now_us` is the wall clock."""
        self._told, self._client_id, self._filters, self._tls = told, client_id, list(filters), tls
        self._intake, self._health, self._log, self._now_us = intake, health, log, now_us
        self._heard: queue.SimpleQueue[tuple[paho.Client, paho.MQTTMessage, int]] = queue.SimpleQueue()
        self._client: paho.Client | None = None
        self._changed = threading.Condition()
        self._open_ids: set[int] = set()  # of this connection's messages that are not acknowledged
        self._lost: str | None = None
        self._pause = _AGAIN_SECONDS
        self._sent_before, self._is_recalled = sent_before, False
        self._retained = 0
        self.name = f"mqtt {told.host}:{told.port}"

    def run(self, stop: threading.Event) -> None:
        """Listens until `stop`; a broker that is lost is told once, and asked again without end.

        Raises:
            Unreachable: it refuses the user, the certificate or the subscription.
            Fatal: Kafka refuses for good.
        """
        self._health.block(self.name, "is not connected yet")
        while not stop.is_set():
            try:
                self._listen(self._open(), stop)
            except Retryable as error:
                self._tell_lost(str(error))
                self._turn_until(time.monotonic() + self._pause, stop)
                self._pause = min(2 * self._pause, _AT_MOST_SECONDS)
        self._leave()

    def _open(self) -> paho.Client:
        self._close()
        client = paho.Client(
            CallbackAPIVersion.VERSION2, self._client_id, clean_session=not self._told.session,
            reconnect_on_failure=False, manual_ack=True,
        )  # fmt: skip
        client.on_message = self._hear
        answers: queue.SimpleQueue[Sequence[Any]] = queue.SimpleQueue()
        client.on_subscribe = lambda _, __, ___, codes, ____: answers.put(codes)
        self._client, seconds = client, self._told.timeout.total_seconds()
        kept = connect(client, self._told, self._tls, seconds, SECTION)
        self._subscribe(client, answers, seconds)
        if kept and not self._is_recalled:
            self._recall_all()
        self._log.info("listens", broker=self.name, to=self._filters, session="kept" if kept else "new")
        self._health.clear(self.name)
        self._retained = 0
        return client

    def _recall_all(self) -> None:
        """What an earlier process took and did not acknowledge comes again now: with the time that it had."""
        self._is_recalled = True
        try:
            for delivery, at_us in self._sent_before():
                self._intake.recall(delivery, at_us)
        except Unreachable as error:
            self._log.warning("what was sent before cannot be read; some of it may come twice", reason=str(error))

    def _subscribe(self, client: paho.Client, answers: queue.SimpleQueue[Sequence[Any]], seconds: float) -> None:
        client.subscribe([(one, QOS) for one in self._filters])
        try:
            codes = answers.get(timeout=seconds)
        except queue.Empty:
            raise Retryable(f"{self.name[5:]} has not answered the subscription within {seconds:g} s") from None
        if refused := [f for f, code in zip(self._filters, codes, strict=True) if code.value >= _REFUSED]:
            raise Unreachable(f"{SECTION}: {self.name[5:]} does not let this user read {', '.join(refused)}")

    def _listen(self, client: paho.Client, stop: threading.Event) -> None:
        since = time.monotonic()
        while client.is_connected():
            self._turn()
            if stop.is_set():
                return
            if self._lost is not None and time.monotonic() - since > _STEADY_SECONDS:
                self._log.info("the MQTT broker is back", broker=self.name)
                self._lost, self._pause = None, _AGAIN_SECONDS
        raise Retryable(f"{self.name[5:]} has gone, or another feed has the client_id {self._client_id!r}")

    def _turn_until(self, monotonic_seconds: float, stop: threading.Event) -> None:
        while time.monotonic() < monotonic_seconds and not stop.is_set():
            self._turn()

    def _turn(self) -> None:
        """One message, if one comes in time, and those that have waited long enough."""
        try:
            client, message, arrived_us = self._heard.get(timeout=_TURN_SECONDS)
        except queue.Empty:
            if self._retained:
                self._log.info("retained messages are no new events; left out", messages=self._retained)
                self._retained = 0
        else:
            self._take(client, message, arrived_us)
        self._intake.due(self._now_us())

    def _take(self, client: paho.Client, message: paho.MQTTMessage, arrived_us: int) -> None:
        settled = None
        if message.qos:
            settled = partial(self._acknowledge, client, message.mid)
            with self._changed:
                self._open_ids.add(message.mid)
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "(no UTF-8)"  # The broker should have refused it; no rule knows it.
        found = Message(topic, bytes(message.payload), arrived_us, settled=settled)
        if message.qos:
            found = replace(found, delivery=f"{message.mid}-{found.digest}")
        if message.retain:
            self._retained += 1
            self._intake.count_dropped("retained")
            found.settle()
        else:
            self._intake.take(found, again=message.dup)

    def _acknowledge(self, client: paho.Client, mid: int) -> None:
        """Over the connection that brought it alone: on another the number may be another message's."""
        with self._changed:
            if client is self._client:
                client.ack(mid, QOS)
                self._open_ids.discard(mid)
                self._changed.notify_all()

    def _hear(self, client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        self._heard.put((client, message, self._now_us()))

    def _tell_lost(self, reason: str) -> None:
        self._health.block(self.name, reason)
        if self._lost is None:
            self._log.warning("the MQTT broker is away; asked again", reason=reason)
        self._lost = reason

    def _leave(self) -> None:
        """What waits for another message goes on alone; what Kafka takes now is acknowledged before the end."""
        self._intake.end()
        with self._changed:
            self._changed.wait_for(lambda: not self._open_ids, _LEAVE_SECONDS)
        self._close()

    def _close(self) -> None:
        with self._changed:
            client, self._client = self._client, None
            self._open_ids.clear()
        if client is not None:
            client.on_message = None
            end(client)
