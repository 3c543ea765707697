"""The event service of ONVIF cameras -> events: a pull point a camera, made again when it is lost."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
from onvif import ONVIFCamera
from onvif.exceptions import ONVIFError
from zeep.exceptions import Error as ZeepError

from worker.errors import ConfigError
from worker.feeds.messages.intake import Intake
from worker.feeds.messages.translate import Message
from worker.ports.ops import Health, Log
from worker.strict_json import write_json

# A camera holds an empty answer back for as long.
_PULL = timedelta(seconds=2)
_SUBSCRIPTION = timedelta(minutes=10)
_MOST_MESSAGES = 100
# What is asked first takes several answers, and a second of this machine's time.
_SILENCE_SECONDS = 15.0
_AGAIN_SECONDS, _AT_MOST_SECONDS = 0.5, 30.0
_LOST = (ONVIFError, ZeepError, aiohttp.ClientError, TimeoutError, OSError)
_REFUSED = ("notauthorized", "not authorized", "unauthorized", "401")


class OnvifCameras:
    """All cameras, in one thread: the client's library keeps what is bound to an event loop."""

    def __init__(self, cameras: Sequence[OnvifCamera]) -> None:
        self._cameras = list(cameras)
        self.name = "onvif"

    def run(self, stop: threading.Event) -> None:
        """Listens until `stop`. Raises Fatal: Kafka refuses for good."""
        # A value that is none, such as a time, is None to us, and the intake says so: zeep adds a traceback each.
        logging.getLogger("zeep.xsd").setLevel(logging.CRITICAL)
        asyncio.run(self._all(stop))

    async def _all(self, stop: threading.Event) -> None:
        await asyncio.gather(*(camera.play(stop) for camera in self._cameras))


@dataclass(frozen=True, slots=True)
class Account:
    """Where a camera listens, as whom it is asked, and the key of its events."""

    key: str
    host: str
    port: int
    user: str
    password: str

    @classmethod
    def at(cls, key: str, address: str) -> Account:
        """Of `http://host:port`, user and password before the host. Raises ConfigError: it is none."""
        try:
            parts = urlsplit(address)
            port = 80 if parts.port is None else parts.port
        except ValueError:
            parts, port = urlsplit(""), 0
        if parts.scheme != "http" or not parts.hostname or not port:
            raise ConfigError(f"SOURCE: {key}: an ONVIF camera is http://HOST:PORT, user and password before the host")
        return cls(key, parts.hostname, port, unquote(parts.username or ""), unquote(parts.password or ""))


class OnvifCamera:
    """One camera. A camera that is lost, or refuses the user, is told once and asked again without end, each time after
    a longer pause; the others go on. What it tells while nobody is subscribed it does not tell again."""

    def __init__(
        self, account: Account, intake: Intake, health: Health, log: Log,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:  # fmt: skip
        """`now_us` is the wall clock."""
        self._account, self._key = account, account.key
        self._intake, self._health, self._log, self._now_us = intake, health, log, now_us
        self._lost: str | None = None
        self._pause = _AGAIN_SECONDS
        self.name = f"onvif {account.key}"

    async def play(self, stop: threading.Event) -> None:
        """Listens until `stop`. Raises Fatal: Kafka refuses for good."""
        self._health.block(self.name, "is not subscribed yet")
        while not stop.is_set():
            at = self._account
            camera = ONVIFCamera(at.host, at.port, at.user, at.password, adjust_time=True)
            try:
                await self._follow(camera, stop)
            except _LOST as error:
                self._tell_lost(_said(error, f"{at.host}:{at.port}"))
            finally:
                await camera.close()
            until = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, _AT_MOST_SECONDS)
            while not stop.is_set() and time.monotonic() < until:
                self._intake.due(self._now_us())
                await asyncio.sleep(0.1)
        self._intake.end()

    async def _follow(self, camera: ONVIFCamera, stop: threading.Event) -> None:
        ended = asyncio.Event()
        await _answered(camera.update_xaddrs())
        manager = await _answered(camera.create_pullpoint_manager(_SUBSCRIPTION, ended.set))
        service = manager.get_service()
        self._plays()
        try:
            while not stop.is_set():
                if ended.is_set():
                    raise ConnectionError("the subscription ended")
                found = await _answered(service.PullMessages({"MessageLimit": _MOST_MESSAGES, "Timeout": _PULL}))
                for one in _within(found, "NotificationMessage") or ():
                    self._intake.take(Message(self._topic(one), write_json(_told(one)), self._now_us()))
                self._intake.due(self._now_us())
        finally:
            await manager.shutdown()

    def _topic(self, one: Any) -> str:
        """The camera's key and ONVIF's topic, less the prefixes of its levels."""
        levels = str(_within(one, "Topic", "_value_1") or "").split("/")
        return "/".join([self._key, *(level.rpartition(":")[2] for level in levels)])

    def _plays(self) -> None:
        self._log.info("listens", camera=self._key)
        self._health.clear(self.name)
        self._lost, self._pause = None, _AGAIN_SECONDS

    def _tell_lost(self, reason: str) -> None:
        self._health.block(self.name, reason)
        if reason != self._lost:
            self._log.warning("a camera's events are lost; asked again", key=self._key, reason=reason)
        self._lost = reason


async def _answered(call: Awaitable[Any]) -> Any:
    """What a camera answers.

    Raises:
        ConnectionError: the library stumbles over it: a router's page, an envelope without what was asked for.
        TimeoutError: nothing, for too long.
    """
    try:
        async with asyncio.timeout(_SILENCE_SECONDS):
            return await call
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"no answer for {_SILENCE_SECONDS:g} s") from error
    except (AttributeError, TypeError, ValueError, LookupError) as error:
        raise ConnectionError(f"it does not answer as an ONVIF camera ({type(error).__name__}: {error})") from error


def _told(one: Any) -> dict[str, Any]:
    """A notification as JSON, whatever the camera has left out; `UtcTime` is UTC, with a zone or without."""
    message = _within(one, "Message", "_value_1")
    at: datetime | None = _within(message, "UtcTime")
    told = {"time": None if at is None else (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()}
    told["operation"] = _within(message, "PropertyOperation")
    return told | {name.lower(): _items(_within(message, name)) for name in ("Source", "Key", "Data")}


def _within(held: Any, *names: str) -> Any:
    """What lies there; None: a camera has left it out."""
    for name in names:
        held = getattr(held, name, None)
    return held


def _items(held: Any) -> dict[str, str]:
    return {item.Name: item.Value for item in (_within(held, "SimpleItem") or ())}


def _said(error: BaseException, where: str) -> str:
    """In one line, without the library's words where ours are clearer."""
    text = " ".join(str(error if str(error) or error.__cause__ is None else error.__cause__).split())
    if any(word in text.lower() for word in _REFUSED):
        return f"{where}: user or password is wrong"
    if isinstance(error, aiohttp.ClientConnectorError | ConnectionRefusedError) or "Cannot connect" in text:
        return f"{where}: nobody listens there"
    return f"{where}: {text[:200] or type(error).__name__}"
