"""Results -> a table, an upsert by id, a transaction a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from worker import destinations
from worker.addresses import host_name
from worker.errors import ConfigError, Retryable, Unreachable
from worker.sinks.destination import Destination, Item, refused

_INSERTS: dict[str, Any] = {
    "postgresql": postgresql.insert, "sqlite": sqlite.insert, "mysql": mysql.insert, "mariadb": mysql.insert,
}  # fmt: skip
_NO_ACCESS = ("password authentication failed", "access denied for user", "no password supplied")
# Classes of SQLSTATE: data exception, integrity constraint violation.
_OF_THE_ROW = ("22", "23")


def columns() -> list[sa.Column[Any]]:
    """Of a table that is made; of one that is there those are written that it has."""
    document = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    return [
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("key", sa.Text().with_variant(sa.String(255), "mysql", "mariadb"), nullable=False, index=True),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False, index=True),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("score", sa.Float(53)),
        sa.Column("complete", sa.Boolean),
        sa.Column("missing", document),
        sa.Column("scores", document),
        sa.Column("model_name", sa.Text),
        sa.Column("model_version", sa.Text),
        sa.Column("result", document, nullable=False),
    ]


class SqlDestination(Destination):
    """Any number of deliveries of a result leave one row: the last."""

    def __init__(self, told: destinations.Sql, create: bool) -> None:
        """`told.url` is given; `create`: the table is made where it is missing.

        Raises:
            ConfigError: the address is none, or of a database without an upsert.
        """
        self._create, self._table_name = create, told.table
        try:
            url = sa.make_url(str(told.url))
            _ensure_host(url)
            seconds = max(1, round(told.timeout.total_seconds()))
            self._engine = sa.create_engine(url, pool_pre_ping=True, connect_args=_patience(url, seconds))
        except (sa.exc.ArgumentError, ValueError) as error:
            raise ConfigError("sinks.sql.url: is no address of SQLAlchemy, such as sqlite:///results.db") from error
        if self._engine.dialect.name not in _INSERTS:
            known = ", ".join(sorted(_INSERTS))
            raise ConfigError(f"sinks.sql.url: {self._engine.dialect.name!r} has no upsert here; there are {known}")
        self._insert: Any = None
        self._written: list[str] = []

    def open(self) -> None:
        """Looks at the table, and makes it.

        Raises:
            ConfigError: there is none, or it has no `id` that is unique.
        """
        schema, _, name = self._table_name.rpartition(".")
        try:
            there = sa.inspect(self._engine).has_table(name, schema=schema or None)
            if not there and self._create:
                sa.Table(name, sa.MetaData(schema=schema or None), *columns()).create(self._engine, checkfirst=True)
            elif not there:
                raise ConfigError(f"sinks.sql.table = {self._table_name!r}: no such table; --create makes it")
            table = sa.Table(name, sa.MetaData(schema=schema or None), autoload_with=self._engine)
        except sa.exc.SQLAlchemyError as error:
            raise _judged(error) from error
        known = {column.name for column in columns()}
        self._written = [column.name for column in table.columns if column.name in known]
        needed = [c.name for c in table.columns if not (c.nullable or c.server_default or c.name in known)]
        if not _is_unique(table) or needed:
            told = f"it needs values for {', '.join(needed)}" if needed else "its column id is no key"
            raise ConfigError(f"sinks.sql.table = {self._table_name!r}: {told}; docs/sinks.md has the table")
        self._insert = self._upsert(table)

    def _upsert(self, table: sa.Table) -> Any:
        insert = _INSERTS[self._engine.dialect.name](table)
        others = [name for name in self._written if name != "id"]
        if self._engine.dialect.name in ("mysql", "mariadb"):
            return insert.on_duplicate_key_update({name: insert.inserted[name] for name in others})
        return insert.on_conflict_do_update(
            index_elements=["id"], set_={name: insert.excluded[name] for name in others}
        )

    def deliver(self, items: Sequence[Item]) -> None:
        """See `Destination`. All of the batch is in one transaction; of two results of one id the later counts."""
        rows = {item.id: _row(item, self._written) for item in items}
        try:
            with self._engine.begin() as connection:
                connection.execute(self._insert, list(rows.values()))
        except sa.exc.SQLAlchemyError as error:
            raise _judged(error) from error

    def close(self) -> None:
        """Ends the connections."""
        self._engine.dispose()


def _row(item: Item, written: Sequence[str]) -> dict[str, Any]:
    result = item.result
    row = {
        "id": item.id, "key": item.key, "time": item.time, "label": result["label"], "score": result.get("score"),
        "complete": result.get("complete"), "missing": result.get("missing"), "scores": result.get("scores"),
        "model_name": item.model.get("name"), "model_version": item.model.get("version"), "result": result,
    }  # fmt: skip
    return {name: row[name] for name in written}


def _is_unique(table: sa.Table) -> bool:
    unique = [tuple(column.name for column in table.primary_key.columns)]
    unique += [tuple(c.name for c in one.columns) for one in table.constraints if isinstance(one, sa.UniqueConstraint)]
    unique += [tuple(c.name for c in index.columns) for index in table.indexes if index.unique]
    return ("id",) in unique


def _ensure_host(url: sa.URL) -> None:
    """Raises ConfigError: no resolver takes it."""
    try:
        host_name(url.host or "")
    except ValueError as error:
        raise ConfigError(f"sinks.sql.url: {error}") from error


def _patience(url: sa.URL, seconds: int) -> dict[str, Any]:
    """How each driver is told not to wait for ever."""
    driver = url.get_driver_name()
    if url.get_backend_name() == "sqlite":
        return {"timeout": seconds}
    if driver in ("psycopg", "psycopg2"):
        return {"connect_timeout": seconds, "options": f"-c statement_timeout={seconds * 1000}"}
    if driver == "pg8000":
        return {"timeout": seconds}
    if driver in ("pymysql", "mysqldb"):
        return {"connect_timeout": seconds, "read_timeout": seconds, "write_timeout": seconds}
    return {}


def _judged(error: sa.exc.SQLAlchemyError) -> Exception:
    """Poison: these rows; Fatal: this user; else the database is away or busy."""
    told, code = " ".join(str(getattr(error, "orig", None) or error).split())[:500], _sqlstate(error)
    if code.startswith("28") or any(words in told.lower() for words in _NO_ACCESS):
        return Unreachable(f"sinks.sql: the database refuses this user: {told}")
    if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
        return Retryable(f"the database does not answer ({told})")
    if code[:2] in _OF_THE_ROW or isinstance(error, sa.exc.DataError | sa.exc.IntegrityError):
        return refused(f"the table does not take the row ({type(error).__name__}: {told})")
    if isinstance(error, sa.exc.StatementError) and not isinstance(error, sa.exc.DBAPIError):
        return refused(f"the row cannot be written ({told})")
    return Retryable(f"the database does not take it ({type(error).__name__}: {told})")


def _sqlstate(error: sa.exc.SQLAlchemyError) -> str:
    """The five characters of the standard, where the driver tells them: psycopg, psycopg2, pg8000."""
    cause = getattr(error, "orig", None)
    first = cause.args[0] if cause is not None and cause.args else None
    found = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return str(found or (first.get("C") if isinstance(first, dict) else None) or "")
