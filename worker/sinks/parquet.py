"""Results -> Parquet files, a folder a day; a file is seen once Kafka has the offsets of what is in it."""

from __future__ import annotations

import contextlib
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from worker import destinations
from worker.errors import ConfigError, Fatal, Retryable
from worker.records import Partition
from worker.sinks.destination import Destination, Item, refused
from worker.strict_json import write_json

_NAME = re.compile(r"\.?(?P<topic>.+)-(?P<number>\d{5})-(?P<first>\d{20})-(?P<last>\d{20})\.parquet(\.tmp)?")
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        ("score", pa.float64()),
        ("scores", pa.map_(pa.string(), pa.float64())),
        ("complete", pa.bool_()),
        ("missing", pa.map_(pa.string(), pa.string())),
        ("model_name", pa.string()),
        ("model_version", pa.string()),
        ("confidence_set", pa.list_(pa.string())),
        ("confidence_familiar", pa.float64()),
        ("embedding", pa.list_(pa.float32())),
        ("inputs", pa.string()),  # JSON: streams are the configuration's
        ("rest", pa.string()),  # JSON: what has no column
        ("partition", pa.int32()),
        ("offset", pa.int64()),
    ]
)
_OF_COLUMNS = {
    "id", "key", "time", "label", "score", "scores", "complete", "missing", "model", "confidence", "embedding",
    "inputs",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Written:
    """A file that is whole and not seen yet; `first` and `last` are the offsets of its batch, not of its day alone."""

    first: int
    last: int
    hidden: Path
    shown: Path


class ParquetDestination(Destination):
    """Two steps, as of a transaction: `deliver` writes hidden files and makes them durable, `committed` shows them by a
    rename. Whoever begins a partition does the second step for what was committed, and takes the rest away."""

    def __init__(self, told: destinations.Parquet) -> None:
        """`told.directory` is given."""
        self._root, self._compression = Path(str(told.directory)), told.compression
        self._written: defaultdict[Partition, list[_Written]] = defaultdict(list)

    def open(self) -> None:
        """Makes the folder, and tries to write there.

        Raises:
            ConfigError: it cannot be.
        """
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            trial = self._root / f".{os.getpid()}.trial"
            trial.touch()
            trial.unlink()
        except OSError as error:
            raise ConfigError(f"sinks.parquet.directory = {str(self._root)!r}: {error.strerror}") from error

    def deliver(self, items: Sequence[Item]) -> None:
        """See `Destination`. A day and a partition have a file each."""
        by_file: defaultdict[tuple[Partition, str], list[dict[str, Any]]] = defaultdict(list)
        offsets: defaultdict[Partition, list[int]] = defaultdict(list)
        for item in items:
            row = row_of(item)
            by_file[item.record.lies_on, row["time"].date().isoformat()].append(row)
            offsets[item.record.lies_on].append(item.record.offset)
        tables = {place: _table(rows) for place, rows in by_file.items()}
        for partition, found in offsets.items():
            self._take_back(partition, found[0])
        for (partition, day), table in tables.items():
            self._write(partition, day, table, offsets[partition][0], offsets[partition][-1])

    def _write(self, partition: Partition, day: str, table: Any, first: int, last: int) -> None:
        folder = self._root / f"day={day}"
        name = f"{partition.topic}-{partition.number:05}-{first:020}-{last:020}.parquet"
        one = _Written(first, last, folder / f".{name}.tmp", folder / name)
        self._written[partition].append(one)
        try:
            folder.mkdir(exist_ok=True)
            with one.hidden.open("wb") as out:
                parquet.write_table(table, out, compression=self._compression)
                out.flush()
                os.fsync(out.fileno())
            _sync(folder)
        except OSError as error:
            self._take_back(partition, first)
            raise Retryable(f"{folder}: cannot be written ({error.strerror or error})") from error

    def _take_back(self, partition: Partition, first: int) -> None:
        """Files of this process that are not shown, from an offset on: their results are handed over again."""
        for one in [one for one in self._written[partition] if one.first >= first]:
            with contextlib.suppress(OSError):
                one.hidden.unlink(missing_ok=True)
            self._written[partition].remove(one)

    def begins(self, partition: Partition, offset: int) -> None:
        """Ends what a predecessor left: what was committed is shown, the rest is written anew."""
        self._written.pop(partition, None)
        for hidden in sorted(self._root.glob(f"day=*/.{partition.topic}-{partition.number:05}-*.parquet.tmp")):
            found = _NAME.fullmatch(hidden.name)
            if found is None or found["topic"] != partition.topic:
                continue
            one = _Written(int(found["first"]), int(found["last"]), hidden, hidden.with_name(hidden.name[1:-4]))
            if one.last < offset and not self._overlaps(partition, one):
                self._show(one)
            else:
                hidden.unlink(missing_ok=True)

    def _overlaps(self, partition: Partition, one: _Written) -> bool:
        """Another cut of the same offsets is shown: this one is of a member that the group had put out."""
        shown = self._root.glob(f"day=*/{partition.topic}-{partition.number:05}-*.parquet")
        ranges = [
            (int(found["first"]), int(found["last"])) for found in (_NAME.fullmatch(p.name) for p in shown) if found
        ]
        return any(
            first <= one.last and one.first <= last and (first, last) != (one.first, one.last) for first, last in ranges
        )

    def committed(self, offsets: dict[Partition, int]) -> None:
        """Shows what is wholly before these offsets."""
        for partition, offset in offsets.items():
            for one in [one for one in self._written[partition] if one.last < offset]:
                self._show(one)
                self._written[partition].remove(one)

    def _show(self, one: _Written) -> None:
        try:
            one.hidden.rename(one.shown)
            _sync(one.shown.parent)
        except OSError as error:
            if not one.shown.exists():  # Else the partition's next owner has done it.
                raise Fatal(
                    f"{one.hidden}: is committed and cannot be renamed ({error.strerror}); the next start does it"
                ) from error


def row_of(item: Item) -> dict[str, Any]:
    """A result as a row.

    Raises:
        Poison: its time cannot be read.
    """
    result = item.result
    confidence = found if isinstance(found := result.get("confidence"), dict) else {}
    rest = {name: value for name, value in result.items() if name not in _OF_COLUMNS}
    return {
        "id": item.id, "key": item.key, "time": item.time.astimezone(UTC), "label": result["label"],
        "score": result.get("score"), "scores": _pairs(result.get("scores")), "complete": result.get("complete"),
        "missing": _pairs(result.get("missing")),
        "model_name": item.model.get("name"), "model_version": item.model.get("version"),
        "confidence_set": confidence.get("set"), "confidence_familiar": confidence.get("familiar"),
        "embedding": result.get("embedding"), "inputs": write_json(result.get("inputs")).decode(),
        "rest": write_json(rest).decode() if rest else None,
        "partition": item.record.partition, "offset": item.record.offset,
    }  # fmt: skip


def _pairs(found: Any) -> list[tuple[str, Any]] | None:
    return list(found.items()) if isinstance(found, dict) else None


def _table(rows: list[dict[str, Any]]) -> Any:
    """Raises Poison: a value is not of its column's type. Arrow's own errors of a value are kinds of Python's; of a
    text that is no Unicode it raises Python's."""
    try:
        return pa.Table.from_pylist(rows, SCHEMA)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise refused(f"a row does not fit its columns ({error})") from error


def _sync(folder: Path) -> None:
    """A rename and a new name last only once the folder is written."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
