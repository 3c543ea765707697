"""Sinks of one group that join, end and are killed: nothing is lost, and no key's results come out of order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.sinks import result, sinks, wait_until
from tests.webhook_server import webhook_server


def test_members_come_and_go_and_each_key_keeps_its_order(stack: Any, tmp_path: Path) -> None:
    """A second one joins in mid-stream, the first ends by SIGTERM, the second is killed, a third does the rest. What
    comes again is what was delivered since Kafka began a rebalance, or not committed at the kill; in order."""
    keys = [f"k{n}" for n in range(8)]
    with sinks(stack, tmp_path, 4) as made, webhook_server(tmp_path / "server") as server:
        rows = [result(key, n) for n in range(100) for key in keys]
        made.feed(rows)
        told = {"url": server.url, "batch": 5, "max_delay": "10ms"}
        first = made.start("webhook", harness=["--paced", "20"], **told)
        wait_until(lambda: len(server.taken()) > 100)
        second = made.start("webhook", harness=["--paced", "20"], **told)
        wait_until(lambda: any(line.startswith("{") and "port" in line for line in _lines(made, 1)))
        wait_until(lambda: _share(server) > 0.4)
        assert made.stop(first) == 0
        wait_until(lambda: _share(server) > 0.7)
        second.kill()
        second.wait()
        assert made.run("webhook", **told) == 0
        for key in keys:
            came = list(dict.fromkeys(one["id"] for one in server.taken() if one["key"] == key))
            assert came == [row["id"] for row in rows if row["key"] == key]


def _lines(made: Any, number: int) -> list[str]:
    return (made.folder / f"sink-{number}.log").read_text().splitlines()


def _share(server: Any) -> float:
    return len({one["id"] for one in server.taken()}) / 800
