"""What was chosen of `feed mqtt` and `feed kafka` -> a mapping, its streams, and the source."""

from __future__ import annotations

import importlib.util
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas import names
from worker.errors import ConfigError
from worker.feeds.messages.intake import Intake
from worker.feeds.messages.mapping import MessageMapping, mapping_of, preset_file, presets_of
from worker.feeds.messages.topics import filters_of
from worker.feeds.messages.translate import DELIVERY, Translator
from worker.feeds.messages.values import time_us
from worker.feeds.named import all_named
from worker.feeds.outlet import Outlet
from worker.ports.ops import Health, Log
from worker.servers import MqttFeed

if TYPE_CHECKING:
    from worker.feeds.messages.onvif import Account

SOURCE = "/fusion-worker/feeds/"
# Of each partition; a broker's window of what is not acknowledged is some ten messages.
_TAIL = 500
ONVIF = "onvif"


def chosen_file(chosen: Namespace) -> Path:
    """Where the mapping is. Raises ConfigError: neither or both were named, or there is no such preset."""
    if chosen.kind == ONVIF and chosen.preset is chosen.mapping is None:
        return preset_file(ONVIF, ONVIF)
    if (chosen.preset is None) == (chosen.mapping is None):
        known, both = ", ".join(presets_of(chosen.kind)), ", not both" if chosen.preset else ""
        raise ConfigError(f"feed {chosen.kind}: give --preset ({known}) or --mapping FILE{both}")
    return Path(chosen.mapping) if chosen.preset is None else preset_file(chosen.kind, chosen.preset)


def chosen_mapping(chosen: Namespace) -> MessageMapping:
    """The mapping. Raises ConfigError."""
    return mapping_of(chosen_file(chosen), chosen.base)


def streams_of(
    mapping: MessageMapping, configured: Mapping[str, tuple[str, str]], wanted: list[str]
) -> dict[str, tuple[str, str]]:
    """Modality -> (stream, topic): those named, else the first of each modality that the mapping has.

    Args:
        configured: stream -> (modality, topic).
        wanted: names of streams.

    Raises:
        ConfigError: a name is no stream, two have one modality, or none fits the mapping.
    """
    found: dict[str, tuple[str, str]] = {}
    for name in wanted:
        if name not in configured:
            raise ConfigError(f"--stream: {name!r} is no stream; there are {', '.join(configured)}")
        modality, topic = configured[name]
        if modality in found:
            raise ConfigError(f"--stream: {name} and {found[modality][0]} are both of modality {modality}; name one")
        found[modality] = name, topic
    for name, (modality, topic) in {} if wanted else configured.items():
        found.setdefault(modality, (name, topic))
    has = {str(rule.modality) for rule in mapping.rule if not rule.skip}
    if not (fit := {modality: one for modality, one in found.items() if modality in has}):
        raise ConfigError(
            f"streams: {mapping.name} gives events of {', '.join(sorted(has))}; no stream chosen has such a modality; "
            "give such a stream to the configuration (`fusion-worker init home` writes one)"
        )
    return fit


def translator_of(mapping: MessageMapping, streams: Mapping[str, tuple[str, str]], chosen: Namespace) -> Translator:
    """Of the chosen key and kind."""
    return Translator(mapping, streams, f"{SOURCE}{chosen.kind}/{mapping.name}", chosen.key)


def mqtt_sources(
    chosen: Namespace, told: MqttFeed, kafka: Mapping[str, Any], mapping: MessageMapping,
    streams: Mapping[str, tuple[str, str]],
    outlet: Outlet, observer: Any, health: Health, log: Log,
) -> list[Any]:  # fmt: skip
    """One source of one broker; `kafka`: the section, as keyword arguments.

    Raises:
        ConfigError: a file of certificates does not fit.
    """
    from worker.broker.options import connection_options
    from worker.feeds.messages.mqtt import SECTION, MqttSource
    from worker.mqtt import tls_context

    translator = translator_of(mapping, streams, chosen)
    tell_unused(mapping, translator, log)
    client_id = told.client_id or f"{kafka['group_id']}-{mapping.name}"
    intake = Intake(mapping, translator, outlet, observer, log)
    filters, tls = filters_of(translator.patterns), tls_context(told, SECTION)
    topics = [topic for _, topic in streams.values()]
    before = partial(sent_before, connection_options(kafka), topics, translator.source)
    return [MqttSource(told, client_id, filters, tls, intake, health, log, before)]


