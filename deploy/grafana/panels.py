"""What the dashboard shows: five questions, each with panels that answer it. `deploy/grafana/build.py` makes it so."""

from __future__ import annotations

from dataclasses import dataclass

_CHOSEN = 'instance=~"$instance"'
_RANGE = "[$__rate_interval]"


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: unique on the dashboard.
        about: one sentence or two, shown on hovering.
        unit: Grafana's name of it.
        queries: (PromQL, legend), in the order of the letters.
        kind: timeseries, stat, table, heatmap or bargauge.
        width, height: in cells of a grid of 24 columns.
        alerts: those of deploy/prometheus/alerts.yml that look at what is shown here; the panel links to their runbook.
        steps: (colour, from which value on) of a stat; the first has no bound.
        share: the axis goes from 0 to 1.
        stacked: the series add up to something.
        whole: shown without decimals.
        exemplars: single values with their trace are shown as well, where the workers tell any.
    """

    title: str
    about: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    alerts: tuple[str, ...] = ()
    steps: tuple[tuple[str, float | None], ...] = ()
    share: bool = False
    stacked: bool = False
    whole: bool = False
    exemplars: bool = False


def _of(name: str, where: str = "") -> str:
    return f"fusion_{name}{{{_CHOSEN}{',' if where else ''}{where}}}"


def _rate(name: str, by: str = "", where: str = "") -> str:
    return f"{f'sum by ({by}) ' if by else 'sum'}(rate({_of(name, where)}{_RANGE}))"


def _is(label: str, value: str) -> str:
    return f'{label}="{value}"'


def _shares(name: str, by: str, of: str) -> str:
    return f"{_rate(name, by)} / ignoring ({by}) group_left () {_rate(of)}"


def _quantile(share: float, name: str, by: str = "") -> str:
    return f"histogram_quantile({share}, {_rate(f'{name}_bucket', f'le, {by}' if by else 'le')})"


_GOOD_TO_BAD: tuple[tuple[str, float | None], ...] = (("green", None), ("red", 1))

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Is it healthy?",
        (
            Panel("Workers up", "Workers that answered the last scrape.", "short",
                  (('sum(up{job="fusion-worker"})', "up"),), "stat", 4, 5,
                  ("FusionWorkerDown", "FusionNoWorkers"), (("red", None), ("green", 1))),
            Panel("Unaccounted anchors", "Anchors that left without an outcome. Must be 0.", "short",
                  ((f"sum({_of('unaccounted_anchors')})", "unaccounted"),), "stat", 4, 5,
                  ("FusionUnaccountedAnchors",), _GOOD_TO_BAD),
            Panel("Imbalance of anchors",
                  "Read less done, given back and pending, the largest of the last hour. Must be 0.",
                  "short", ((f"max(max_over_time(abs({_of('imbalance_anchors')})[1h:]))", "imbalance"),), "stat", 4, 5,
                  ("FusionPossibleLoss",), _GOOD_TO_BAD),
            Panel("Oldest anchor held", "How long the oldest anchor without an outcome has been held.", "s",
                  ((f"max({_of('oldest_pending_seconds')})", "oldest"),), "stat", 4, 5, ("FusionOldestPending",),
                  (("green", None), ("orange", 10), ("red", 30))),
            Panel("Lag", "Records not yet read, over all partitions.", "short",
                  (("sum(max by (topic, partition) (fusion_consumer_lag_records))", "lag"),), "stat", 4, 5,
                  steps=(("green", None), ("orange", 1000), ("red", 100000))),
            Panel("Redis rebuilds, last hour", "Times Redis was found empty and read again from Kafka.", "short",
                  ((f"sum(increase({_of('redis_rebuilds_total')}[1h]))", "rebuilds"),), "stat", 4, 5,
                  ("FusionRedisRebuilds",), (("green", None), ("orange", 1)), whole=True),
            Panel("Anchors by state",
                  "Read, done (an outcome is committed) and given back (their lease ended before), a second.",
                  "ops", ((_rate("anchors_total", "state"), "{{state}}"),), height=7,
                  alerts=("FusionNoResults", "FusionStuck")),
            Panel("Anchors held", "Anchors read that have no outcome yet, by worker.", "short",
                  ((_of("pending_anchors"), "{{instance}}"),
                   (f"sum by (place) ({_of('budget_anchors')})", "{{place}}")),
                  height=7),
            Panel("Bytes held",
                  "From read to committed, by where they are: together at most max_pending_bytes and body_cache_bytes.",
                  "bytes", ((f"sum by (place) ({_of('budget_bytes')})", "{{place}}"),), height=7),
            Panel("Transactions", "Kafka transactions by outcome; aborted and uncertain ones are repeated.", "ops",
                  ((_rate("transactions_total", "outcome"), "{{outcome}}"),), height=6),
            Panel("Model", "The model that each worker runs.", "short",
                  ((f"max by (instance, name, version, device, precision) ({_of('model_info')})", ""),), "table",
                  height=6, alerts=("FusionModelSkew",)),
            Panel("Other models", "Asked for while running, by SIGHUP or a changed folder.",
                  "ops", ((_rate("model_reloads_total", "outcome"), "{{outcome}}"),), height=6),
            Panel("Shadow model", "Items offered to the shadow model, by what came of it; 1: it was given up.",
                  "ops", ((_rate("shadow_items_total", "outcome"), "{{outcome}}"),
                          (f"max({_of('shadow_off')})", "off")), height=6, alerts=("FusionShadowOff",)),
            Panel("Where the shadow differs", "Items since the workers began, by the label served and the shadow's.",
                  "short", ((f"topk(20, sum by (label, shadow) ({_of('shadow_disagreements_total')}))", ""),), "table",
                  height=6),
            Panel("Certificates",
                  "How long the certificates that are configured are still good; empty where none is.", "s",
                  ((f"min by (which) ({_of('certificate_expiry_timestamp_seconds')}) - time()", "{{which}}"),), "stat",
                  8, 6, ("FusionCertificateEnds",), (("red", None), ("orange", 2 * 86_400), ("green", 14 * 86_400))),
        ),
    ),
    (
        "What comes in?",
        (
            Panel("Events", "Events read, by stream and outcome.", "ops",
                  ((_rate("events_total", "stream, outcome"), "{{stream}} {{outcome}}"),)),
            Panel("Lag by partition", "Records behind the end of each partition.", "short",
                  (("max by (topic, partition) (fusion_consumer_lag_records)", "{{topic}}/{{partition}}"),),
                  alerts=("FusionLagGrows",)),
            Panel("Late events",
                  "Events later than their stream's lateness: kept, but they may miss their anchor.", "ops",
                  ((_rate("late_events_total", "stream"), "{{stream}}"),)),
            Panel("Live feeds",
                  "Events of `fusion-worker feed video` and its like: acknowledged by Kafka, and dropped, by reason.",
                  "ops", ((_rate("feed_sent_total", "stream"), "{{stream}} sent"),
                          (_rate("feed_dropped_total", "stream, reason"), "{{stream}} {{reason}}"))),
            Panel("Live feeds: wait for Kafka",
                  "How long the oldest event of a live feed has waited for Kafka.", "s",
                  ((f"max({_of('feed_behind_seconds')})", "behind"),)),
            Panel("Live feeds: other clocks",
                  "How often a source's frames began to go by another clock, in an hour.", "short",
                  ((f"sum by (key, clock) (increase({_of('feed_clock_changes_total')}[1h]))", "{{key}} {{clock}}"),),
                  whole=True),
            Panel("Live feeds: held back", "Bodies of live feeds that Kafka has not acknowledged.", "bytes",
                  ((f"sum({_of('feed_buffered_bytes')})", "bytes"),)),
            Panel("Streams",
                  "What is configured: each stream's topic and role, and how long an anchor waits for it.", "s",
                  ((f"max by (stream) ({_of('max_wait_seconds')}) * on (stream) group_right () "
                    f"max by (stream, topic, role) ({_of('stream_info')})", ""),), "table", 24, 5),
        ),
    ),
    (
        "How well does it match?",
        (
            Panel("Streams present in results", "Share of results by the streams that are in them.", "percentunit",
                  ((_shares("inputs_present_total", "pattern", "inputs_present_total"), "{{pattern}}"),), share=True,
                  stacked=True),
            Panel("Distance in event time", "A matched event's time minus the anchor's; negative: it came first.", "s",
                  tuple((_quantile(q / 100, "alignment_delta_seconds", "stream"), f"{{{{stream}}}} p{q}")
                        for q in (5, 50, 95))),
            Panel("Distances", "How the distances are spread.", "s",
                  ((f"sum by (le) (increase({_of('alignment_delta_seconds_bucket')}{_RANGE}))", "{{le}}"),), "heatmap"),
            Panel("Wait for the other stream", "Wall time from an anchor's reading until its match was decided.", "s",
                  tuple((_quantile(q / 100, "alignment_wait_seconds", "stream"), f"{{{{stream}}}} p{q}")
                        for q in (50, 99))),
            Panel("Ended by max_wait", "Share of results whose wait was ended by the clock.", "percentunit",
                  ((f"{_rate('results_total', where=_is('complete', 'false'))} / {_rate('results_total')}",
                    "incomplete"),),
                  share=True),
            Panel("Bounds that cost a match", "Times a declared bound cost a match, by bound.", "ops",
                  ((_rate("bound_hits_total", "bound"), "{{bound}}"),), alerts=("FusionBoundHits",)),
            Panel("Clocks of the sources",
                  "Median of a source's matched event times minus their anchors'; steadily off zero: its clock is off.",
                  "s", ((f"max by (stream, source) ({_of('source_offset_seconds')})", "{{stream}} {{source}}"),),
                  height=6),
            Panel("Large bodies",
                  "Large bodies that anchors wanted, a second, by where they came from: the worker's own "
                  "ring, Kafka again, or expired there.", "ops", ((_rate("bodies_total", "from"), "{{from}}"),),
                  height=6, alerts=("FusionBodiesExpired",)),
            Panel("Silent partitions",
                  "Partitions from which large bodies are awaited and do not come, by worker.", "short",
                  ((_of("silent_partitions"), "{{instance}}"),), height=6, alerts=("FusionBodiesSilent",)),
        ),
    ),
    (
        "Where does the time go?",
        (
            Panel("End to end", "From an anchor's record time to its commit.", "s",
                  tuple((_quantile(q / 100, "end_to_end_seconds"), f"p{q}") for q in (50, 95, 99)),
                  alerts=("FusionSlow",), exemplars=True),
            Panel("Seconds of work a second",
                  "Wall time spent in each stage, per second and worker; the tallest is the bottleneck.", "s",
                  ((f"{_rate('stage_seconds_sum', 'stage')} / ignoring (stage) group_left () "
                    f"count({_of('pending_anchors')})", "{{stage}}"),), stacked=True),
            Panel("Stage, p99", "The slowest one in a hundred passes of each stage; commit is the transaction.", "s",
                  ((_quantile(0.99, "stage_seconds", "stage"), "{{stage}}"),), alerts=("FusionTransactionsSlow",)),
            Panel("Batch size", "Items in one call of the model.", "short",
                  ((f"{_rate('batch_size_sum')} / {_rate('batch_size_count')}", "mean"),
                   (_quantile(0.95, "batch_size"), "p95")), width=12),
            Panel("Spans", "Spans of traces: exported, refused by the collector, dropped for want of room.", "ops",
                  ((_rate("spans_total", "outcome"), "{{outcome}}"),), width=12),
            Panel("Anchors a transaction",
                  "Outcomes in one transaction on average: the price of a commit is shared by so many.", "short",
                  ((f"{_rate('anchors_total', where=_is('state', 'done'))} / "
                    f"{_rate('transactions_total', where=_is('outcome', 'committed'))}", "outcomes"),), width=12),
            Panel("Work left",
                  "Seconds that each worker needs for anchors that wait for nothing else; 0 until it was measured.",
                  "s", ((_of("work_left_seconds"), "{{instance}}"),), width=12),
            Panel("Load", "Of its time what each worker needs for what comes: at 1 it falls behind.", "percentunit",
                  ((f"rate({_of('work_done_seconds_total')}{_RANGE})", "{{instance}}"),), width=12),
        ),
    ),
    (
        "What comes out?",
        (
            Panel("Results", "Results committed, by label.", "ops", ((_rate("results_total", "label"), "{{label}}"),),
                  stacked=True),
            Panel("Dead letters", "Dead letters committed, by stage and reason.", "ops",
                  ((_rate("dead_letters_total", "stage, reason"), "{{stage}} {{reason}}"),),
                  alerts=("FusionDeadLetters",)),
            Panel("Labels, last hour", "Results of the last hour by label.", "short",
                  ((f"sum by (label) (increase({_of('results_total')}[1h]))", "{{label}}"),), "bargauge", whole=True),
            Panel("Sent to a person",
                  "Share of results that went to the review topic, by the weightiest reason; too_large: these did not "
                  "fit.", "percentunit", ((_shares("review_total", "reason", "results_total"), "{{reason}}"),),
                  share=True, alerts=("FusionReviewShare",)),
            Panel("Rules",
                  "Results that a rule of [[rules]] decided, and items that it could not be held against (failed).",
                  "ops",
                  ((_rate("rules_total", "rule, outcome"), "{{rule}} {{outcome}}"),)),
            Panel("Top scores",
                  "The score of each verdict's label: a tenth of them, and half, lie below.", "percentunit",
                  tuple((_quantile(q / 100, "verdict_score"), f"p{q}") for q in (10, 50)), share=True),
            Panel("Not familiar",
                  "Verdicts on inputs that are stranger than 95 in 100 of the known data, as a share; 0.05 "
                  "when nothing has changed.", "percentunit",
                  ((f"{_rate('verdict_familiar_bucket', where=_is('le', '0.05'))} / {_rate('verdict_familiar_count')}",
                    "not familiar"),), share=True),
            Panel("Further heads", "Labels that the model tells beside the result's own, by head.", "ops",
                  ((_rate("head_labels_total", "head, label"), "{{head}}: {{label}}"),)),
            Panel("Numbers", "What heads of numbers told last, in their units, mean of the workers; and their bands' "
                  "width.", "none",
                  ((f"avg by (head) ({_of('head_number')})", "{{head}}"),
                   (f"avg by (head) ({_of('head_band_width')})", "{{head}}, band"))),
            Panel("Drift",
                  "Population stability index of the last 2,000 verdicts against training, by quantity, mean and "
                  "highest of the workers; from 0.25 on look at it.", "none",
                  ((f"avg by (quantity) ({_of('drift_psi')})", "{{quantity}}"),
                   (f"max by (quantity) ({_of('drift_psi')})", "{{quantity}}, highest")), width=24,
                  alerts=("FusionDrift",)),
            Panel("Sinks", "Results that sinks delivered, a second; tries that failed, and what was refused for good.",
                  "ops", ((_rate("sink_delivered_total", "sink"), "{{sink}} delivered"),
                          (_rate("sink_retries_total", "sink"), "{{sink}} tried again"),
                          (_rate("sink_refused_total", "sink, reason"), "{{sink}} {{reason}}")), width=12,
                  alerts=("FusionSinkDown",)),
            Panel("Sinks, seconds", "From a result's record time to the destination's acknowledgement, p95.", "s",
                  ((_quantile(0.95, "sink_delivery_seconds", "sink"), "{{sink}}"),), width=12),
            Panel("Sinks behind", "Results on the topic that a sink has not delivered yet.", "short",
                  ((f"sum by (sink) ({_of('sink_lag_records')})", "{{sink}}"),), width=12),
            Panel("Sinks late",
                  "Age of the oldest result that a sink has read and not delivered, less what it waits for a fuller "
                  "batch; no line: no sink answers.", "s",
                  ((f"max by (sink) ({_of('sink_behind_seconds')})", "{{sink}}"),), width=12,
                  alerts=("FusionSinkBehind",)),
        ),
    ),
)  # fmt: skip
