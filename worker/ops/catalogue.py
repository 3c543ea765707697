"""Every metric of CONTRACT section 9 and those beside it, declared once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

PREFIX = "fusion_"


class Name(StrEnum):
    """Names of the metrics, without the prefix."""

    EVENTS = "events_total"
    RESULTS = "results_total"
    DEAD_LETTERS = "dead_letters_total"
    ALIGNMENT_DELTA = "alignment_delta_seconds"
    ALIGNMENT_WAIT = "alignment_wait_seconds"
    PENDING_ANCHORS = "pending_anchors"
    BATCH_SIZE = "batch_size"
    STAGE_SECONDS = "stage_seconds"
    END_TO_END = "end_to_end_seconds"
    CONSUMER_LAG = "consumer_lag_records"
    OLDEST_PENDING = "oldest_pending_seconds"
    INPUTS_PRESENT = "inputs_present_total"
    REVIEW = "review_total"
    RULES = "rules_total"
    UNACCOUNTED_ANCHORS = "unaccounted_anchors"
    LATE_EVENTS = "late_events_total"
    BOUND_HITS = "bound_hits_total"
    TRANSACTIONS = "transactions_total"
    REDIS_REBUILDS = "redis_rebuilds_total"
    MODEL_INFO = "model_info"
    SOURCE_OFFSET = "source_offset_seconds"
    BODIES = "bodies_total"
    BUDGET_BYTES = "budget_bytes"
    BUDGET_ANCHORS = "budget_anchors"
    VERDICT_SCORE = "verdict_score"
    VERDICT_FAMILIAR = "verdict_familiar"
    HEAD_LABELS = "head_labels_total"
    HEAD_NUMBER = "head_number"
    HEAD_BAND = "head_band_width"
    DRIFT_PSI = "drift_psi"
    MODEL_RELOADS = "model_reloads_total"
    SHADOW_ITEMS = "shadow_items_total"
    SHADOW_DISAGREEMENTS = "shadow_disagreements_total"
    SHADOW_OFF = "shadow_off"
    ANCHORS = "anchors_total"
    WORK_LEFT = "work_left_seconds"
    WORK_DONE = "work_done_seconds_total"
    IMBALANCE = "imbalance_anchors"
    SILENT_PARTITIONS = "silent_partitions"
    STREAM_INFO = "stream_info"
    MAX_WAIT = "max_wait_seconds"
    SINK_DELIVERED = "sink_delivered_total"
    SINK_REFUSED = "sink_refused_total"
    SINK_RETRIES = "sink_retries_total"
    SINK_LAG = "sink_lag_records"
    SINK_BEHIND = "sink_behind_seconds"
    SINK_DELIVERY = "sink_delivery_seconds"
    CERTIFICATE_EXPIRY = "certificate_expiry_timestamp_seconds"
    SPANS = "spans_total"
    FEED_SENT = "feed_sent_total"
    FEED_DROPPED = "feed_dropped_total"
    FEED_BUFFERED = "feed_buffered_bytes"
    FEED_BEHIND = "feed_behind_seconds"
    FEED_CLOCK = "feed_clock_changes_total"


class Kind(StrEnum):
    """How a metric is told to the Observer: `count`, `observe` or `gauge`."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


class TimedStage(StrEnum):
    """Values of the `stage` label of `stage_seconds`, in the order of the trip."""

    POLL = "poll"
    ALIGN = "align"
    DECODE = "decode"
    MODEL = "model"
    PUBLISH = "publish"
    COMMIT = "commit"


class EventOutcome(StrEnum):
    """Values of the `outcome` label of `events_total`."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


class TransactionOutcome(StrEnum):
    """Values of the `outcome` label of `transactions_total`."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    UNCERTAIN = "uncertain"


class BodyFrom(StrEnum):
    """Values of the `from` label of `bodies_total`."""

    RING = "ring"
    KAFKA = "kafka"
    EXPIRED = "expired"


class ReloadOutcome(StrEnum):
    """Values of the `outcome` label of `model_reloads_total`."""

    TAKEN_OVER = "taken_over"
    SAME = "same"
    REFUSED = "refused"


class RuleOutcome(StrEnum):
    """Values of the `outcome` label of `rules_total`."""

    APPLIED = "applied"
    FAILED = "failed"


class ShadowOutcome(StrEnum):
    """Values of the `outcome` label of `shadow_items_total`."""

    AGREED = "agreed"
    DISAGREED = "disagreed"
    FAILED = "failed"
    DROPPED = "dropped"


class SpanOutcome(StrEnum):
    """Values of the `outcome` label of `spans_total`."""

    EXPORTED = "exported"
    REFUSED = "refused"
    DROPPED = "dropped"


