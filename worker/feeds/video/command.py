"""Arguments of `feed video`, and the sources that they make."""

from __future__ import annotations

import importlib.util
import os
import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from worker.errors import ConfigError
from worker.feeds.outlet import Outlet
from worker.ports.ops import Health, Log

if TYPE_CHECKING:
    from worker.feeds.live import LiveSource

_NAMED = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_PICTURE_RATE = 1.0


def add_video_arguments(parser: ArgumentParser) -> None:
    """What `feed video` takes, but for numbers that are checked elsewhere."""
    from worker.arguments import count, duration_us, rate, speed

    parser.add_argument(
        "source", nargs="+", metavar="[KEY=]SOURCE",
        help="rtsp://..., /dev/video0, a file, or a folder of pictures or clips; ${NAME} is taken from the environment",
    )  # fmt: skip
    parser.add_argument("--key", help="of the events of a single source; default: the source's own name")
    parser.add_argument("--stream", help="configured stream; default: the first of images")
    parser.add_argument("--rate", type=rate, help="frames a second at most (default: all; of pictures 1)")
    parser.add_argument("--size", type=count, metavar="PIXELS", help="width at most; the shape is kept")
    parser.add_argument("--quality", type=_quality, default=85, help="of JPEG, 1 to 100 (default 85)")
    parser.add_argument(
        "--motion", type=rate, metavar="LEVELS",
        help="send a frame only if its 32x32 grey thumbnail differs by so many of 255 levels on average (try 2), or "
        "after 10 s",
    )  # fmt: skip
    parser.add_argument("--loop", action="store_true", help="begin a file or folder again at its end")
    parser.add_argument("--start", type=_moment, metavar="TIME", help="when a file began, such as 2026-01-01T12:00:00Z")
    parser.add_argument(
        "--speed", type=speed, default=1.0, help="of a file: 1: real time (default), 0: as fast as possible"
    )
    parser.add_argument(
        "--hold", type=duration_us, default=6_000_000, metavar="DURATION",
        help="how long the first frames wait for the sender's clock (default 6s)",
    )  # fmt: skip
    parser.add_argument(
        "--http-port", type=_port, default=0, help="of /metrics, /livez, /readyz (default 0: any free one, logged)"
    )


def sources(
    chosen: Namespace, stream: str, topic: str, outlet: Outlet, observer: Any, health: Health, log: Log
) -> Sequence[LiveSource]:
    """One source an address.

    Raises:
        ConfigError: PyAV is not installed, two sources have one key, a variable is not set.
    """
    if importlib.util.find_spec("av") is None:
        raise ConfigError("feed video needs PyAV; install it: pip install 'fusion-worker[video]'")
    from worker.feeds.video.pictures import Wanted
    from worker.feeds.video.source import Spec, VideoSource

    named = [_named(one, chosen.key if len(chosen.source) == 1 else None) for one in chosen.source]
    if chosen.key and len(named) > 1:
        raise ConfigError("--key: there are several sources; write KEY=SOURCE for each")
    keys = [key for key, _ in named]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ConfigError(f"SOURCE: two have the key {twice[0]!r}; write KEY=SOURCE for each")
    made = []
    for key, address in named:
        folder = Path(address).is_dir() or Path(address).suffix.lower() in (".jpg", ".jpeg", ".png")
        wanted = Wanted(None if folder and chosen.rate else chosen.rate, chosen.size, chosen.quality, chosen.motion)
        spec = Spec(
            key, address, stream, topic, wanted, chosen.hold, chosen.start, chosen.speed, chosen.loop,
            1.0 / (chosen.rate or _PICTURE_RATE),
        )  # fmt: skip
        made.append(VideoSource(spec, outlet, observer, health, log))
    return made


def _named(given: str, key: str | None) -> tuple[str, str]:
    found = _NAMED.fullmatch(given)
    own, address = (found[1], found[2]) if found else (None, given)
    address = _VARIABLE.sub(lambda name: _variable(name[1]), address)
    if key or own:
        return key or own or "", address
    if "://" in address:
        parts = urlsplit(address)
        return f"{parts.hostname or ''}{parts.path}".rstrip("/"), address
    return Path(address).stem or Path(address).resolve().name, address


def _variable(name: str) -> str:
    if (value := os.environ.get(name)) is None:
        raise ConfigError(f"SOURCE: the environment has no {name}")
    return value


def _quality(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= 100:
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100")


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text[:6]) <= 65_535:
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")


def _moment(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a time such as 2026-01-01T12:00:00Z") from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1e6)
