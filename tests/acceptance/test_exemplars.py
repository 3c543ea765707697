"""From a latency on the dashboard to its trace: a real Prometheus keeps what a worker tells; Grafana has the link."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml

from tests.prometheus_tools import serve, wait_until
from worker.ops.health import Health
from worker.ops.http import OpsServer
from worker.ops.metrics import PrometheusObserver

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

pytestmark = pytest.mark.timeout(1200)  # where Prometheus has to be built first


def test_a_latency_leads_to_its_trace(tmp_path: Path) -> None:
    """The panel's own query finds the trace of a value, and no other; Grafana knows by that label where traces are."""
    panels = json.loads((DEPLOY / "grafana/dashboards/fusion-worker.json").read_text(encoding="utf-8"))["panels"]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", ()) if target.get("exemplar")]
    expression = asked[0].replace("$instance", ".*").replace("$__rate_interval", "10s")
    observer = PrometheusObserver()
    observer.observe("end_to_end_seconds", 0.02)
    observer.observe("end_to_end_seconds", 0.3, trace=TRACE)
    server = OpsServer("127.0.0.1", 0, observer.registry, Health())
    server.start()
    try:
        with serve(tmp_path, [f"127.0.0.1:{server.port}"]) as prometheus:
            span = {"start": str(time.time() - 60), "end": str(time.time() + 120)}
            found = wait_until(lambda: prometheus.get("query_exemplars", query=expression, **span), 30, "exemplars")
    finally:
        server.stop()
    told = {(one["labels"]["trace_id"], one["value"]) for series in found for one in series["exemplars"]}
    assert told == {(TRACE, "0.3")}
    sources = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8"))
    (link,) = sources["datasources"][0]["jsonData"]["exemplarTraceIdDestinations"]
    assert link["name"] == "trace_id"
    assert link["url"].endswith("$${__value.raw}")
