"""The connection as kafka-python names it -> librdkafka's settings; what librdkafka says -> the worker's errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.broker.faults import refused, unreadable, without_offset
from worker.broker.options import FETCH_WAIT_MS, RECONNECT_BACKOFF_MAX_MS
from worker.errors import ConfigError, Fatal, Retryable

NAMES = {
    "security_protocol": "security.protocol",
    "sasl_mechanism": "sasl.mechanism",
    "sasl_plain_username": "sasl.username",
    "sasl_plain_password": "sasl.password",
    "ssl_cafile": "ssl.ca.location",
    "ssl_certfile": "ssl.certificate.location",
    "ssl_keyfile": "ssl.key.location",
    "ssl_password": "ssl.key.password",
}
# One partition's share of an answer. A partition that is given up after a pause has fetched this much in vain.
PARTITION_FETCH_BYTES = 4 * 2**20
# Messages fetched ahead are at least so many; each costs some 400 bytes beside its own.
LEAST_AHEAD = 10_000
# A full queue is looked at again after so long; librdkafka's own second would bound what it reads to a queue a second.
FULL_QUEUE_MS = 5
# The least that librdkafka lets an answer be bounded to; a broker gives a whole batch anyhow.
LEAST_BYTES = 1_000
# librdkafka takes no larger answer; it ends the connection at one that is larger than it was told.
MOST_BYTES = 2**31 - 1
_GONE = ("_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE", "_LOG_TRUNCATION")
_UNREADABLE = ("_BAD_MSG", "_BAD_COMPRESSION", "_NOT_IMPLEMENTED", "INVALID_MSG")


def connection_settings(connection: Mapping[str, Any]) -> dict[str, Any]:
    """Addresses and security.

    Raises:
        ConfigError: a setting that librdkafka cannot express.
    """
    if connection.get("sasl_mechanism") == "GSSAPI":
        raise ConfigError(
            "kafka.sasl_mechanism = 'GSSAPI' cannot be expressed for librdkafka, which takes a principal and a keytab, "
            "not the ticket that is there"
        )
    told = {NAMES[name]: value for name, value in connection.items() if name in NAMES and value}
    if "ssl_certfile" in connection and "ssl_keyfile" not in connection:
        told["ssl.key.location"] = connection["ssl_certfile"]  # kafka-python looks for the key there
    if not connection.get("ssl_check_hostname", True):
        told["ssl.endpoint.identification.algorithm"] = "none"
    return {
        "bootstrap.servers": ",".join(connection["bootstrap_servers"]),
        "reconnect.backoff.max.ms": RECONNECT_BACKOFF_MAX_MS,
        **told,
    }


def consumer_settings(connection: Mapping[str, Any], group_id: str, fetch_max_bytes: int) -> dict[str, Any]:
    """Of a consumer whose partitions are assigned by hand.

    It never joins the group: with the group's name it looks for the coordinator, which is allowed to this worker.
    """
    most = max(LEAST_BYTES, min(fetch_max_bytes, MOST_BYTES - 512))
    return {
        **connection_settings(connection),
        "group.id": group_id,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "allow.auto.create.topics": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "check.crcs": True,
        "enable.partition.eof": True,
        # Where a log ends in a transaction's marker, the position passes it with the next answer.
        "fetch.wait.max.ms": FETCH_WAIT_MS,
        "fetch.max.bytes": most,
        "fetch.message.max.bytes": min(most, PARTITION_FETCH_BYTES),
        "message.max.bytes": LEAST_BYTES,  # a producer's setting
        "receive.message.max.bytes": MOST_BYTES,
        "queued.max.messages.kbytes": max(1, min(most // 1024, 2**21 - 1)),
        "queued.min.messages": LEAST_AHEAD,
        "fetch.queue.backoff.ms": FULL_QUEUE_MS,
    }


def translated(error: Any, topic: str = "", partition: int = -1, offset: int = -1) -> Exception:
    """A KafkaError of librdkafka's as one of ours; it is of a partition where a topic is named."""
    name = error.name()
    if name in _GONE and topic:
        return without_offset({(topic, partition): offset})
    if name in _UNREADABLE and topic:
        return unreadable(topic, partition, offset, f"{name}: {error.str()}")
    if "AUTHORIZATION" in name or "AUTHENTICATION" in name:
        return refused(f"{name}: {error.str()}")
    told = f"Kafka: {name}: {f'{topic}/{partition}: ' if topic else ''}{error.str()}"
    return Fatal(f"{told}; a new start may help") if error.fatal() else Retryable(told)
