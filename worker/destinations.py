"""Settings of where results go beyond Kafka: `[sinks.mqtt]`, `[sinks.webhook]`, `[sinks.parquet]` and `[sinks.sql]`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, ByteSize, Field, JsonValue, model_validator

from worker.addresses import webhook
from worker.durations import Duration, Timeout
from worker.sections import TOPIC_FORM, Section, Topic
from worker.servers import MqttBroker

_SECRET: dict[str, JsonValue] = {"secret": True}
_DATABASE = "an address such as postgresql+psycopg://host/database, user and password before the host"
_MqttTopic = Annotated[
    str, Field(pattern=r"^[^+#\x00/]+(/[^+#\x00/]+)*$", json_schema_extra={"form": "a topic without + and #"})
]


class Destination(Section):
    """What every sink is told."""

    name: str = Field(
        "",
        pattern=r"^[a-z0-9_-]{0,40}$",
        description="Tells two sinks of one kind apart; empty: the kind. The consumer group is GROUP-sink-NAME.",
        json_schema_extra={"form": "at most 40 of a-z, 0-9, _ and -"},
    )
    dead_letter_topic: Topic | None = Field(
        None,
        description="Topic of the results that are refused for good; not set: OUTPUT.NAME.dead.",
        json_schema_extra={"form": TOPIC_FORM},
    )
    batch: int = Field(500, ge=1, le=100_000, description="Most results that are delivered together.")
    max_bytes: ByteSize = Field(
        ByteSize(64 * 2**20), gt=0, description="Past so many bytes read and not delivered, reading pauses."
    )
    max_delay: Duration = Field(
        timedelta(milliseconds=100), description="Longest wait of the oldest result for a fuller batch."
    )
    timeout: Timeout = Field(timedelta(seconds=10), description="Longest wait for one answer of the destination.")
    retry_max: Timeout = Field(
        timedelta(seconds=30), description="Longest pause between two tries; the first is half a second."
    )


class Mqtt(Destination, MqttBroker):
    """Results to an MQTT broker, with discovery for Home Assistant."""

    base_topic: _MqttTopic = Field("fusion", description="Topics of states begin with it.")
    discovery: bool = Field(True, description="true: each key is told to Home Assistant as a device.")
    discovery_prefix: _MqttTopic = Field("homeassistant", description="As Home Assistant has it.")
    expire_after: Duration = Field(
        timedelta(0), description="A key without a result for so long is unavailable in Home Assistant; 0s: never."
    )


class Webhook(Destination):
    """Results to an HTTP server, by POST."""

    url: Annotated[str, AfterValidator(webhook)] | None = Field(
        None,
        description="Where to; it must be given. A token in it is a secret.",
        json_schema_extra={"secret": True, "form": "an address that begins with https:// or http://"},
    )
    batch: int = Field(1, ge=1, le=10_000, description="1: a result a request; more: a JSON list of up to so many.")
    secret: str | None = Field(
        None, description="Signs each request (HMAC-SHA256); whsec_ and base64, or any text.", json_schema_extra=_SECRET
    )
    authorization: str | None = Field(None, description="Value of Authorization.", json_schema_extra=_SECRET)
    headers: tuple[str, ...] = Field(
        (), description="More headers.", json_schema_extra={"form": 'a list of "Name: value"'}
    )
    ca_file: str | None = Field(None, description="CA certificates that sign the server; not set: the system's.")

    @model_validator(mode="after")
    def _headers_are_headers(self) -> Webhook:
        for line in self.headers:
            name, colon, value = line.partition(":")
            if not (colon and name.strip() and value.strip()) or "\n" in line or "\r" in line:
                raise ValueError(f'headers: {name!r} is not "Name: value"')
        return self


class Parquet(Destination):
    """Results to Parquet files, partitioned by day."""

    directory: str | None = Field(None, description="Folder of the files; it must be given, and is made.")
    batch: int = Field(10_000, ge=1, le=1_000_000, description="Most results of a file.")
    max_delay: Duration = Field(timedelta(seconds=60), description="A file is written at the latest after so long.")
    compression: Literal["zstd", "snappy", "gzip", "none"] = Field("zstd", description="Of the files.")


class Sql(Destination):
    """Results to a table, an upsert by id."""

    url: str | None = Field(
        None,
        description="SQLAlchemy's address of the database; it must be given.",
        json_schema_extra={"secret": True, "form": _DATABASE},
    )
    table: str = Field(
        "fusion_results",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$",
        description="Table, or schema.table.",
        json_schema_extra={"form": "a name, or schema.name"},
    )


class Sinks(Section):
    """Where `fusion-worker sink` delivers results."""

    mqtt: Mqtt = Mqtt()
    webhook: Webhook = Webhook()
    parquet: Parquet = Parquet()
    sql: Sql = Sql()
