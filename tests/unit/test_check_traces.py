"""`check` asks the collector of spans: whether it takes any, and if not why; results would go on."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.collector import Collector, collector
from worker import check as room
from worker.check import Told, ask_all, check
from worker.demo.processes import free_port
from worker.settings import Loaded, load

SECRET = "planted-secret"


@pytest.fixture
def told() -> Iterator[Collector]:
    """A collector that listens."""
    with collector() as one:
        yield one


def loaded(endpoint: str) -> Loaded:
    """With a header that is a secret."""
    return load(None, (f"traces.endpoint={endpoint}", f"traces.header=Authorization=Bearer {SECRET}"), {})


def asked(endpoint: str) -> Told:
    """What `check` has of it."""
    return ask_all({"traces": (room._traces, 30.0)}, loaded(endpoint).settings)["traces"]


def test_a_collector_that_takes_spans_is_fit(told: Collector) -> None:
    """It was sent a request with the header and without a span, as an exporter sends them."""
    answer = asked(told.endpoint)
    assert (answer.exit_code, list(answer.findings)) == (0, [])
    assert answer.line == f"{told.endpoint}: 10% of the batches are recorded"
    assert told.headers[-1]["authorization"] == f"Bearer {SECRET}"
    assert told.headers[-1]["content-type"] == "application/x-protobuf"
    assert told.spans == []


def test_one_that_refuses_or_is_not_there_is_a_warning(
    told: Collector, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the reason and what to do; nothing else is said, and no secret."""
    monkeypatch.setattr("worker.ops.traces.EXPORT_SECONDS", 2.5)
    told.status = 401
    for endpoint, reason in ((told.endpoint, "401"), (f"http://127.0.0.1:{free_port()}/v1/traces", "refused")):
        answer = asked(endpoint)
        assert answer.exit_code == 0
        (found,) = map(str, answer.findings)
        assert found.startswith("traces.endpoint takes no spans (")
        assert reason in found
        assert "results go on; see that a collector takes OTLP over HTTP" in found
        assert SECRET not in found + answer.line
    assert capfd.readouterr().err == ""


def test_without_the_extra_it_fails_as_a_worker_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 2 and what to install."""
    monkeypatch.delitem(sys.modules, "worker.ops.traces", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    answer = asked("http://127.0.0.1:4318/v1/traces")
    assert answer.exit_code == 2
    assert 'pip install "fusion-worker[traces]"' in answer.line


def test_it_is_a_part_of_check_where_spans_are_sent(told: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an endpoint there is no such line."""
    for part in ("_host", "_kafka", "_redis", "_model"):
        monkeypatch.setattr(room, part, lambda _: Told("not asked here"))
    lines: list[str] = []
    assert check(loaded(told.endpoint), lines.append) == 0
    assert f"traces ok      {told.endpoint}: 10% of the batches are recorded" in lines
    lines.clear()
    assert check(load(None, (), {}), lines.append) == 0
    assert not [line for line in lines if line.startswith("traces")]
