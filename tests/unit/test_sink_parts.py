"""The parts of a sink: its pauses, its signature, its topics, and what it says where an extra is missing."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sinks import result
from worker import destinations
from worker.cli import main
from worker.errors import Poison, Retryable
from worker.ops.health import Health
from worker.ops.metrics import PrometheusObserver
from worker.records import Partition, Record
from worker.sinks.destination import Busy, Destination, Item
from worker.sinks.frame import Bounds, Frame
from worker.sinks.home_assistant import slug
from worker.sinks.parquet import ParquetDestination
from worker.sinks.retry import Backoff
from worker.sinks.sql import SqlDestination
from worker.sinks.webhook import signature
from worker.strict_json import write_json


class _Endless:
    """An intake that always has more; `asked` counts the records that were asked for."""

    uncommitted, held, settled = False, frozenset[Partition](), True

    def __init__(self) -> None:
        self.given = 0

    def poll(self, _: float, more: bool) -> tuple[list[Record], frozenset[Partition]]:
        """500 at a time, as a poll of Kafka."""
        if not more:
            return [], frozenset()
        self.given += 500
        value = write_json(result("k", 1))
        return [Record("out", 0, n, 0, b"k", value) for n in range(500)], frozenset()

    def ends(self) -> dict[Partition, Any]:
        """Nothing."""
        return {}


class _Away(Destination):
    def deliver(self, items: Sequence[Item]) -> None:
        """Never."""
        raise Retryable("it is away")


class _Silent:
    def info(self, event: str, **_: Any) -> None:
        """Nothing."""

    warning = info


@pytest.mark.parametrize(("batch", "max_bytes", "most"), [(1000, 2**30, 1000), (10**6, 200_000, 1000)])
def test_a_destination_that_is_away_fills_no_memory(batch: int, max_bytes: int, most: int) -> None:
    """Past a batch, or past max_bytes, nothing more is asked for."""
    intake, letters = _Endless(), Any
    frame = Frame(
        "s", lambda _: intake, _Away(), letters, Bounds(batch, max_bytes, 0.0, 0.0),  # type: ignore[arg-type,return-value]
        Backoff(1.0, Random(0)), PrometheusObserver(), Health(), _Silent(),
    )  # fmt: skip
    for _ in range(50):
        frame._turn()
    assert 500 <= intake.given <= most


class _Some(_Endless):
    """An intake of these values, once."""

    def __init__(self, values: Sequence[bytes]) -> None:
        self._values, self.finished = values, list[int]()

    def poll(self, _: float, more: bool) -> tuple[list[Record], frozenset[Partition]]:
        """All of them."""
        values, self._values = self._values, ()
        return [Record("out", 0, n, 0, b"k", value) for n, value in enumerate(values)], frozenset()

    def done(self, record: Record, _: str) -> None:
        """Has its outcome."""
        self.finished.append(record.offset)


class _Letters:
    def __init__(self) -> None:
        self.bad: dict[int, str] = {}

    def settle(self, records: Sequence[tuple[Record, Poison | None]]) -> str:
        """Keeps what is refused."""
        self.bad |= {record.offset: str(bad) for record, bad in records if bad is not None}
        return ""


ODD = {
    "a label that is no Unicode": {"label": "\ud800"},
    "a key that is no Unicode": {"key": "\ud800"},
    "an input that is no Unicode": {"inputs": {"a": "\ud800"}},
    "a time before the year 1": {"time": "0001-01-01T00:00:00+23:00"},
    "a score that is no number": {"score": "much"},
}


@pytest.mark.parametrize("kind", ["parquet", "sql"])
@pytest.mark.parametrize("what", ODD)
def test_what_is_in_one_result_costs_that_one_alone(tmp_path: Path, kind: str, what: str) -> None:
    """Also what the destination's library does not foresee: it goes on with the others, and ends no process."""
    if kind == "parquet":
        destination: Destination = ParquetDestination(destinations.Parquet(directory=str(tmp_path)))
    else:
        destination = SqlDestination(destinations.Sql(url=f"sqlite:///{tmp_path}/results.db"), create=True)
    destination.open()
    rows = [result("k", 0), {**result("k", 1), **ODD[what]}, result("k", 2)]
    intake, letters = _Some([json.dumps(row).encode() for row in rows]), _Letters()
    frame = Frame(
        "s", lambda _: intake, destination, letters, Bounds(3, 2**30, 0.0, 0.0),  # type: ignore[arg-type,return-value]
        Backoff(1.0, Random(0)), PrometheusObserver(), Health(), _Silent(),
    )  # fmt: skip
    frame._turn()
    destination.close()
    assert intake.finished == [0, 1, 2]
    assert letters.bad.keys() <= {1}
    if kind == "parquet":
        assert letters.bad.keys() == {1}
    if kind == "parquet" and what in ("a label that is no Unicode", "a score that is no number"):
        assert "a row does not fit its columns" in letters.bad[1]


def test_pauses_grow_to_a_limit_and_keep_what_was_asked_for() -> None:
    """Between half of it and all of 0.5, 1, 2 ... s, up to the limit; Retry-After is the least; success begins anew."""
    backoff = Backoff(8.0, Random(1))
    pauses = [backoff.failed() for _ in range(12)]
    for number, seconds in enumerate(pauses):
        whole = min(8.0, 0.5 * 2**number)
        assert whole / 2 <= seconds <= whole
    assert backoff.failed(60.0) == 60.0
    assert backoff.failed(1e9) == 3600.0
    backoff.worked()
    assert backoff.failed() <= 0.5
    assert Busy("later", 3.0).after_seconds == 3.0


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example that its libraries are tested with."""
    import base64

    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.text(min_size=1), st.text(min_size=1))
def test_no_two_keys_share_a_topic(one: str, other: str) -> None:
    """And each is a level of a topic as Home Assistant takes it; a key that looks like a spelling has its own."""
    for key in (one, other, slug(one)):
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,48}", slug(key))
    assert (slug(one) == slug(other)) == (one == other)
    assert slug(slug(one)) != slug(one) or slug(one) == one


@pytest.mark.parametrize(
    ("kind", "key", "module", "extra"),
    [
        ("mqtt", "host=h", "paho.mqtt.client", "mqtt"),
        ("sql", "url=sqlite://", "sqlalchemy", "sql"),
        ("parquet", "directory=d", "pyarrow", "parquet"),
    ],
)
def test_an_extra_that_is_missing_is_told(
    monkeypatch: Any, capsys: Any, kind: str, key: str, module: str, extra: str
) -> None:
    """One line that says what to install, and 2."""
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"worker.sinks.{kind}", raising=False)
    assert main(["sink", kind, "--set", f"sinks.{kind}.{key}"]) == 2
    assert f"install fusion-worker[{extra}]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "module", "package"),
    [
        ("postgresql+psycopg://h/d", "psycopg", "psycopg[binary]"), ("mysql+pymysql://h/d", "pymysql", "pymysql"),
        ("mysql+mysqldb://h/d", "MySQLdb", "mysqlclient"),
    ],
)  # fmt: skip
def test_a_driver_that_is_missing_is_told_by_its_package(
    monkeypatch: Any, capsys: Any, url: str, module: str, package: str
) -> None:
    """The extra `sql` has none, so it is not what to install."""
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["sink", "sql", "--set", f"sinks.sql.url={url}"]) == 2
    told = f"fusion-worker: sink sql needs the package {module}; pip install '{package}'\n"
    assert capsys.readouterr().err == told
