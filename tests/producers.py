"""Kafka producers of a test: one for each compression, and records that no client of ours would send."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kafka import KafkaProducer
from kafka.serializer import Serializer

# Topics take more than the worker does, so that what is too large for it reaches it.
MAX_RECORD_BYTES = 32 * 2**20
_NOTHING = b"neither key nor value"


class _Raw(Serializer):  # type: ignore[misc]
    """Lets a record pass that has neither key nor value, which kafka-python refuses to send; connectors do."""

    def serialize(self, topic: str, headers: Any, data: bytes | None) -> bytes | None:
        """The bytes as they are."""
        return None if data is _NOTHING else data


class Producers:
    """Opened when first needed; one order for each of them."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._servers = bootstrap_servers
        self._open: dict[str | None, Any] = {}

    def _of(self, codec: str | None) -> Any:
        if codec not in self._open:
            self._open[codec] = KafkaProducer(
                bootstrap_servers=self._servers, batch_size=256 * 1024, max_request_size=MAX_RECORD_BYTES,
                reconnect_backoff_max_ms=1000, compression_type=codec, key_serializer=_Raw(),
            )  # fmt: skip
        return self._open[codec]

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[Any], codec: str | None = None,
        partition: int | None = None,
    ) -> Any:  # fmt: skip
        """Sends one record as it is; a future that tells its place."""
        given = _NOTHING if key is None and value is None else key
        producer = self._of(codec)
        return producer.send(topic, key=given, value=value, headers=list(headers), partition=partition)

    def flush(self) -> None:
        """Waits until Kafka has what was sent."""
        for producer in self._open.values():
            producer.flush()

    def renew(self) -> None:
        """Producers that know the topics as they are now."""
        self.close()
        self._open.clear()

    def close(self) -> None:
        """Ends them."""
        for producer in self._open.values():
            producer.close(timeout=5)
