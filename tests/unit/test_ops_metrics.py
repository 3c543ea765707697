"""worker/ops/metrics.py: what is told becomes series, and what is not declared is refused."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from worker.ops.catalogue import METRICS, PREFIX, Kind
from worker.ops.metrics import PrometheusObserver
from worker.ports import Observer

WORKER = Path(__file__).resolve().parents[2] / "worker"

# CONTRACT section 9, written out once more: a change of the outside must be made in two places on purpose.
CONTRACT = {
    "events_total": {"stream", "outcome"},
    "results_total": {"label", "complete"},
    "dead_letters_total": {"stage", "reason"},
    "alignment_delta_seconds": {"stream"},
    "alignment_wait_seconds": {"stream"},
    "pending_anchors": set(),
    "batch_size": set(),
    "stage_seconds": {"stage"},
    "end_to_end_seconds": set(),
    "consumer_lag_records": {"topic", "partition"},
    "oldest_pending_seconds": set(),
    "inputs_present_total": {"pattern"},
    "unaccounted_anchors": set(),
    "late_events_total": {"stream"},
    "bound_hits_total": {"bound"},
    "bodies_total": {"from"},
    "transactions_total": {"outcome"},
    "redis_rebuilds_total": set(),
    "model_info": {"name", "version", "device", "precision"},
}
# What the issues asked for beyond the contract.
ADDED = {
    "source_offset_seconds": {"stream", "source"},
    "budget_bytes": {"place"},
    "budget_anchors": {"place"},
    "review_total": {"reason"},
    "rules_total": {"rule", "outcome"},
    "verdict_score": set(),
    "verdict_familiar": set(),
    "head_labels_total": {"head", "label"},
    "head_number": {"head"},
    "head_band_width": {"head"},
    "drift_psi": {"quantity"},
    "model_reloads_total": {"outcome"},
    "shadow_items_total": {"outcome"},
    "shadow_disagreements_total": {"label", "shadow"},
    "shadow_off": set(),
    "anchors_total": {"state"},
    "work_left_seconds": set(),
    "work_done_seconds_total": set(),
    "imbalance_anchors": set(),
    "feed_sent_total": {"stream"},
    "feed_dropped_total": {"stream", "reason"},
    "feed_buffered_bytes": {"place"},
    "feed_behind_seconds": {"place"},
    "feed_clock_changes_total": {"key", "clock"},
    "silent_partitions": set(),
    "stream_info": {"stream", "topic", "role"},
    "max_wait_seconds": {"stream"},
    "certificate_expiry_timestamp_seconds": {"which"},
    "sink_delivered_total": {"sink"},
    "sink_refused_total": {"sink", "reason"},
    "sink_retries_total": {"sink"},
    "sink_lag_records": {"sink", "partition"},
    "sink_behind_seconds": {"sink"},
    "sink_delivery_seconds": {"sink"},
    "spans_total": {"outcome"},
}


def value(observer: PrometheusObserver, sample: str, **labels: str) -> float | None:
    """The value of one series, by its full name."""
    return observer.registry.get_sample_value(PREFIX + sample, labels)


def test_the_table_is_the_contract() -> None:
    """The declared names and labels are exactly those of the contract."""
    assert {name: set(metric.labels) for name, metric in METRICS.items()} == CONTRACT | ADDED


def test_each_kind_becomes_its_series() -> None:
    """Counts add up, observations fall into buckets, gauges hold the last value."""
    observer: Observer = PrometheusObserver()
    assert isinstance(observer, PrometheusObserver)
    observer.count("events_total", stream="frames", outcome="accepted")
    observer.count("events_total", 4, outcome="accepted", stream="frames")
    observer.observe("batch_size", 3)
    observer.gauge("pending_anchors", 7)
    observer.gauge("pending_anchors", 5)
    assert value(observer, "events_total", stream="frames", outcome="accepted") == 5
    assert value(observer, "batch_size_bucket", le="2.0") == 0
    assert value(observer, "batch_size_bucket", le="4.0") == 1
    assert value(observer, "pending_anchors") == 5


def test_the_models_labels_may_be_called_name() -> None:
    """`model_info` has a label `name`, which is not taken for the metric's name."""
    observer = PrometheusObserver()
    info = {"name": "junction", "version": "1", "device": "cpu", "precision": "fp32"}
    observer.gauge("model_info", 1, **info)
    assert value(observer, "model_info", **info) == 1


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda o: o.count("event_total"), "event_total"),
        (lambda o: o.count("events_total", stream="frames"), "events_total"),
        (lambda o: o.count("events_total", stream="f", outcome="accepted", key="k"), "key"),
        (lambda o: o.count("pending_anchors"), "gauge"),
        (lambda o: o.gauge("batch_size", 3), "histogram"),
        (lambda o: o.observe("events_total", 1, stream="f", outcome="accepted"), "counter"),
    ],
)
def test_what_is_not_declared_is_refused(act: object, said: str) -> None:
    """An unknown name, a wrong label and a wrong kind are KeyErrors that name what was given."""
    assert callable(act)
    with pytest.raises(KeyError, match=said):
        act(PrometheusObserver())