class AnchorState(StrEnum):
    """Values of the `state` label of `anchors_total`."""

    READ = "read"
    DONE = "done"
    GIVEN_BACK = "given_back"


@dataclass(frozen=True, slots=True)
class Metric:
    """One declared metric.

    Attributes:
        labels: the label names; a series gives each of them, and no other.
        buckets: upper bounds of a histogram in the metric's unit; empty for the other kinds.
    """

    name: Name
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


# Seconds. A frame may lie before its anchor, so the bounds cross zero; 5 ms tells frames of a 60 Hz camera apart, and
# past 30 s (the default horizon) nothing is kept that could be matched.
_DISTANCES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_DELTA_BUCKETS = (*(-distance for distance in reversed(_DISTANCES)), 0.0, *_DISTANCES)

# Seconds. From an anchor whose context was already there (under 1 ms) to a `max_wait` of a minute.
_WAIT_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)

# Seconds. An empty poll takes about 100 us; a stage that takes more than 10 s is stuck rather than slow.
_STAGE_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# Seconds. The commit alone takes about 10 ms; the upper bounds tell a short backlog from a replayed hour.
_END_TO_END_BUCKETS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0,
)  # fmt: skip

# Items. Powers of two, as batches are sized; a `max_batch` above 256 shows in +Inf.
_BATCH_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)

# A top score is at least 1 / labels. Of a calibrated model most lie near 1, where reviewers draw their line.
_SCORE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)

# Of known data as many fall below each bound as it says; what is strange lies at the lower end.
_FAMILIAR_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)