def sent_before(connection: Mapping[str, Any], topics: list[str], source: str) -> Iterator[tuple[str, int]]:
    """(delivery, event time in microseconds) of this feed's last events, as far as they went by their arrival.

    Raises:
        Unreachable: Kafka is away.
    """
    from worker.broker.log import LogReader

    with closing(LogReader(connection)) as log:
        for topic in topics:
            for partition, (first, end) in log.bounds(topic).items():
                for record in log.records(partition, max(first, end - _TAIL), end):
                    told = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
                    if told.get(names.CE_SOURCE) == source and names.CE_PREFIX + DELIVERY in told:
                        yield told[names.CE_PREFIX + DELIVERY], time_us(told[names.CE_TIME], None)


def kafka_sources(
    chosen: Namespace, kafka: Mapping[str, Any], mapping: MessageMapping, streams: Mapping[str, tuple[str, str]],
    outlet: Outlet, observer: Any, health: Health, log: Log,
) -> list[Any]:  # fmt: skip
    """One member of the group GROUP-feed-MAPPING; `kafka`: the section, as keyword arguments."""
    from worker.broker.options import connection_options, member_options
    from worker.feeds.messages.kafka import KafkaMessages, reader_of

    translator = translator_of(mapping, streams, chosen)
    tell_unused(mapping, translator, log)
    options = {**member_options(kafka), "group_id": f"{kafka['group_id']}-feed-{mapping.name}"}
    make = reader_of(connection_options(kafka), options, chosen.source)
    return [KafkaMessages(chosen.source, make, Intake(mapping, translator, outlet, observer, log), health, log)]


def onvif_sources(
    cameras: Sequence[Account], chosen: Namespace, mapping: MessageMapping, streams: Mapping[str, tuple[str, str]],
    outlet: Outlet, observer: Any, health: Health, log: Log,
) -> list[Any]:  # fmt: skip
    """One source of all cameras."""
    from worker.feeds.messages.onvif import OnvifCamera, OnvifCameras

    translator = translator_of(mapping, streams, chosen)
    made = [OnvifCamera(camera, Intake(mapping, translator, outlet, observer, log), health, log) for camera in cameras]
    return [OnvifCameras(made)]


def cameras_at(given: Sequence[str]) -> list[Account]:
    """What `feed onvif` is to listen to.

    Raises:
        ConfigError: the client is not installed, two cameras have one key, a variable is not set, an address is none.
    """
    if not given:
        raise ConfigError("feed onvif: name a camera: [KEY=]http://HOST:PORT, user and password before the host")
    if importlib.util.find_spec("onvif") is None:
        raise ConfigError("feed onvif needs onvif-zeep-async; install it: pip install 'fusion-worker[onvif]'")
    from worker.feeds.messages.onvif import Account

    return [Account.at(key, address) for key, address in all_named(given, None)]


def need_topics(topics: list[str], written: list[str]) -> None:
    """Raises ConfigError: no topic to read was named, or one is written to."""
    if not topics:
        raise ConfigError("feed kafka: name the topic to read: --from TOPIC")
    if both := [topic for topic in topics if topic in written]:
        raise ConfigError(f"--from: {both[0]!r} is the topic of a stream; what is read there would be written there")


def need_mqtt(told: MqttFeed) -> None:
    """Raises ConfigError: paho is not installed, or no broker is named."""
    if importlib.util.find_spec("paho") is None:
        raise ConfigError("feed mqtt needs paho-mqtt; install it: pip install 'fusion-worker[mqtt]'")
    if told.host is None:
        raise ConfigError("feeds.mqtt.host: must be given, to run `fusion-worker feed mqtt`")


def tell_unused(mapping: MessageMapping, translator: Translator, log: Log) -> None:
    """Which rules make no event, since no stream is of their modality."""
    lost = [rule for rule in mapping.rule if not rule.skip and not translator.has_stream(rule)]
    if lost:
        log.warning(
            "no stream takes these",
            rules=[rule.name for rule in lost],
            modalities=sorted({str(r.modality) for r in lost}),
        )
