"""worker/ops/health.py and worker/ops/http.py: progress, readiness, and the pages that tell them."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from worker.errors import ConfigError, Fatal
from worker.ops.health import Health
from worker.ops.http import OpsServer
from worker.ops.metrics import PrometheusObserver


class HandClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def health(clock: HandClock) -> Health:
    return Health(stall_seconds=10, startup_seconds=60, monotonic=clock)


@pytest.fixture
def server(health: Health) -> Iterator[OpsServer]:
    observer = PrometheusObserver()
    observer.count("events_total", 3, stream="texts", outcome="accepted")
    server = OpsServer("127.0.0.1", 0, observer.registry, health)
    server.start()
    yield server
    server.stop()


def ask(server: OpsServer, path: str, method: str = "GET", accept: str = "*/*") -> tuple[int, str, str]:
    """Status, content type and body of one request."""
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", method=method, headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_a_loop_that_stops_turning_is_dead(health: Health, clock: HandClock) -> None:
    """Past the limit without a beat the worker counts as stalled; one beat revives it."""
    health.beat()
    clock.seconds += 10
    assert health.stalled() is None
    clock.seconds += 1
    assert health.stalled() == "the loop has not turned for 11 s (limit 10 s)"
    health.beat()
    assert health.stalled() is None


def test_a_slow_start_is_not_a_stall(health: Health, clock: HandClock) -> None:
    """Until the first beat the longer limit of the start holds."""
    clock.seconds += 60
    assert health.stalled() is None
    clock.seconds += 1
    assert health.stalled() == "the loop has not begun to turn for 61 s (limit 60 s)"


def test_every_reason_must_go(health: Health) -> None:
    """The worker is ready only when each named block is cleared; a repeated block is replaced, not doubled."""
    health.block("starting", "the worker is starting")
    health.block("redis", "no answer")
    health.block("redis", "still no answer")
    health.clear("kafka")
    assert health.reasons() == ("starting: the worker is starting", "redis: still no answer")
    health.clear("starting")
    assert health.reasons() == ("redis: still no answer",)
    health.clear("redis")
    assert health.reasons() == ()


def test_readyz_names_the_reasons(server: OpsServer, health: Health) -> None:
    """/readyz is 503 with every reason, and 200 once they are gone."""
    health.block("kafka", "no broker answers")
    health.block("draining", "the worker is stopping")
    assert ask(server, "/readyz")[::2] == (503, "kafka: no broker answers\ndraining: the worker is stopping\n")
    health.clear("kafka")
    health.clear("draining")
    assert ask(server, "/readyz")[::2] == (200, "ready\n")


def test_livez_tells_progress(server: OpsServer, health: Health, clock: HandClock) -> None:
    """/livez stays 200 while a server is away, and is 503 only when the loop stands still; /readyz says so too."""
    health.beat()
    health.block("redis", "away")
    assert ask(server, "/livez")[::2] == (200, "alive\n")
    clock.seconds += 11
    assert ask(server, "/livez")[::2] == (503, "the loop has not turned for 11 s (limit 10 s)\n")
    assert "stalled: the loop has not turned" in ask(server, "/readyz")[2]


def test_metrics_in_both_forms(server: OpsServer) -> None:
    """/metrics is Prometheus text by default and OpenMetrics when that is asked for."""
    status, kind, page = ask(server, "/metrics")
    assert (status, kind.split(";")[0]) == (200, "text/plain")
    assert 'fusion_events_total{outcome="accepted",stream="texts"} 3.0' in page
    status, kind, page = ask(server, "/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert (status, kind.split(";")[0]) == (200, "application/openmetrics-text")
    assert "fusion_events" in {family.name for family in text_string_to_metric_families(page)}  # type: ignore[no-untyped-call]


def test_other_paths_and_head(server: OpsServer) -> None:
    """An unknown path is 404, a query is ignored, HEAD has no body."""
    assert ask(server, "/")[0] == 404
    assert ask(server, "/livez?verbose=1")[0] == 200
    assert ask(server, "/readyz", method="HEAD")[::2] == (200, "")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_not_allowed(server: OpsServer, method: str) -> None:
    """405 with what is; of any path. HEAD tells what GET tells, its length too."""
    for path in ("/metrics", "/livez", "/readyz", "/none"):
        request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", data=b"x" * 100_000, method=method)
        with pytest.raises(urllib.error.HTTPError) as caught, urllib.request.urlopen(request, timeout=10):
            pass
        with caught.value as answer:
            assert (answer.code, answer.headers["Allow"]) == (405, "GET, HEAD")
    head = urllib.request.Request(f"http://127.0.0.1:{server.port}/livez", method="HEAD")
    with urllib.request.urlopen(head, timeout=10) as answer:
        assert (answer.status, answer.headers["Content-Length"], answer.read()) == (200, "6", b"")


OPEN = "application/openmetrics-text; version=1.0.0"
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;"
    "q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,/;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "is_open"),
    [
        ("", False), ("*/*", False), ("text/html", False), (OPEN, True), (OPEN.upper(), True), (PROMETHEUS, True),
        ("application/openmetrics-text;q=0", False), (" ;;, q=x", False),
        ("text/plain;version=0.0.4;q=0.9," + OPEN + ";q=0.1", False), ("text/plain;q=0.2," + OPEN + ";q=0.7", True),
    ],
)  # fmt: skip
def test_each_page_is_one_that_its_own_parser_reads(server: OpsServer, accept: str, is_open: bool) -> None:
    """What is negotiated is what is sent: the parser of that format reads every family, with the counter's value."""
    status, kind, page = ask(server, "/metrics", accept=accept)
    assert (status, kind.split(";")[0]) == (200, "application/openmetrics-text" if is_open else "text/plain")
    families = list((text_string_to_metric_families if is_open else text_families)(page))
    values = {s.name: s.value for f in families for s in f.samples if s.labels.get("outcome") == "accepted"}
    assert values["fusion_events_total"] == 3
    assert len(families) > 10
    assert not [f.name for f in families if f.name.endswith("_created")]


def test_a_silent_client_holds_nobody_up(server: OpsServer) -> None:
    """While one client sends nothing, another is answered."""
    with socket.create_connection(("127.0.0.1", server.port)):
        assert ask(server, "/livez")[0] == 200


def test_a_port_in_use_is_named() -> None:
    """A taken port stops the worker with a sentence that names http.port, the value and the remedy."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = OpsServer("127.0.0.1", port, PrometheusObserver().registry, Health())
        with pytest.raises(Fatal) as caught:
            server.start()
    assert str(caught.value) == f"http.port: {port} on 127.0.0.1 is in use; give a free port, or 0 for any free one"


def test_a_host_of_another_machine_is_named() -> None:
    """An address that is not this machine's is a configuration error that names http.host."""
    server = OpsServer("192.0.2.1", 0, PrometheusObserver().registry, Health())
    with pytest.raises(ConfigError, match=r"http\.host: cannot listen on '192\.0\.2\.1'"):
        server.start()


def test_a_stopped_server_frees_its_port() -> None:
    """After stop() the same port can be bound again, and stop() twice is fine."""
    first = OpsServer("127.0.0.1", 0, PrometheusObserver().registry, Health())
    first.start()
    port = first.port
    first.stop()
    first.stop()
    second = OpsServer("127.0.0.1", port, PrometheusObserver().registry, Health())
    second.start()
    assert (first.port, second.port) == (port, port)
    second.stop()
