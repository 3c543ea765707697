"""A real MQTT broker (amqtt) of a test, a process of its own: `python -m tests.mqtt_broker CONFIGURATION.json`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.sinks import wait_until
from worker.demo.processes import answers, free_port

USER, PASSWORD = "home", "open sesame"


class MqttBroker:
    """The handle of a running one; after a restart it knows nothing of before, and has the same port."""

    def __init__(self, folder: Path, tls: tuple[str, str] | None = None, users: bool = False) -> None:
        """`tls`: files of its certificate and key."""
        folder.mkdir()
        self.port = free_port()
        self._file = folder / "broker.json"
        self._file.write_text(json.dumps(_configuration(folder, self.port, tls, users)))
        self.start()

    def start(self) -> None:
        """Begins."""
        command = [sys.executable, "-m", "tests.mqtt_broker", str(self._file)]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=quiet, stderr=quiet)
        wait_until(lambda: answers(self.port))

    def stop(self) -> None:
        """Kills it."""
        self.process.kill()
        self.process.wait()

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """It says nothing for as long."""
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)


def _configuration(folder: Path, port: int, tls: tuple[str, str] | None, users: bool) -> dict[str, Any]:
    listener: dict[str, Any] = {"type": "tcp", "bind": f"127.0.0.1:{port}"}
    if tls is not None:
        listener |= {"ssl": True, "certfile": tls[0], "keyfile": tls[1]}
    plugins: dict[str, Any] = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": not users}}
    if users:
        from pwdlib import PasswordHash

        (folder / "passwords").write_text(f"{USER}:{PasswordHash.recommended().hash(PASSWORD)}\n")
        plugins = {"amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(folder / "passwords")}}
    return {"listeners": {"default": listener}, "plugins": plugins}


class Listener:
    """A subscriber to everything, as Home Assistant is one to what it is interested in."""

    def __init__(self, broker: MqttBroker) -> None:
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self.seen: list[tuple[str, bytes]] = []
        self._lock, subscribed = threading.Lock(), threading.Event()
        self._client.on_connect = lambda client, *_: client.subscribe("#", 1)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_message = self._heard
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        assert subscribed.wait(20)

    def _heard(self, _: Any, __: Any, message: paho.MQTTMessage) -> None:
        with self._lock:
            self.seen.append((message.topic, message.payload))

    def of(self, end: str) -> list[Any]:
        """What came on topics that end so, read as JSON."""
        with self._lock:
            return [json.loads(body) for topic, body in self.seen if topic.endswith(end) and body]

    def retained(self) -> dict[str, bytes]:
        """The last message of each topic."""
        with self._lock:
            return dict(self.seen)

    def close(self) -> None:
        """Ends it."""
        self._client.disconnect()
        self._client.loop_stop()


@contextlib.contextmanager
def mqtt_broker(folder: Path, **more: Any) -> Iterator[MqttBroker]:
    """A running one."""
    broker = MqttBroker(folder, **more)
    try:
        yield broker
    finally:
        broker.stop()


@contextlib.contextmanager
def listener(broker: MqttBroker) -> Iterator[Listener]:
    """A subscriber that has subscribed."""
    made = Listener(broker)
    try:
        yield made
    finally:
        made.close()


async def _serve(file: Path) -> None:
    from amqtt.broker import Broker

    await Broker(json.loads(file.read_text())).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
