"""Every query of the dashboard and of the alerts is run against a real Prometheus that scrapes a real /metrics."""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mypy.api
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana import build
from deploy.grafana.build import RUNBOOK_UID, pages, runbook_entries
from deploy.grafana.panels import ROWS as DECLARED
from tests.feeds import tell_feed
from tests.heads import tell_heads
from tests.prometheus_tools import Prometheus, serve, wait_until
from tests.sinks import tell_a_sink
from worker.config import Settings
from worker.from_settings import tell_settings
from worker.ops.catalogue import METRICS, PREFIX, Kind, TimedStage
from worker.ops.health import Health
from worker.ops.http import OpsServer
from worker.ops.metrics import PrometheusObserver

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DASHBOARDS = DEPLOY / "grafana" / "dashboards"
DASHBOARD = json.loads((DASHBOARDS / "fusion-worker.json").read_text(encoding="utf-8"))
ROWS = ["Is it healthy?", "What comes in?", "How well does it match?", "Where does the time go?", "What comes out?"]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

# What Grafana puts in place of its variables; the range holds several of the test's scrapes.
VARIABLES = {"$instance": ".*", "$__rate_interval": "10s"}

# Seconds: the first rate() needs two scrapes, one second apart.
FILLED_SECONDS = 30

pytestmark = pytest.mark.timeout(1200)


def filled_in(expression: str) -> str:
    """The expression as Grafana sends it."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


QUERIES = [
    pytest.param(filled_in(target["expr"]), target["legendFormat"], id=f"{panel['title']}-{target['refId']}")
    for panel in PANELS
    for target in panel["targets"]
]
RULES = [
    pytest.param(rule["alert"], rule["expr"], id=rule["alert"])
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]


def known_series() -> set[str]:
    """The names of all series that a worker's /metrics can have, from the table of metrics."""
    known: set[str] = set()
    for name, metric in METRICS.items():
        # A histogram with bounds below zero has no sum: it would not be a counter.
        parts = ["_bucket", "_count", *(["_sum"] if metric.buckets and metric.buckets[0] >= 0 else [])]
        known |= {PREFIX + name + part for part in (parts if metric.kind is Kind.HISTOGRAM else [""])}
    return known


def unknown_series(expression: str) -> set[str]:
    """The fusion_ names in an expression that no worker has."""
    return set(re.findall(rf"\b{PREFIX}\w+", expression)) - known_series()


def tell(observer: PrometheusObserver, turn: int) -> None:
    """What a busy worker tells in one turn of its loop."""
    for stream in ("texts", "frames"):
        observer.count("events_total", 4, stream=stream, outcome="accepted")
        observer.gauge("consumer_lag_records", turn % 7, topic=stream, partition="0")
    observer.count("results_total", 3, label=("free_flow", "accident")[turn % 2], complete="true")
    observer.count("results_total", 1, label="congestion", complete="false")
    observer.count("dead_letters_total", stage="VALIDATE", reason="no_key")
    observer.count("inputs_present_total", 3, pattern="texts+frames")
    observer.count("inputs_present_total", 1, pattern="texts")
    observer.count("review_total", 0.5, reason="low_score")
    observer.count("rules_total", rule="smoke", outcome="applied")
    observer.count("bound_hits_total", bound="events")
    observer.count("late_events_total", stream="frames")
    observer.count("transactions_total", outcome="committed")
    observer.observe("alignment_delta_seconds", (turn % 9 - 4) / 40, stream="frames")
    observer.observe("alignment_wait_seconds", turn % 5 / 10, stream="frames")
    observer.observe("batch_size", 4)
    observer.observe("end_to_end_seconds", 0.02 + turn % 5 / 10)
    observer.count("spans_total", outcome="exported")
    for stage in TimedStage:
        observer.observe("stage_seconds", 0.001 * (turn % 4 + 1), stage=stage)
    observer.gauge("source_offset_seconds", 0.01 * (turn % 5), stream="frames", source="/camera/1")
    observer.observe("verdict_score", 0.5 + turn % 5 / 10)
    observer.observe("verdict_familiar", turn % 20 / 20)
    tell_heads(observer)
    observer.gauge("drift_psi", turn % 5 / 100, quantity="score")
    observer.count("shadow_items_total", 4, outcome="agreed")
    observer.count("shadow_disagreements_total", label="free_flow", shadow="congestion")
    tell_a_sink(observer, turn)
    for state in ("read", "done"):
        observer.count("anchors_total", 4, state=state)
    tell_feed(observer, turn)
    observer.gauge("work_left_seconds", turn % 3)
    observer.count("work_done_seconds_total", 0.05)
    observer.gauge("pending_anchors", turn % 20)
    observer.gauge("oldest_pending_seconds", turn % 20 / 10)
    observer.gauge("budget_bytes", turn % 20 * 1000, place="waiting")
    observer.gauge("budget_anchors", turn % 20, place="waiting")