def test_observers_live_side_by_side() -> None:
    """Two observers of one process do not share a series."""
    one, other = PrometheusObserver(), PrometheusObserver()
    one.count("redis_rebuilds_total")
    assert value(one, "redis_rebuilds_total") == 1
    assert value(other, "redis_rebuilds_total") == 0


def test_known_series_begin_at_zero() -> None:
    """After initialise, rate() sees the first event, result, transaction and stage."""
    observer = PrometheusObserver()
    observer.initialise(["texts", "frames"], ["free_flow"])
    assert value(observer, "events_total", stream="texts", outcome="accepted") == 0
    assert value(observer, "events_total", stream="frames", outcome="rejected") == 0
    assert value(observer, "late_events_total", stream="frames") == 0
    assert value(observer, "results_total", label="free_flow", complete="false") == 0
    assert value(observer, "transactions_total", outcome="aborted") == 0
    assert value(observer, "stage_seconds_count", stage="commit") == 0
    assert value(observer, "unaccounted_anchors") == 0


def test_a_lost_partition_leaves_the_page() -> None:
    """A labelled gauge set to NaN is gone, and comes back with its next value."""
    observer = PrometheusObserver()
    observer.gauge("consumer_lag_records", 9, topic="texts", partition="0")
    observer.gauge("consumer_lag_records", 9, partition="1", topic="texts")
    observer.gauge("consumer_lag_records", math.nan, topic="texts", partition="1")
    assert value(observer, "consumer_lag_records", topic="texts", partition="0") == 9
    assert value(observer, "consumer_lag_records", topic="texts", partition="1") is None
    observer.gauge("consumer_lag_records", 2, partition="1", topic="texts")
    assert value(observer, "consumer_lag_records", topic="texts", partition="1") == 2


def test_distances_before_the_anchor_are_told_apart() -> None:
    """The alignment buckets cross zero: 120 ms before and 120 ms after the anchor fall into different buckets."""
    observer = PrometheusObserver()
    observer.observe("alignment_delta_seconds", -0.12, stream="frames")
    observer.observe("alignment_delta_seconds", 0.12, stream="frames")
    assert value(observer, "alignment_delta_seconds_bucket", stream="frames", le="-0.2") == 0
    assert value(observer, "alignment_delta_seconds_bucket", stream="frames", le="-0.1") == 1
    assert value(observer, "alignment_delta_seconds_bucket", stream="frames", le="0.1") == 1
    assert value(observer, "alignment_delta_seconds_bucket", stream="frames", le="0.2") == 2


def test_buckets_rise() -> None:
    """Every histogram has rising bounds, and nothing else has bounds."""
    for metric in METRICS.values():
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)


def test_the_page_can_be_read_back() -> None:
    """The exposition parses, carries the process's metrics, and no `_created` series."""
    observer = PrometheusObserver()
    observer.initialise(["texts"], ["free_flow"])
    page = generate_latest(observer.registry).decode()
    families = {family.name for family in text_string_to_metric_families(page)}
    assert {"fusion_events", "fusion_stage_seconds", "process_resident_memory_bytes", "python_info"} <= families
    assert "_created" not in page


def test_the_worker_tells_only_what_is_declared() -> None:
    """Each name spelled out in a call of count, observe or gauge in worker/ is declared with that kind."""
    told = re.compile(r"\.(count|observe|gauge)\(\s*\"([a-z_]+)\"")
    kinds = {"count": Kind.COUNTER, "observe": Kind.HISTOGRAM, "gauge": Kind.GAUGE}
    calls = [call for path in WORKER.rglob("*.py") for call in told.findall(path.read_text(encoding="utf-8"))]
    assert len(calls) > 10
    assert [(how, name) for how, name in calls if name not in METRICS or METRICS[name].kind is not kinds[how]] == []
