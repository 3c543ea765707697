"""Settings of the servers that the worker speaks to: `[kafka]`, `[redis]`, and brokers of MQTT."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ByteSize, Field, model_validator

from worker.addresses import brokers, collector, host_name, redis_address
from worker.durations import Timeout
from worker.sections import Section

_HOST_FORM = "a host's name or address"


class Kafka(Section):
    """Connection to Kafka, named as kafka-python names it."""

    bootstrap_servers: Annotated[str, AfterValidator(brokers)] = Field(
        "localhost:9092",
        description="Brokers to begin with.",
        json_schema_extra={"form": "one or more host:port, separated by commas"},
    )
    group_id: str = Field("fusion-worker", min_length=1, description="Consumer group; also the namespace in Redis.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to talk to the brokers."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI"] | None = Field(
        None, description="How to sign in, with SASL_PLAINTEXT or SASL_SSL."
    )
    sasl_plain_username: str | None = Field(None, description="SASL user.")
    sasl_plain_password: str | None = Field(
        None, description="SASL password (secret).", json_schema_extra={"secret": True}
    )
    ssl_cafile: str | None = Field(None, description="CA certificates that sign the brokers.")
    ssl_certfile: str | None = Field(None, description="Client certificate.")
    ssl_keyfile: str | None = Field(None, description="Client key.")
    ssl_password: str | None = Field(
        None, description="Password of the client key (secret).", json_schema_extra={"secret": True}
    )
    ssl_check_hostname: bool = Field(True, description="Check that the broker's certificate names its host.")
    fetcher: Literal["auto", "kafka-python", "librdkafka"] = Field(
        "auto",
        description="What reads the records; auto: librdkafka where it is installed (the extra `fast`).",
    )
    auto_offset_reset: Literal["earliest", "latest"] = Field(
        "earliest", description="Where a group without committed offsets begins."
    )
    session_timeout: Timeout = Field(
        timedelta(seconds=6), description="A worker unheard of for this long is out of the group."
    )
    max_poll_interval: Timeout = Field(
        timedelta(minutes=1), description="A worker that does not poll for this long is out."
    )
    startup_timeout: Timeout = Field(
        timedelta(seconds=30), description="How long Kafka and Redis may take to answer at start."
    )
    fetch_max_bytes: ByteSize = Field(
        ByteSize(16 * 2**20), gt=0, description="Bytes fetched from one broker at a time."
    )
    max_poll_records: int = Field(500, ge=1, description="Records taken per poll.")

    @model_validator(mode="after")
    def _security_fits_together(self) -> Kafka:
        """What looks protected is: no key of TLS or SASL is left out in silence, and none is missing."""
        self._refuse_idle("ssl_", "SSL", ("SSL", "SASL_SSL"))
        self._refuse_idle("sasl_", "SASL", ("SASL_PLAINTEXT", "SASL_SSL"))
        if self.security_protocol.startswith("SASL") and self.sasl_mechanism is None:
            raise ValueError(f"security_protocol = {self.security_protocol!r} needs sasl_mechanism")
        if self.sasl_mechanism not in (None, "GSSAPI"):
            for name in ("sasl_plain_username", "sasl_plain_password"):
                if not getattr(self, name):
                    raise ValueError(f"sasl_mechanism = {self.sasl_mechanism!r} needs {name}")
        if self.ssl_certfile is None and (self.ssl_keyfile or self.ssl_password):
            raise ValueError("ssl_keyfile and ssl_password have no effect without ssl_certfile")
        return self

    def _refuse_idle(self, prefix: str, kind: str, protocols: tuple[str, ...]) -> None:
        fields = type(self).model_fields
        given = [n for n in fields if n.startswith(prefix) and getattr(self, n) != fields[n].default]
        if given and self.security_protocol not in protocols:
            raise ValueError(
                f"{min(given)} has no effect with security_protocol = {self.security_protocol!r}, which uses no {kind};"
                f" set security_protocol to {' or '.join(protocols)}"
            )


class Traces(Section):
    """Spans of batches and transactions, by OpenTelemetry (docs/traces.md)."""

    endpoint: Annotated[str, AfterValidator(collector)] | None = Field(
        None,
        description="Where they are sent, as OTLP over HTTP; not set: none is made. Needs the extra `traces`.",
        json_schema_extra={"form": "an address such as http://localhost:4318/v1/traces"},
    )
    header: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9-]+=[!-~](?:[ -~]*[!-~])?$",
        description="Header of each request, such as Authorization=Bearer ... (secret).",
        json_schema_extra={"secret": True, "form": "NAME=VALUE, of printable ASCII characters"},
    )
    ratio: float = Field(0.1, ge=0, le=1, description="Share of the batches that are recorded.")
    service_name: str = Field("fusion-worker", min_length=1, description="`service.name` of the spans.")

    @model_validator(mode="after")
    def _has_somewhere_to_go(self) -> Traces:
        return self.idle_without("endpoint", "where spans are sent", "header", "ratio", "service_name")


class Redis(Section):
    """Connection to Redis or Valkey."""

    url: Annotated[str, AfterValidator(redis_address)] = Field(
        "redis://localhost:6379/0",
        pattern=r"^(redis|rediss|unix)://",
        description="Address; a password in it is a secret.",
        json_schema_extra={"secret": True, "form": "an address that begins with redis://, rediss:// or unix://"},
    )
    username: str | None = Field(None, description="ACL user, where the address names none.")
    password: str | None = Field(None, description="Password (secret).", json_schema_extra={"secret": True})
    cluster: bool = Field(False, description="The address is a node of a Redis Cluster.")
    timeout: Timeout = Field(timedelta(seconds=2), description="Longest wait for one answer.")


class MqttBroker(Section):
    """Connection to an MQTT broker."""

    host: Annotated[str, AfterValidator(host_name)] | None = Field(
        None, description="Broker; it must be given.", json_schema_extra={"form": _HOST_FORM}
    )
    port: int = Field(1883, ge=1, le=65535, description="Its port; with TLS commonly 8883.")
    username: str | None = Field(None, description="User.")
    password: str | None = Field(None, description="Password (secret).", json_schema_extra={"secret": True})
    tls: bool = Field(False, description="true: TLS; the broker's certificate must name `host`.")
    ca_file: str | None = Field(None, description="CA certificates that sign the broker; not set: the system's.")
    certfile: str | None = Field(None, description="Client certificate.")
    keyfile: str | None = Field(None, description="Client key.")

    @model_validator(mode="after")
    def _tls_fits(self) -> Self:
        for name in ("ca_file", "certfile", "keyfile"):
            if getattr(self, name) is not None and not self.tls:
                raise ValueError(f"{name} has no effect without tls = true")
        if (self.certfile is None) != (self.keyfile is None):
            raise ValueError("certfile and keyfile go together")
        if self.password is not None and self.username is None:
            raise ValueError("password has no effect without username")
        return self


class MqttFeed(MqttBroker):
    """The broker that `fusion-worker feed mqtt` listens to."""

    client_id: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
        description="How the broker knows this feed: two with one id push each other out; empty: GROUP-MAPPING.",
        json_schema_extra={"form": "at most 64 letters, digits, dots, underscores and hyphens"},
    )
    session: bool = Field(
        True, description="true: the broker keeps what comes with QoS 1 while the feed is away, and sends it then."
    )
    timeout: Timeout = Field(timedelta(seconds=10), description="Longest wait for one answer of the broker.")


class Feeds(Section):
    """Where `fusion-worker feed` gets messages from."""

    mqtt: MqttFeed = MqttFeed()


class Http(Section):
    """The HTTP server of /metrics, /livez and /readyz."""

    host: Annotated[str, AfterValidator(host_name)] = Field(
        "127.0.0.1", description="Address to listen on.", json_schema_extra={"form": _HOST_FORM}
    )
    port: int = Field(9108, ge=0, le=65535, description="Port; 0 takes any free one.")
    ssl_certfile: str | None = Field(
        None, description="Certificate to serve HTTPS with, its chain behind it; read again when it changes."
    )
    ssl_keyfile: str | None = Field(None, description="Its key, not locked; unset: it is in ssl_certfile.")
    token_file: str | None = Field(
        None,
        description="File with the bearer token that /metrics asks for, read again when it changes; /livez and /readyz "
        "ask for none.",
    )
    console: bool = Field(
        False, description="true: a worker shows itself at / (docs/console.md), behind the token of /metrics."
    )

    @model_validator(mode="after")
    def _has_a_certificate_of_its_key(self) -> Http:
        return self.idle_without("ssl_certfile", "the certificate of that key", "ssl_keyfile")
