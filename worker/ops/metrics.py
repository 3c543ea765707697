"""What the Observer hears becomes Prometheus series."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from worker.ops.catalogue import (
    METRICS,
    PREFIX,
    AnchorState,
    BodyFrom,
    EventOutcome,
    Kind,
    Metric,
    Name,
    ReloadOutcome,
    RuleOutcome,
    ShadowOutcome,
    SpanOutcome,
    TimedStage,
    TransactionOutcome,
)


class PrometheusObserver:
    """Turns what the worker tells into Prometheus series of its own registry; safe to call from any thread.

    Names and labels are those of CONTRACT section 9, without the prefix. A name or label that is not declared, or a
    name told by another kind's method, is a KeyError that names it. Several observers can live in one process.
    """

    def __init__(self) -> None:
        """Registers every metric, beside the client's own on process, platform and garbage collection."""
        # Each `_created` series would double the number of counters and answers no question of the dashboard.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._metrics = {name: _register(metric, self.registry) for name, metric in METRICS.items()}
        # Saves 1.2 of the 2.8 us that `labels()` and `inc()` take; the bounded label values bound its size.
        self._series: dict[tuple[Any, ...], Any] = {}

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Adds `amount` (not negative) to a counter."""
        self._find(Kind.COUNTER, name, labels).inc(amount)

    def observe(self, name: str, value: float, /, *, trace: str | None = None, **labels: str) -> None:
        """Adds one value to a histogram; `trace` becomes its bucket's exemplar, which OpenMetrics alone shows."""
        self._find(Kind.HISTOGRAM, name, labels).observe(value, None if trace is None else {"trace_id": trace})

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Sets a gauge. NaN takes a labelled series away, such as the lag of a partition that was lost."""
        series = self._find(Kind.GAUGE, name, labels)
        if labels and math.isnan(value):
            for key in [key for key in list(self._series) if key[1] == name and dict(key[2:]) == labels]:
                del self._series[key]
            self._metrics[name].remove(*(labels[label] for label in METRICS[name].labels))
            return
        series.set(value)

    def ask(self, name: str, value: Callable[[], float], /, **labels: str) -> None:
        """From now on a gauge's value is asked for at each scrape, from the thread that answers it."""
        self._find(Kind.GAUGE, name, labels).set_function(value)

    def initialise(
        self, streams: Iterable[str], labels: Iterable[str] = (), reviews: Iterable[str] = (), rules: Iterable[str] = ()
    ) -> None:
        """Creates the series whose labels are known, at 0, so that `rate()` sees the first increment.

        Args:
            streams: names of the configured streams.
            labels: labels of the model's results.
            reviews: reasons for which a person may be asked.
            rules: names of the rules.
        """
        for stream in streams:
            for outcome in EventOutcome:
                self.count(Name.EVENTS, 0, stream=stream, outcome=outcome)
            self.count(Name.LATE_EVENTS, 0, stream=stream)
        for label in labels:
            for complete in ("true", "false"):
                self.count(Name.RESULTS, 0, label=label, complete=complete)
        for reason in reviews:
            self.count(Name.REVIEW, 0, reason=reason)
        for rule in rules:
            for one in RuleOutcome:
                self.count(Name.RULES, 0, rule=rule, outcome=one)
        for stage in TimedStage:
            self._find(Kind.HISTOGRAM, Name.STAGE_SECONDS, {"stage": stage})
        for end in TransactionOutcome:
            self.count(Name.TRANSACTIONS, 0, outcome=end)
        for where in BodyFrom:
            self.count(Name.BODIES, 0, **{"from": where})
        for reload in ReloadOutcome:
            self.count(Name.MODEL_RELOADS, 0, outcome=reload)
        for answer in ShadowOutcome:
            self.count(Name.SHADOW_ITEMS, 0, outcome=answer)
        for span in SpanOutcome:
            self.count(Name.SPANS, 0, outcome=span)
        for state in AnchorState:
            self.count(Name.ANCHORS, 0, state=state)

    def _find(self, kind: Kind, name: str, labels: Mapping[str, str]) -> Any:
        key = (kind, name, *labels.items())
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = self._open(kind, name, labels)
        return series

    def _open(self, kind: Kind, name: str, labels: Mapping[str, str]) -> Any:
        metric = METRICS.get(name)
        if metric is None:
            raise KeyError(f"metric {name!r} is not declared in worker/ops/metrics.py")
        if metric.kind is not kind:
            raise KeyError(f"metric {name!r} is a {metric.kind}, told as a {kind}")
        if set(labels) != set(metric.labels):
            raise KeyError(f"metric {name!r} has the labels {sorted(metric.labels)}, given {sorted(labels)}")
        return self._metrics[name].labels(**labels) if labels else self._metrics[name]


def _register(metric: Metric, registry: CollectorRegistry) -> Any:
    name = PREFIX + metric.name
    if metric.kind is Kind.HISTOGRAM:
        return Histogram(name, metric.help, metric.labels, buckets=metric.buckets, registry=registry)
    make: Callable[..., Any] = Counter if metric.kind is Kind.COUNTER else Gauge
    return make(name, metric.help, metric.labels, registry=registry)
