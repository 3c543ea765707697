"""`kafka.fetcher` -> what reads the bytes here, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from worker.broker.group_fetcher import GroupFetcher
from worker.broker.librdkafka import connection_settings
from worker.broker.options import connection_options
from worker.errors import ConfigError
from worker.ports import Fetcher


@dataclass(frozen=True, slots=True)
class Chosen:
    """A fetcher.

    Attributes:
        told: its name and version.
        instead: why it is not librdkafka, where it might have been.
        make: puts it in the place of the group's own.
    """

    told: str
    make: Callable[[GroupFetcher], Fetcher]
    instead: str = ""


def choose(kafka: Mapping[str, Any]) -> Chosen:
    """`kafka`: the section.

    Raises:
        ConfigError: librdkafka was asked for, and is not installed or cannot express a setting.
    """
    wanted, connection = kafka["fetcher"], connection_options(kafka)
    if wanted == "kafka-python":
        return _own()
    try:
        version = _version()
        connection_settings(connection)
    except ConfigError as error:
        if wanted == "librdkafka":
            raise ConfigError(f"kafka.fetcher = 'librdkafka': {error}; or set it to 'kafka-python'") from error
        return _own(str(error))

    def make(group: GroupFetcher) -> Fetcher:
        from worker.broker.fast_fetcher import FastFetcher

        return FastFetcher(
            group, connection, kafka["group_id"], int(kafka["fetch_max_bytes"]), kafka["max_poll_records"]
        )  # fmt: skip

    return Chosen(version, make)


def _own(instead: str = "") -> Chosen:
    import kafka

    return Chosen(f"kafka-python {kafka.__version__}", lambda group: group, instead)


def _version() -> str:
    """Raises ConfigError where it is not installed."""
    try:
        import confluent_kafka
    except ImportError as error:
        raise ConfigError(f"confluent-kafka is not there ({error}): `pip install 'fusion-worker[fast]'`") from error
    return f"librdkafka {confluent_kafka.libversion()[0]} (confluent-kafka {confluent_kafka.version()})"
