"""Settings -> the page on which a worker shows itself."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from worker.config import Settings
from worker.ops.health import Health
from worker.ops.metrics import PrometheusObserver

if TYPE_CHECKING:
    from worker.console.pages import Console


def console_of(
    settings: Settings, observer: PrometheusObserver, health: Health, explain: Sequence[str]
) -> tuple[Console, Callable[..., None]] | tuple[None, None]:
    """The page and who hears for it what became of each batch; None where `[http] console` is off.

    Args:
        explain: the command that explains with these settings, as far as what is to be explained; (): there is none.
    """
    if not settings.http.console:
        return None, None
    # Pictures are decoded as the model decodes them, by torch; who does not look needs none of it.
    from worker.console.live import Live
    from worker.console.pages import Console
    from worker.console.search import Search
    from worker.console.seen import LastSeen
    from worker.console.state import StreamOf
    from worker.console.verdicts import Teller

    last = LastSeen()
    modalities = {name: stream.modality for name, stream in settings.streams.items()}
    teller = Teller(settings.output.topic, modalities, settings.output.language)
    streams = [StreamOf(name, one.topic, one.modality, one.role) for name, one in settings.streams.items()]
    about = {"group": settings.kafka.group_id, "host": socket.gethostname()}
    live = Live(observer.registry.collect, health.reasons, last, teller, streams, about)
    return Console(live, Search(explain, last, teller)), last.hear
