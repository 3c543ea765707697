"""What operators look at and do: /readyz through a life, /metrics by its names, a stop that leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.story import minutes_ago, nearest_frame, story
from tests.town import Town, town, verdicts
from tests.unit.test_ops_metrics import ADDED, CONTRACT
from worker.demo.valkey import EmbeddedValkey

PASSWORD = "s3cret-of-the-cache"
PATIENCE_SECONDS = 30.0


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A server of this test's own, that it may stop."""
    server = EmbeddedValkey(tmp_path)
    yield server
    os.kill(server.pid, signal.SIGCONT)
    server.stop()


def ask(port: int, path: str) -> tuple[int, str]:
    """Status and body."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def eventually(found: Callable[[], Any]) -> Any:
    """The first true answer.

    Raises:
        AssertionError: none came in time.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (answer := found()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
    return answer


def port_of(made: Town) -> int:
    """The port that the worker's log names."""
    return int(eventually(lambda: [line for line in lines(made) if line["event"] == "listening"])[0]["port"])


def lines(made: Town) -> list[dict[str, Any]]:
    """The worker's log."""
    path = made.folder / f"{made.name}.log"
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]


def readiness(port: int, status: int, words: str) -> Callable[[], bool]:
    """Whether /readyz answers this."""

    def is_so() -> bool:
        found, body = ask(port, "/readyz")
        return found == status and words in body

    return is_so


def test_readyz_tells_the_worker_s_life(stack: Any, tmp_path: Path, valkey: EmbeddedValkey) -> None:
    """503 with the reason while starting, while Redis is away and while draining; 200 else; alive all the time."""
    events = story(5, minutes_ago(3), keys=2, anchors_per_key=10)
    redis = {"url": valkey.url, "timeout": "500ms"}
    with town(stack, tmp_path, {"texts": 1}, redis=redis, cost_ms=2000.0) as made:
        os.kill(valkey.pid, signal.SIGSTOP)
        (worker,) = made.start()
        port = port_of(made)
        eventually(readiness(port, 503, "starting: the worker is starting"))
        os.kill(valkey.pid, signal.SIGCONT)
        eventually(readiness(port, 200, "ready"))
        os.kill(valkey.pid, signal.SIGSTOP)
        eventually(readiness(port, 503, "redis: Redis: "))
        assert ask(port, "/livez")[0] == 200
        os.kill(valkey.pid, signal.SIGCONT)
        eventually(readiness(port, 200, "ready"))
        made.feed(events)
        eventually(lambda: "fusion_pending_anchors 20" in ask(port, "/metrics")[1])
        worker.send_signal(signal.SIGTERM)
        eventually(readiness(port, 503, "draining: the worker is stopping"))
        assert made.stop() == [0]


def test_sigterm_finishes_and_commits_what_is_on_the_model(stack: Any, tmp_path: Path) -> None:
    """A slow batch is under way: it is finished, its results are committed, and nobody fuses them again."""
    events = story(6, minutes_ago(3), keys=4, anchors_per_key=4)
    with town(stack, tmp_path, {"texts": 1}, cost_ms=1500.0, model={"max_delay": "200ms"}) as made:
        made.feed(events)
        (worker,) = made.start()
        port = port_of(made)
        eventually(lambda: "fusion_pending_anchors 16" in ask(port, "/metrics")[1])
        eventually(lambda: 'fusion_stage_seconds_count{stage="decode"} 16' in ask(port, "/metrics")[1])
        worker.send_signal(signal.SIGTERM)
        assert made.stop() == [0]
        made.read(1.0)
        assert verdicts(made.results) == nearest_frame(events)
        assert len(made.results) == 16
        assert [line["left"] for line in lines(made) if line["event"] == "drained"] == [
            "0 anchors read and not committed"
        ]


def test_metrics_are_the_contract_s(stack: Any, tmp_path: Path) -> None:
    """Names and labels of everything with our prefix, after work, late events and a dead letter were seen."""
    events = story(8, minutes_ago(3), keys=3, anchors_per_key=10)
    with town(stack, tmp_path) as made:
        made.start()
        made.feed(events)
        made.send("texts", "k", b"no headers, and \xff no text")
        made.flush()
        made.read_until(lambda: len(made.results) >= 30 and len(made.dead) >= 1)
        port = port_of(made)
        found: dict[str, set[str]] = {}
        for family in text_string_to_metric_families(ask(port, "/metrics")[1]):
            for sample in family.samples:
                if sample.name.startswith("fusion_"):
                    name = family.name.removeprefix("fusion_") + ("_total" if family.type == "counter" else "")
                    found.setdefault(name, set()).update(sample.labels.keys() - {"le"})
        declared = CONTRACT | ADDED
        late = {"bound_hits_total", "late_events_total", "redis_rebuilds_total", "source_offset_seconds"}
        late |= {
            "drift_psi",
            "head_labels_total",
            "head_number",
            "head_band_width",
            "review_total",
            "rules_total",
            "shadow_disagreements_total",
            "certificate_expiry_timestamp_seconds",
        }
        late |= {name for name in declared if name.startswith(("sink_", "feed_"))}
        assert found.keys() | late == declared.keys() | late
        assert {name: labels for name, labels in found.items() if labels} == {
            name: set(labels) for name, labels in declared.items() if labels and name in found
        }
        assert "fusion_unaccounted_anchors 0.0" in ask(port, "/metrics")[1]
        assert made.stop() == [0]


def test_the_log_has_no_secret_and_no_payload(stack: Any, tmp_path: Path, valkey: EmbeddedValkey) -> None:
    """A password in the address stays out of every line, also when Redis goes away; so do the events' bodies."""
    import redis

    redis.Redis.from_url(valkey.url).config_set("requirepass", PASSWORD)
    url = valkey.url.replace("redis://", f"redis://:{PASSWORD}@")
    events = story(9, minutes_ago(3), keys=2, anchors_per_key=5)
    with town(stack, tmp_path, redis={"url": url, "timeout": "500ms"}, log={"level": "debug"}) as made:
        made.start()
        port = port_of(made)
        made.feed(events)
        made.read_until(lambda: len(made.results) >= 10)
        os.kill(valkey.pid, signal.SIGSTOP)
        eventually(readiness(port, 503, "redis: "))
        os.kill(valkey.pid, signal.SIGCONT)
        eventually(readiness(port, 200, "ready"))
        assert made.stop() == [0]
        text = (made.folder / f"{made.name}.log").read_text()
        assert "a server is away" in text
        assert PASSWORD not in text
        assert "report junction-" not in text
