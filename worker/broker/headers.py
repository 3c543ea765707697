"""Header names that are not UTF-8 -> names with the odd bytes spelt out: Kafka takes any bytes."""

from __future__ import annotations

import functools
from typing import Any

from kafka.record.default_records import DefaultRecordBatch


class _Spelt(bytes):
    """Bytes of which a part that is not UTF-8 is decoded with `\\xff` for each byte that is none."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return found if isinstance(found, int) else _Spelt(found)

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        """As bytes have it, but for the errors."""
        return super().decode(encoding, errors)


@functools.cache
def allow_any_header_name() -> None:
    """Lets every consumer of this process read such records.

    kafka-python 3.0.12 raises in the middle of a batch, where it cannot go on: one record would end all its readers.
    """
    strict = DefaultRecordBatch._read_msg

    def read(self: Any, *args: Any) -> Any:
        place = self._pos
        try:
            return strict(self, *args)
        except UnicodeDecodeError:
            whole, self._buffer, self._pos = self._buffer, _Spelt(self._buffer), place
            try:
                return strict(self, *args)
            finally:
                self._buffer = whole

    DefaultRecordBatch._read_msg = read
