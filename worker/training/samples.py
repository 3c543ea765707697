"""A folder of one's own, JSONL with files or Parquet -> labelled samples; every row that cannot be used is named."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import count
from pathlib import Path
from typing import Any

from worker.errors import ConfigError
from worker.strict_json import read_json
from worker.training.rows import Row, row_of
from worker.training.words import RowError

SPLITS = ("train", "dev", "test")
# A row names its bodies; one of this length holds them, or is a file without line ends, and would fill the memory.
_MOST_ROW_BYTES = 16 * 2**20
_MOST_NAMED = 10
_OTHER_KINDS = {b"PAR1": "is Parquet; name it {name}.parquet", b"\x1f\x8b": "is compressed; unpack it"}


def folder_rows(folder: Path, split: str, *, labelled: bool = True) -> Iterator[Row]:
    """Rows of `<split>.jsonl` or `<split>.parquet`; docs/training.md says what stands in them. `labelled`: each must
    have a label.

    Every row is looked at and every body decoded, as serving would, before a ConfigError is raised.

    Raises:
        ConfigError: names the file and the rows that cannot be used, the first with its reason.
    """
    path = _path(folder, split)
    first, others = "", []
    raw_rows = _lines(path) if path.suffix == ".jsonl" else _parquet(path)
    for number, raw in raw_rows:
        try:
            row = _object(raw, number == 1) if isinstance(raw, bytes) else raw
            yield row_of(folder, f"{path}:{number}", row, labelled=labelled)
        except RowError as error:
            if first:
                others.append(number)
            else:
                first = f"{path}:{number}: {error}"
    if first:
        named = ", ".join(str(number) for number in others[:_MOST_NAMED]) + (", ..." * (len(others) > _MOST_NAMED))
        rows = "row" if len(others) == 1 else "rows"
        raise ConfigError(first + (f"; {len(others)} more {rows} of it cannot be used: {named}" if others else ""))


def check_folder(data: str, drawn: Sequence[str]) -> None:
    """Raises ConfigError where `--data` names no folder; `drawn` are the sets that need none."""
    folder = Path(data)
    if folder.is_dir():
        return
    if folder.exists():
        raise ConfigError(f"--data {data}: is a file; name a folder")
    near = get_close_matches(data, drawn, 1)
    raise ConfigError(f"--data {data}: no such folder" + (f"; did you mean {near[0]!r}?" if near else ""))


def has_split(folder: Path, split: str) -> bool:
    """Whether there is a file of it."""
    return bool(_files(folder, split))


def listing(folder: Path) -> str:
    """What is there, for messages."""
    there = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    shown = ", ".join(there[:_MOST_NAMED]) + (", ..." * (len(there) > _MOST_NAMED))
    return f"there are {shown}" if there else "the folder is empty"


def _files(folder: Path, split: str) -> list[Path]:
    both = (folder / f"{split}.jsonl", folder / f"{split}.parquet")
    return [path for path in both if path.is_symlink() or path.exists()]


def _path(folder: Path, split: str) -> Path:
    found = _files(folder, split)
    if len(found) > 1:
        raise ConfigError(f"--data {folder}: {found[0].name} and {found[1].name} are both there; keep one")
    if not found:
        needed = ", ".join(f"{name}.jsonl" for name in SPLITS)
        raise ConfigError(
            f"--data {folder}: no {split}.jsonl there; needed are {needed} (or .parquet); {listing(folder)}"
        )
    if not found[0].is_file():
        raise ConfigError(f"{found[0]}: is not a regular file")
    return found[0]


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            for number in count(1):
                line = file.readline(_MOST_ROW_BYTES + 1)
                if not line:
                    return
                if number == 1:
                    _check_kind(path, line)
                if len(line) > _MOST_ROW_BYTES:
                    raise ConfigError(
                        f"{path}:{number}: is longer than {_MOST_ROW_BYTES} bytes; bodies belong in files of their own"
                    )
                if line.strip(b" \t\r\n"):
                    yield number, line
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def _check_kind(path: Path, line: bytes) -> None:
    for mark, told in _OTHER_KINDS.items():
        if line.startswith(mark):
            raise ConfigError(f"{path}: {told.format(name=path.stem)}")


def _object(line: bytes, is_first: bool) -> dict[str, Any]:
    try:
        # Only a file can begin with a byte-order mark, not a row.
        row = read_json(line.removeprefix(BOM_UTF8) if is_first else line, once=True)
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise RowError(f"is not UTF-8 (byte {error.start})") from error
    except UnicodeEncodeError as error:
        raise RowError("holds half a surrogate pair, which no UTF-8 has; write the character itself") from error
    except ValueError as error:
        raise RowError(f"is not JSON: {error}; a row is one object on one line") from error
    if not isinstance(row, dict):
        raise RowError("must be a JSON object with a label and image, text, sensor or audio")
    return row


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise ConfigError(f"{path}: needs pyarrow; install fusion-worker[parquet]") from error
    try:
        file = parquet.ParquetFile(path)
        names = _class_names(path, file.schema_arrow.metadata or {})
        numbers = count(1)
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                label = row.get("label")
                if isinstance(label, int) and names:
                    # The `datasets` library writes -1 for none.
                    row["label"] = names[label] if 0 <= label < len(names) else None
                yield next(numbers), row
    except (ArrowException, OSError, ValueError) as error:
        raise ConfigError(f"{path}: is not Parquet that can be read: {error}") from error


def _class_names(path: Path, metadata: Mapping[bytes, bytes]) -> list[str]:
    """The labels' names, as the `datasets` library writes them beside their numbers."""
    try:
        told = json.loads(metadata.get(b"huggingface", b"{}"))
        names: list[str] = told.get("info", {}).get("features", {}).get("label", {}).get("names", [])
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"{path}: its metadata of the `datasets` library cannot be read: {error}") from error
    return names
