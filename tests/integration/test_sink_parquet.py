"""`fusion-worker sink parquet` against a real Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyarrow import dataset

from tests.sinks import result, sinks, wait_until


def table(folder: Path) -> list[dict[str, Any]]:
    """What a reader of the folder sees."""
    if not folder.exists():
        return []
    rows: list[dict[str, Any]] = dataset.dataset(folder, format="parquet", partitioning="hive").to_table().to_pylist()
    return sorted(rows, key=lambda row: (row["partition"], row["offset"]))


@pytest.mark.parametrize("when", ["--kill", "--kill-after"])
def test_killed_around_the_commit_each_result_is_there_once(stack: Any, tmp_path: Path, when: str) -> None:
    """SIGKILL between the file and Kafka's commit: it is not seen, and written anew, cut elsewhere. After the commit
    and before the rename: the next start shows it."""
    folder = tmp_path / "out"
    with sinks(stack, tmp_path) as made:
        rows = [result(f"k{n % 4}", n * 3600) for n in range(40)]  # of one day
        rows += [result(f"k{n % 4}", n, time=f"2026-01-02T00:00:{n:02}.5Z") for n in range(1, 41)]
        ids = made.feed(rows)
        assert made.run("parquet", harness=[when, "1"], directory=folder, batch=30) == -9
        assert table(folder) == []
        assert list(folder.glob("day=*/.*.tmp"))
        assert made.run("parquet", directory=folder, batch=17) == 0
        found = table(folder)
        assert sorted(row["id"] for row in found) == sorted(ids)
        assert {row["day"].__str__() for row in found} == {"2026-01-01", "2026-01-02"}
        assert not list(folder.glob("day=*/.*"))
        first = next(row for row in found if row["id"] == ids[0])
        assert first["scores"] == [("congestion", 0.93), ("free_flow", 0.07)]
        assert first["time"].isoformat() == "2026-01-01T00:00:00+00:00"
        assert first["missing"] == [("frames", "never_seen")]


@pytest.mark.long
def test_files_come_by_time_and_a_row_that_does_not_fit_is_a_dead_letter(stack: Any, tmp_path: Path) -> None:
    """A few results are a file after `max_delay`; SIGTERM writes the rest; a score that is no number is refused."""
    folder = tmp_path / "out"
    with sinks(stack, tmp_path, 1) as made:
        ids = made.feed([result("k", 0), result("k", 1, score="much"), result("k", 2)])
        sink = made.start("parquet", directory=folder, max_delay="300ms")
        wait_until(lambda: len(table(folder)) == 2)
        assert [row["id"] for row in table(folder)] == [ids[0], ids[2]]
        assert made.stop(sink) == 0
        sink = made.start("parquet", directory=folder, max_delay="1h")
        wait_until(lambda: any("port" in line for line in made.log()))
        ids += made.feed([result("k", 3)])
        wait_until(lambda: _read(made, 1))
        assert made.stop(sink) == 0
        assert len(table(folder)) == 3
        (letter,) = made.letters("parquet")
        assert b"a row does not fit its columns" in dict(letter.headers)["__connect.errors.exception.message"]


def _read(made: Any, number: int) -> bool:
    """The sink has joined and read what was there, although it has delivered nothing: /readyz is 200, and no lag is
    told before the first poll. What waits for a fuller batch is not late."""
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{made.port()}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    lag = f'fusion_sink_lag_records{{partition="0",sink="parquet"}} {number}.0'
    return lag in page and 'fusion_sink_behind_seconds{sink="parquet"} 0.0' in page


def test_a_bad_start_is_one_line(stack: Any, tmp_path: Path) -> None:
    """No folder given, and one that is a file."""
    with sinks(stack, tmp_path) as made:
        code, line = made.fails("parquet")
        assert (code, "sinks.parquet.directory: must be given" in line) == (2, True)
        code, line = made.fails("parquet", directory=__file__)
        assert (code, "sinks.parquet.directory = " in line) == (2, True)
