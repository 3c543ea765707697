"""What masks personal data, where a record becomes an event."""

from __future__ import annotations

from typing import Protocol

from worker.errors import Poison
from worker.records import Record


class Mask(Protocol):
    """Masks one record at a time; holds no state between them, and is called from several threads."""

    def covers(self, stream: str) -> bool:
        """Whether this stream's bodies are masked."""

    def masked(self, stream: str, key: str, content_type: str, payload: bytes, record: Record) -> tuple[Record, bytes]:
        """The record with its body, attributes and headers masked, and the body alone.

        Raises:
            Poison: stage VALIDATE; it cannot be masked. The message tells nothing of the body.
        """

    def bare(self, stream: str, record: Record) -> Record:
        """A record that cannot be read, without its body and with its headers masked: its dead letter."""

    def veiled(self, poison: Poison) -> Poison:
        """The same without what it quotes of the record."""