_TABLE = (
    Metric(Name.EVENTS, Kind.COUNTER, "Events read, by stream and outcome.", ("stream", "outcome")),
    Metric(Name.RESULTS, Kind.COUNTER, "Results committed, by the model's label.", ("label", "complete")),
    Metric(Name.DEAD_LETTERS, Kind.COUNTER, "Dead letters committed, by stage and reason.", ("stage", "reason")),
    Metric(
        Name.ALIGNMENT_DELTA, Kind.HISTOGRAM, "A matched event's time minus the anchor's; negative: it came first.",
        ("stream",), _DELTA_BUCKETS,
    ),
    Metric(Name.ALIGNMENT_WAIT, Kind.HISTOGRAM, "Wall time an anchor waited for a stream.", ("stream",), _WAIT_BUCKETS),
    Metric(Name.PENDING_ANCHORS, Kind.GAUGE, "Anchors read that have no outcome yet."),
    Metric(Name.BATCH_SIZE, Kind.HISTOGRAM, "Items in one call of the model.", (), _BATCH_BUCKETS),
    Metric(Name.STAGE_SECONDS, Kind.HISTOGRAM, "Wall time of one pass of a stage.", ("stage",), _STAGE_BUCKETS),
    Metric(
        Name.END_TO_END, Kind.HISTOGRAM, "From an anchor's record time to its commit.", (), _END_TO_END_BUCKETS
    ),
    Metric(Name.CONSUMER_LAG, Kind.GAUGE, "Records behind the end of a held partition.", ("topic", "partition")),
    Metric(Name.OLDEST_PENDING, Kind.GAUGE, "Wall time the oldest anchor without an outcome has been held."),
    Metric(Name.INPUTS_PRESENT, Kind.COUNTER, "Results by the streams present in them.", ("pattern",)),
    Metric(Name.REVIEW, Kind.COUNTER, "Results that a person is asked about, by the weightiest reason.", ("reason",)),
    Metric(Name.RULES, Kind.COUNTER, "Items that a rule decided, or could not be held against.", ("rule", "outcome")),
    Metric(Name.UNACCOUNTED_ANCHORS, Kind.GAUGE, "Anchors that left without an outcome; must stay 0."),
    Metric(Name.LATE_EVENTS, Kind.COUNTER, "Events later than the stream's lateness allows.", ("stream",)),
    Metric(Name.BOUND_HITS, Kind.COUNTER, "Times a declared bound cost a match.", ("bound",)),
    Metric(Name.BODIES, Kind.COUNTER, "Large bodies that anchors wanted, by where they came from.", ("from",)),
    Metric(Name.BUDGET_BYTES, Kind.GAUGE, "Bytes from read to committed, by where they are.", ("place",)),
    Metric(Name.BUDGET_ANCHORS, Kind.GAUGE, "Anchors from read to committed, by where they are.", ("place",)),
    Metric(Name.TRANSACTIONS, Kind.COUNTER, "Kafka transactions by outcome.", ("outcome",)),
    Metric(Name.REDIS_REBUILDS, Kind.COUNTER, "Times Redis had lost context, which was read again from Kafka."),
    Metric(
        Name.SOURCE_OFFSET, Kind.GAUGE, "Median of a source's matched event times minus their anchors'.",
        ("stream", "source"),
    ),
    Metric(Name.VERDICT_SCORE, Kind.HISTOGRAM, "The score of each verdict's label.", (), _SCORE_BUCKETS),
    Metric(
        Name.VERDICT_FAMILIAR, Kind.HISTOGRAM, "Share of known data as strange as each item or stranger.", (),
        _FAMILIAR_BUCKETS,
    ),
    Metric(Name.HEAD_LABELS, Kind.COUNTER, "Labels that further heads of the model have told.", ("head", "label")),
    Metric(Name.HEAD_NUMBER, Kind.GAUGE, "The number that a further head told last, in its unit.", ("head",)),
    Metric(Name.HEAD_BAND, Kind.GAUGE, "How wide the band of that number is, in its unit.", ("head",)),
    Metric(
        Name.DRIFT_PSI, Kind.GAUGE, "Population stability index of the last verdicts against the training reference.",
        ("quantity",),
    ),
    Metric(Name.WORK_LEFT, Kind.GAUGE, "Seconds that this worker needs for anchors that wait for nothing else."),
    Metric(Name.WORK_DONE, Kind.COUNTER, "Seconds that what was committed took, had this worker had no rest."),
    Metric(Name.ANCHORS, Kind.COUNTER, "Anchors read, done (an outcome is committed) and given back.", ("state",)),
    Metric(Name.IMBALANCE, Kind.GAUGE, "Anchors read less those done, given back and pending; must stay 0."),
    Metric(Name.SILENT_PARTITIONS, Kind.GAUGE, "Partitions from which large bodies are awaited and do not come."),
    Metric(Name.STREAM_INFO, Kind.GAUGE, "A configured stream; always 1.", ("stream", "topic", "role")),
    Metric(Name.MAX_WAIT, Kind.GAUGE, "Longest wait for a stream, as configured; 0: the anchor's.", ("stream",)),
    Metric(Name.SINK_DELIVERED, Kind.COUNTER, "Results that a sink's destination has acknowledged.", ("sink",)),
    Metric(Name.SINK_REFUSED, Kind.COUNTER, "Results refused for good, now dead letters.", ("sink", "reason")),
    Metric(Name.SINK_RETRIES, Kind.COUNTER, "Deliveries that failed and are tried again.", ("sink",)),
    Metric(Name.SINK_LAG, Kind.GAUGE, "Results behind the end of a held partition.", ("sink", "partition")),
    Metric(Name.SINK_BEHIND, Kind.GAUGE, "Age of the oldest result read and not delivered, past max_delay.", ("sink",)),
    Metric(
        Name.SINK_DELIVERY, Kind.HISTOGRAM, "From a result's record time to its acknowledgement.", ("sink",),
        _END_TO_END_BUCKETS,
    ),
    Metric(
        Name.CERTIFICATE_EXPIRY, Kind.GAUGE, "When a configured certificate ends; 0: its file cannot be read.",
        ("which",),
    ),
    Metric(
        Name.MODEL_RELOADS, Kind.COUNTER, "Other models asked for while running: taken over, the same, refused.",
        ("outcome",),
    ),
    Metric(Name.SHADOW_ITEMS, Kind.COUNTER, "Items offered to the shadow model, by what came of it.", ("outcome",)),
    Metric(
        Name.SHADOW_DISAGREEMENTS, Kind.COUNTER, "Items on which the shadow model says another label.",
        ("label", "shadow"),
    ),
    Metric(Name.SHADOW_OFF, Kind.GAUGE, "1 once the shadow model was given up; it is asked again after a restart."),
    Metric(
        Name.SPANS, Kind.COUNTER, "Recorded spans: exported, refused by the collector, dropped for want of room.",
        ("outcome",),
    ),
    Metric(Name.FEED_SENT, Kind.COUNTER, "Events of a live feed that Kafka has acknowledged.", ("stream",)),
    Metric(Name.FEED_DROPPED, Kind.COUNTER, "Events that a live feed did not send, by reason.", ("stream", "reason")),
    Metric(Name.FEED_BUFFERED, Kind.GAUGE, "Bodies of a live feed that Kafka has not acknowledged.", ("place",)),
    Metric(Name.FEED_BEHIND, Kind.GAUGE, "How long the oldest event of a live feed waits for Kafka.", ("place",)),
    Metric(Name.FEED_CLOCK, Kind.COUNTER, "Times a feed's source changed its clock, by the new one.", ("key", "clock")),
    Metric(Name.MODEL_INFO, Kind.GAUGE, "The model in use; always 1.", ("name", "version", "device", "precision")),
)  # fmt: skip

METRICS: Mapping[str, Metric] = MappingProxyType({str(metric.name): metric for metric in _TABLE})
