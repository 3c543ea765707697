"""PyAV's containers: opened, with what can go wrong told in one sentence that holds no password."""

from __future__ import annotations

import errno
import socket
import struct
import time
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import av
import av.error
from av.container import InputContainer

from worker.errors import Retryable
from worker.redaction import without_secrets

# Seconds without an answer or a packet after which a live source counts as gone.
SILENCE_SECONDS = 4.0
# Of a live stream half a second is looked at before it plays: what is looked at longer comes later.
_LOOK_US = 500_000
_DEVICE = "/dev/"
# AVProducerReferenceTime: wall clock of the sender in microseconds, then flags.
_SENDER_TIME = struct.Struct("=q")
_SENTENCES = {
    "HTTPUnauthorizedError": "user or password is wrong",
    "HTTPForbiddenError": "access is refused",
    "PermissionError": "access is refused",
    "HTTPNotFoundError": "there is no such stream on that host",
    "FileNotFoundError": "there is no such file or device",
    "IsADirectoryError": "it is a folder",
    "ConnectionRefusedError": "nobody listens there",
    "ConnectionResetError": "the connection was cut",
    "BrokenPipeError": "the connection was cut",
    "TimeoutError": f"no answer for {SILENCE_SECONDS:g} s",
    "ExitError": f"no answer for {SILENCE_SECONDS:g} s",
    "InvalidDataError": "it is no video that PyAV can read, or the host does not answer as one",
    "DecoderNotFoundError": "its codec is unknown to this PyAV",
    "ProtocolNotFoundError": "its protocol is unknown to this PyAV",
    "EOFError": "the stream ended",
}
_BY_NUMBER = {
    errno.ENOTTY: "it is no camera",
    errno.ENODEV: "it is no camera, or was unplugged",
    errno.EBUSY: "another program has it",
    errno.EHOSTUNREACH: "no way leads to that host",
    errno.ENETUNREACH: "no way leads to that host",
}


class Unplayable(Retryable):
    """A source cannot be opened or read now; of a file: at all."""


def is_live(address: str) -> bool:
    """A camera or a device, not a file or folder."""
    return "://" in address or address.startswith(_DEVICE)


def opened(address: str, rate: float | None = None) -> InputContainer:
    """The container, with a video stream whose codec is known.

    Raises:
        Unplayable: one sentence says why not; it names the address without its password.
    """
    options: dict[str, str] = {}
    if "://" in address:
        options = {"analyzeduration": str(_LOOK_US)}
    if address.startswith("rtsp"):
        options |= {"rtsp_transport": "tcp", "timeout": str(int(SILENCE_SECONDS * 1e6))}
    device = address.startswith(_DEVICE)
    if device and rate is not None:
        options["framerate"] = f"{rate:g}"
    limits = (SILENCE_SECONDS, SILENCE_SECONDS) if is_live(address) else None
    began = time.monotonic()
    try:
        container = av.open(address, format="v4l2" if device else None, options=options, timeout=limits)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        # FFmpeg calls the silence of an RTSP server invalid data.
        silent = limits is not None and time.monotonic() - began > 0.9 * SILENCE_SECONDS
        raise unplayable(address, TimeoutError() if silent else error) from None
    if not container.streams.video:
        container.close()
        raise Unplayable(f"{without_secrets(address)}: there is no video in it")
    if container.streams.video[0].codec_context is None:
        container.close()
        raise Unplayable(f"{without_secrets(address)}: {_SENTENCES['DecoderNotFoundError']}")
    return container


def unplayable(address: str, error: Exception) -> Unplayable:
    """What PyAV's error means; its own words hold the whole address."""
    name = type(error).__name__
    number = getattr(error, "errno", None)
    said = _SENTENCES.get(name) or _BY_NUMBER.get(number or 0) or _unknown_host(address) or f"{name}, error {number}"
    return Unplayable(f"{without_secrets(address)}: {said}")


def _unknown_host(address: str) -> str | None:
    """That its host has no address, which PyAV tells as an input/output error; None: it has one, or names none."""
    try:
        host = urlsplit(address).hostname if "://" in address else None
    except ValueError:
        return None
    try:
        if host:
            socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return f"there is no host {host!r}"
    return None


def sender_us(packet: Any) -> int | None:
    """When the sender says that it sent this packet's frame: from the last RTCP sender report; microseconds."""
    if not packet.has_sidedata("prft"):
        return None
    return int(_SENDER_TIME.unpack_from(bytes(packet.get_sidedata("prft")))[0])


def written_us(container: InputContainer) -> int | None:
    """When the file says that it was begun (`creation_time`), microseconds since 1970."""
    told = container.metadata.get("creation_time")
    try:
        return None if told is None else int(datetime.fromisoformat(told).timestamp() * 1e6)
    except ValueError:
        return None
