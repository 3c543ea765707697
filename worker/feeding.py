"""`feed`: a simulated story, or live sources, each in a thread of its own, into one outlet."""

from __future__ import annotations

import threading
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from worker.broker.producer import live_publisher
from worker.connect import topics_of
from worker.errors import ConfigError, Fatal, FusionError
from worker.from_settings import page_of
from worker.ops.health import Health
from worker.ops.logs import configure, get_logger
from worker.ops.metrics import PrometheusObserver
from worker.ops.watchdog import STOP_SIGNALS, Watchdog, end_now, leave_start, on_stop
from worker.text_files import read_text

if TYPE_CHECKING:
    from worker.config import Settings
    from worker.feeds.faults import Faults
    from worker.feeds.live import LiveSource
    from worker.feeds.outlet import Outlet

Say = Callable[[str], None]
# What makes the sources of a kind: of what was chosen and an outlet, with an observer, the health and a log.
Make = Callable[["Outlet", Any, Health, Any], "Sequence[LiveSource]"]
_BEAT_SECONDS = 0.5
# A source hears of the end between two packets, or when its silence has lasted for 4 s.
_LEAVE_SECONDS = 5.0


def feed(settings: Settings, chosen: Namespace, say: Say) -> int:
    """Sends a story, or what live sources of a kind tell, until they end or SIGTERM; 0 when Kafka has all of it.

    Raises:
        ConfigError: no stream of that kind, a topic that does not exist, a file that is no video.
        Unreachable: Kafka was not reached, or refuses access.
    """
    if chosen.kind is None:
        return _story(settings, chosen, say)
    if chosen.kind != "video":
        return _messages(settings, chosen, say)
    from worker.feeds.video.command import named_sources, sources

    stream = stream_of(settings, chosen.stream, "image")
    topic = settings.streams[stream].topic
    make = partial(sources, named_sources(chosen), chosen, stream, topic)
    return live(settings, [topic], chosen.http_port, make, say)


def _messages(settings: Settings, chosen: Namespace, say: Say) -> int:
    """Messages of a broker; or, with --show and --check, what would be made of them."""
    from worker.feeds.messages import command
    from worker.feeds.messages.check import check

    mapping = command.chosen_mapping(chosen)
    if chosen.show:
        say(read_text(command.chosen_file(chosen)).rstrip())
        return 0
    configured = {name: (str(stream.modality), str(stream.topic)) for name, stream in settings.streams.items()}
    streams = command.streams_of(mapping, configured, chosen.stream)
    if chosen.check is not None:
        return check(mapping, command.translator_of(mapping, streams, chosen), chosen.check, say)
    topics = [topic for _, topic in streams.values()]
    make: Make
    if chosen.kind == "kafka":
        command.need_topics(chosen.source, settings.every_topic)
        topics += chosen.source
        make = partial(command.kafka_sources, chosen, settings.kafka.model_dump(), mapping, streams)
    elif chosen.kind == command.ONVIF:
        cameras = command.cameras_at(chosen.source)
        make = partial(command.onvif_sources, cameras, chosen, mapping, streams)
    else:
        command.need_mqtt(settings.feeds.mqtt)
        make = partial(command.mqtt_sources, chosen, settings.feeds.mqtt, settings.kafka.model_dump(), mapping, streams)
    return live(settings, topics, chosen.http_port, make, say)


def live(settings: Settings, topics: Sequence[str], port: int, make: Make, say: Say) -> int:
    """Runs live sources until all have ended, one has failed for good, or a signal comes; 1 if events are left."""
    stop = threading.Event()
    on_stop(leave_start)
    configure(settings.log.format, settings.log.level)
    log, drain_seconds = get_logger(), settings.delivery.drain_timeout.total_seconds()
    connection = topics_of(settings, topics)
    watchdog = Watchdog(STOP_SIGNALS, drain_seconds + _LEAVE_SECONDS, log)
    health, observer = Health(), PrometheusObserver()
    with page_of(settings, observer, health, log, port):
        on_stop(stop.set)
        with live_publisher(connection) as publish:
            drained = watchdog.closes_after(
                lambda: _run(publish, make, observer, health, log, stop, drain_seconds, say)
            )
            if not drained:
                return end_now(1)
    return 0


def _run(
    publish: Any, make: Make, observer: Any, health: Health, log: Any, stop: threading.Event, seconds: float, say: Say
) -> bool:
    from worker.feeds.outlet import Outlet

    outlet = Outlet(publish, observer, health, log)
    failures: list[FusionError] = []
    ended: list[str] = []
    sources = make(outlet, observer, health, log)
    threads = [
        threading.Thread(target=_play, args=(source, stop, failures, ended), name=source.name, daemon=True)
        for source in sources
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) and not stop.is_set() and not failures:
        health.beat()
        threads[0].join(_BEAT_SECONDS) if threads[0].is_alive() else stop.wait(_BEAT_SECONDS)
    stop.set()
    for thread in threads:
        thread.join(_LEAVE_SECONDS)
    left = outlet.close(seconds)
    if left:
        log.error("Kafka did not take all", events=left)
    if failures:
        raise failures[0]
    # One that does not leave in time is silent, and holds nothing that was not put.
    if len(ended) < sum(not thread.is_alive() for thread in threads):
        raise Fatal("a source ended by an error that nobody foresaw; it is told above")
    say(f"sent {outlet.sent} events of {len(sources)} sources" + (f", {left} left" if left else ""))
    return not left


def _play(source: LiveSource, stop: threading.Event, failures: list[FusionError], ended: list[str]) -> None:
    try:
        source.run(stop)
    except FusionError as error:
        failures.append(error)
    ended.append(source.name)


def stream_of(settings: Settings, name: str | None, modality: str) -> str:
    """The configured stream of that name, or the first of the modality.

    Raises:
        ConfigError: there is none.
    """
    fit = [one for one, stream in settings.streams.items() if stream.modality == modality]
    if name is None and fit:
        return fit[0]
    if name in fit and name is not None:
        return name
    if name is None:
        raise ConfigError(f'streams: feed needs a stream with modality = "{modality}"; there is none')
    raise ConfigError(f'--stream: {name!r} is no stream with modality = "{modality}"; there are {", ".join(fit)}')


def _story(settings: Settings, chosen: Namespace, say: Say) -> int:
    from worker.feeds.faults import injected
    from worker.feeds.produce import feed
    from worker.feeds.stories import story_of

    rates = (chosen.frames_per_second, chosen.texts_per_second)
    streams, events = story_of(chosen.story, chosen.seed, chosen.junctions, chosen.seconds, *rates)
    faults = _faults(chosen, streams)
    topics = {name: settings.streams[stream_of(settings, None, modality)].topic for name, modality in streams.items()}
    connection = topics_of(settings, list(topics.values()))
    events = injected(events, faults, chosen.seed)
    sent = feed(connection, topics, events, seconds=chosen.seconds, seed=chosen.seed, speed=chosen.speed, say=say)
    say(f"sent {' and '.join(f'{count} {name} to {topics[name]}' for name, count in sent.counts.items())}")
    return 0


def _faults(chosen: Namespace, streams: Mapping[str, str]) -> Faults:
    from worker.feeds.faults import Faults

    faults = Faults(dict(chosen.lose), dict(chosen.late), dict(chosen.skew))
    if unknown := sorted(faults.streams() - set(streams)):
        raise ConfigError(
            f"--lose, --late, --skew: the story has no stream {unknown[0]!r}; it has {', '.join(streams)}"
        )
    return faults
