"""What was chosen of `feed video` -> the sources."""

from __future__ import annotations

import importlib.util
import os
import re
from argparse import Namespace
from collections.abc import Sequence
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
    from worker.feeds.video.source import PICTURES, Spec, VideoSource

    named = [_named(one, chosen.key if len(chosen.source) == 1 else None) for one in chosen.source]
    if chosen.key and len(named) > 1:
        raise ConfigError("--key: there are several sources; write KEY=SOURCE for each")
    keys = [key for key, _ in named]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ConfigError(f"SOURCE: two have the key {twice[0]!r}; write KEY=SOURCE for each")
    made = []
    for key, address in named:
        folder = Path(address).is_dir() or Path(address).suffix.lower() in PICTURES
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