@pytest.fixture(scope="module")
def worker_address() -> Iterator[str]:
    """host:port of a /metrics page whose values move as a busy worker's do."""
    observer = PrometheusObserver()
    observer.initialise(["texts", "frames"], ["free_flow", "congestion", "accident"])
    observer.gauge("model_info", 1, name="junction", version="1", device="cpu", precision="fp32")
    observer.ask("certificate_expiry_timestamp_seconds", lambda: time.time() + 90 * 86_400, which="kafka_ca")
    tell_settings(Settings(), observer)
    server = OpsServer("127.0.0.1", 0, observer.registry, Health())
    server.start()
    over = threading.Event()

    def turn_until_over() -> None:
        for turn in itertools.count():
            tell(observer, turn)
            if over.wait(0.1):
                return

    loop = threading.Thread(target=turn_until_over)
    loop.start()
    yield f"127.0.0.1:{server.port}"
    over.set()
    loop.join()
    server.stop()


@pytest.fixture(scope="module")
def prometheus(worker_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has scraped the worker."""
    with serve(tmp_path_factory.mktemp("prometheus"), [worker_address]) as server:
        wait_until(lambda: server.query("up == 1"), FILLED_SECONDS, "first scrape")
        yield server


@pytest.mark.parametrize(("expression", "legend"), QUERIES)
def test_every_panel_shows_a_value(prometheus: Prometheus, expression: str, legend: str) -> None:
    """Each query of the dashboard names known metrics, gives a number, and has the labels that its legend shows."""
    assert unknown_series(expression) == set()
    found = wait_until(lambda: prometheus.numbers(expression), FILLED_SECONDS, expression)
    for label in re.findall(r"{{(\w+)}}", legend):
        assert all(label in one["metric"] for one in found), label


@pytest.mark.parametrize(("name", "expression"), RULES)
def test_every_alert_can_be_evaluated(prometheus: Prometheus, name: str, expression: str) -> None:
    """Each alert names known metrics; only those on what the made-up worker really does wrong are true for it."""
    assert unknown_series(expression) == set()
    wrong = name in ("FusionDeadLetters", "FusionBoundHits")
    wait_until(lambda: bool(prometheus.query(expression)) == wrong, FILLED_SECONDS, f"{name} is {wrong}")


def test_rules_are_loaded_and_healthy(prometheus: Prometheus) -> None:
    """Prometheus has evaluated every alert rule without an error."""

    def states() -> set[str]:
        groups = prometheus.get("rules")["groups"]
        found = {rule["health"] for group in groups for rule in group["rules"]}
        return set() if "unknown" in found else found

    assert wait_until(states, FILLED_SECONDS, "rules evaluated") == {"ok"}
    assert len(RULES) == sum(len(group["rules"]) for group in prometheus.get("rules")["groups"])


def test_what_prometheus_scrapes_is_in_the_table(prometheus: Prometheus) -> None:
    """Each fusion_ series that Prometheus got is one that the checks of the queries know."""
    names = [name for name in prometheus.get("label/__name__/values") if name.startswith(PREFIX)]
    assert len(names) > len(METRICS)
    assert set(names) <= known_series()


def test_errors_in_queries_are_found(prometheus: Prometheus) -> None:
    """A misspelled metric, a sum that does not exist and a broken expression are each found."""
    assert unknown_series("rate(fusion_evnts_total[5m])") == {"fusion_evnts_total"}
    assert unknown_series("fusion_alignment_delta_seconds_sum") == {"fusion_alignment_delta_seconds_sum"}
    with pytest.raises(ValueError, match="parse error"):
        prometheus.query("sum by (le rate(fusion_batch_size_bucket[5m])")
    assert prometheus.numbers('fusion_events_total{stream="text"}') == []


def test_the_dashboards_are_generated() -> None:
    """What is committed is, byte for byte, what the code makes now, and no other dashboard lies beside it."""
    made = pages()
    assert {path: path.read_text(encoding="utf-8") for path in DASHBOARDS.iterdir()} == made


@pytest.mark.parametrize("path", sorted(DASHBOARDS.iterdir()), ids=lambda path: str(path.name))
def test_the_dashboards_are_of_grafana_s_types(path: Path) -> None:
    """Read into the types of Grafana's schema and written again, nothing of a dashboard is lost or changed."""
    held = json.loads(path.read_text(encoding="utf-8"))
    again = json.loads(json.dumps(Dashboard.from_json(held), cls=JSONEncoder))
    assert {**again, "panels": sorted_keys(again["panels"])} == {**held, "panels": sorted_keys(held["panels"])}


def sorted_keys(panels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Panels by what they hold, in order."""
    return [dict(sorted(panel.items())) for panel in panels]


def test_a_value_that_grafana_does_not_know_is_found(tmp_path: Path) -> None:
    """A misspelled colour mode is refused by the types, and a misspelled option by mypy, as `make check` runs it."""
    with pytest.raises(ValueError, match="palette-clasic"):
        build._colours("palette-clasic")
    text = Path(build.__file__).read_text(encoding="utf-8")
    assert ".cell_gap(1)" in text
    (tmp_path / "broken.py").write_text(text.replace(".cell_gap(1)", ".cell_gab(1)"), encoding="utf-8")
    said, _, code = mypy.api.run(["--strict", "--cache-dir", str(tmp_path / "cache"), str(tmp_path / "broken.py")])
    assert code == 1
    assert '"Panel" has no attribute "cell_gab"' in said


def test_every_alert_has_its_panel_and_the_panel_its_link() -> None:
    """Each alert is named by one panel, which shows the metrics that it looks at and links to its runbook entry."""
    declared = {panel.title: panel for _, panels in DECLARED for panel in panels}
    owners = [(name, panel) for panel in declared.values() for name in panel.alerts]
    rules = {str(rule.values[0]): str(rule.values[1]) for rule in RULES}
    assert sorted(name for name, _ in owners) == sorted(rules)
    entries = {name: number for number, name, _ in runbook_entries()}
    links = {panel["title"]: panel.get("links", []) for panel in PANELS}
    told = {"fusion_max_wait_seconds", "fusion_stream_info"}  # what is configured, not what happens
    for name, panel in owners:
        shown = {each for expression, _ in panel.queries for each in re.findall(r"\b(?:fusion_\w+|up)\b", expression)}
        looked_at = set(re.findall(r"\b(?:fusion_\w+|up)\b", rules[name])) - told
        assert shown & looked_at, (name, panel.title)
        url = f"/d/{RUNBOOK_UID}?viewPanel={entries[name]}"
        assert (f"Runbook: {name}", url) in [(link["title"], link["url"]) for link in links[panel.title]]


def test_the_runbook_is_a_dashboard() -> None:
    """Every entry is a panel of its own number with the file's words, and no link in it leads beside Grafana."""
    runbook = json.loads((DASHBOARDS / f"{RUNBOOK_UID}.json").read_text(encoding="utf-8"))
    told = [(panel["id"], panel["title"], panel["options"]["content"]) for panel in runbook["panels"]]
    assert told == list(runbook_entries())
    assert not [content for _, _, content in told if re.search(r"\]\((?!https?:)", content)]


def test_five_rows_in_order() -> None:
    """The dashboard answers the five questions, in order, each with panels of its own."""
    kinds = [(panel["type"] == "row", panel["title"]) for panel in DASHBOARD["panels"]]
    assert [title for is_row, title in kinds if is_row] == ROWS
    assert not any(first[0] and second[0] for first, second in itertools.pairwise(kinds))


def test_every_metric_is_shown() -> None:
    """No metric of the contract is missing from the dashboard."""
    text = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    assert [name for name in METRICS if not re.search(rf"\b{PREFIX}{name}(_bucket|_sum|_count)?\b", text)] == []


def test_panels_are_whole() -> None:
    """Each panel has its own number, a title, a description, a unit, a query, and the provisioned source."""
    source = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text())
    (uid,) = [one["uid"] for one in source["datasources"]]
    identities = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(identities)) == len(identities)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]
        assert {one["datasource"]["uid"] for one in [panel, *panel["targets"]]} == {uid}, panel["title"]


def test_panels_do_not_overlap() -> None:
    """Panels lie inside the grid of 24 columns, and no two share a cell."""
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        own = set(
            itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert cells.isdisjoint(own), panel["title"]
        cells |= own
