"""A real MQTT broker, Debian's mosquitto, unpacked into the cache; `python -m tests.mosquitto` fetches it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.debian import libraries, unpacked
from tests.sinks import wait_until
from worker.demo.processes import answers, free_port

PACKAGES = ("mosquitto", "libcjson1", "libmosquitto1", "libdlt2", "libwrap0", "libcap2", "libnsl2", "libtirpc3")
USER, PASSWORD = "home", "open sesame"


def program() -> tuple[str, dict[str, str]]:
    """The broker, and the environment that it needs: from PATH, else from the cache."""
    if found := shutil.which("mosquitto"):
        return found, dict(os.environ)
    root = unpacked("mosquitto", PACKAGES)
    return str(root / "usr" / "sbin" / "mosquitto"), os.environ | {"LD_LIBRARY_PATH": str(libraries(root))}


class Mosquitto:
    """A running one, on a port that stays its own; sessions and retained messages outlive `stop` and `start`."""

    def __init__(self, folder: Path, users: bool = False, more: Sequence[str] = (), saves: bool = True) -> None:
        """`users`: only USER may come, with PASSWORD; `more`: lines of its configuration; `saves`: what it keeps is
        written down with each change, so that a kill loses nothing, and not as it does by default."""
        folder.mkdir()
        self._file = folder / "mosquitto.conf"
        self.port = free_port()
        lines = [
            f"listener {self.port} 127.0.0.1", "persistence true", f"persistence_location {folder}/",
            *(["autosave_interval 1", "autosave_on_changes true"] if saves else []),
            f"allow_anonymous {str(not users).lower()}", *more,
        ]  # fmt: skip
        if os.geteuid() == 0:
            lines.append("user root")
        if users:
            lines.append(f"password_file {self._passwords(folder)}")
        self._file.write_text("\n".join(lines) + "\n")
        self.start()

    def _passwords(self, folder: Path) -> Path:
        command, environ = program()
        tool = shutil.which("mosquitto_passwd") or str(Path(command).parents[1] / "bin" / "mosquitto_passwd")
        path = folder / "passwords"
        subprocess.run([tool, "-b", "-c", str(path), USER, PASSWORD], env=environ, check=True, capture_output=True)
        return path

    def start(self) -> None:
        """Begins."""
        command, environ = program()
        self.process = subprocess.Popen(
            [command, "-c", str(self._file)], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(lambda: answers(self.port))

    def stop(self) -> None:
        """Ends it, with what it keeps written down."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)

    def publish(self, *messages: tuple[str, str | bytes], qos: int = 1, retain: bool = False) -> None:
        """Sends them as another program does, and waits until the broker has them."""
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.username_pw_set(USER, PASSWORD)
        client.max_queued_messages_set(0)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        sent = [client.publish(topic, payload, qos, retain=retain) for topic, payload in messages]
        for one in sent:
            one.wait_for_publish(20)
        client.disconnect()
        client.loop_stop()


@contextlib.contextmanager
def mosquitto(folder: Path, **more: Any) -> Iterator[Mosquitto]:
    """A running one."""
    broker = Mosquitto(folder, **more)
    try:
        yield broker
    finally:
        broker.process.kill()
        broker.process.wait()


if __name__ == "__main__":
    print(program()[0])
