"""What was chosen of `feed video` -> the sources."""

from __future__ import annotations

import importlib.util
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.errors import ConfigError
from worker.feeds.named import all_named
from worker.feeds.outlet import Outlet
from worker.ports.ops import Health, Log

if TYPE_CHECKING:
    from worker.feeds.live import LiveSource

_PICTURE_RATE = 1.0


def named_sources(chosen: Namespace) -> list[tuple[str, str]]:
    """(key, address) of each.

    Raises:
        ConfigError: PyAV is not installed, two have one key, a variable is not set, a file or folder is not there.
    """
    if importlib.util.find_spec("av") is None:
        raise ConfigError("feed video needs PyAV; install it: pip install 'fusion-worker[video]'")
    from worker.feeds.video.container import is_live
    from worker.feeds.video.source import files_of

    named = all_named(chosen.source, chosen.key)
    for _, address in named:
        if not is_live(address):
            files_of(address)
    return named


def sources(
    named: Sequence[tuple[str, str]], chosen: Namespace, stream: str, topic: str,
    outlet: Outlet, observer: Any, health: Health, log: Log,
) -> Sequence[LiveSource]:  # fmt: skip
    """One source a (key, address)."""
    from worker.feeds.video.pictures import Wanted
    from worker.feeds.video.source import PICTURES, Spec, VideoSource

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
