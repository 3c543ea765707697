"""Settings of the worker (CONTRACT section 7): one class a section, unknown keys are errors."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Literal

from pydantic import ByteSize, Field, model_validator

from schemas.names import ASKS
from worker.destinations import Sinks
from worker.durations import Duration, Timeout, format_duration
from worker.masking import Privacy
from worker.sections import TOPIC_FORM, Section, Topic
from worker.servers import Feeds, Http, Kafka, Redis, Traces
from worker.serving import Model, Rule


class Stream(Section):
    """One input stream."""

    topic: Topic = Field(description="Kafka topic.")
    modality: Literal["image", "text", "sensor", "audio"] = Field(description="What the events carry.")
    role: Literal["anchor", "context"] = Field(
        description="anchor: each event gets one outcome; context: is matched to it."
    )
    match: Literal["nearest", "latest", "window"] = Field(
        "nearest", description="Which events are matched (contract 5)."
    )
    before: Duration = Field(timedelta(milliseconds=500), description="How far before the anchor a match may lie.")
    after: Duration = Field(timedelta(milliseconds=500), description="How far after the anchor a match may lie.")
    lateness: Duration = Field(timedelta(0), description="How far out of order events of one key may come.")
    max_wait: Duration = Field(
        timedelta(seconds=2), description="Longest wait of an anchor for this stream, wall clock."
    )
    horizon: Duration = Field(
        timedelta(seconds=30), description="Event time kept, and how far context may be read ahead of lagging anchors."
    )
    required: bool = Field(False, description="true: an anchor without a match is a dead letter.")
    limit: int = Field(16, ge=1, le=1024, description="Most events of a window match.")
    max_events_per_key: int = Field(4096, ge=1, description="Events kept in Redis per key; the oldest go first.")
    max_bytes_per_key: ByteSize = Field(
        ByteSize(256 * 2**20),
        gt=0,
        description="Bytes of records, and of references (some 30 each), kept in Redis per key; the oldest go first.",
    )

    @model_validator(mode="after")
    def _horizon_covers_window(self) -> Stream:
        if self.role == "context" and self.horizon < self.before + self.after + self.lateness:
            raise ValueError(
                f"horizon ({format_duration(self.horizon)}) must be at least before + after + lateness "
                f"({format_duration(self.before + self.after + self.lateness)})"
            )
        return self


class Output(Section):
    """Where outcomes go."""

    topic: Topic = Field("fusions", description="Topic of the results.")
    dead_letter_topic: Topic = Field("fusions.dead", description="Topic of the dead letters.")
    embedding: bool = Field(False, description="Add the fused vector F (D numbers) to each result.")
    evidence: bool = Field(False, description="Add to each result how its verdict came about.")
    language: Literal["en", "zh"] = Field("en", description="Of the sentences in evidence.text.")


class Review(Section):
    """Which results a person is asked about, and where the answers come back."""

    topic: Topic | None = Field(
        None,
        description="Topic of the results that are unsure; not set: none is sent.",
        json_schema_extra={"form": TOPIC_FORM},
    )
    below: float = Field(0.7, ge=0, le=1, description="A label with a lower score is unsure; 0: no score is.")
    unfamiliar: float = Field(
        0.02,
        ge=0,
        le=1,
        description="A result with a lower confidence.familiar is unsure; 0: none is. Looked at where the model tells "
        "its confidence.",
    )
    several: bool = Field(False, description="true: a result whose confidence.set has several labels is unsure too.")
    labels: Topic | None = Field(
        None,
        description="Topic of the answers, for `review` and `record --label-from labels`.",
        json_schema_extra={"form": TOPIC_FORM},
    )

    @model_validator(mode="after")
    def _has_somewhere_to_go(self) -> Review:
        return self.idle_without("topic", "where the results go that are unsure", "below", "unfamiliar", "several")


class Delivery(Section):
    """How outcomes are delivered."""

    guarantee: Literal["exactly_once", "at_least_once"] = Field(
        "exactly_once", description="What a read_committed consumer sees across crashes."
    )
    transaction_timeout: Timeout = Field(
        timedelta(seconds=10), description="Kafka ends a transaction left open for this long."
    )
    commit_timeout: Timeout = Field(
        timedelta(seconds=15), description="A commit without an answer for this long is uncertain."
    )
    commit_interval: Duration = Field(
        timedelta(milliseconds=200),
        description="Results of a backlog share a transaction for up to this long; a live one waits at most a tenth of "
        "its age for others.",
    )
    drain_timeout: Timeout = Field(
        timedelta(seconds=10), description="Longest time to finish work on SIGTERM or revoke."
    )


class Limits(Section):
    """What is refused, and when to stop."""

    dead_letters_in_a_row: int = Field(
        100, ge=0, description="Stop (exit 4) after so many in a row of one topic; 0: no limit."
    )
    dead_letter_ratio: float = Field(
        0.5, ge=0, le=1, description="Stop (exit 4) past this part of a topic's last 1,000; 0: no limit."
    )
    max_frame_bytes: ByteSize = Field(ByteSize(8 * 2**20), gt=0, description="Largest image.")
    max_frame_pixels: int = Field(40_000_000, gt=0, description="Most pixels an image header may declare.")
    max_text_bytes: ByteSize = Field(ByteSize(64 * 2**10), gt=0, description="Largest text.")
    max_sensor_bytes: ByteSize = Field(ByteSize(64 * 2**10), gt=0, description="Largest sensor reading.")
    max_audio_bytes: ByteSize = Field(ByteSize(8 * 2**20), gt=0, description="Largest sound.")
    max_audio_seconds: float = Field(60.0, gt=0, le=3600, description="Longest sound that its header may declare.")
    max_ahead: Duration = Field(
        timedelta(seconds=30),
        description="Event times further in the future are dead letters; at most, and by default no more than, the "
        "smallest horizon.",
    )
    body_cache_bytes: ByteSize = Field(
        ByteSize(256 * 2**20),
        gt=0,
        description="Large bodies that one worker keeps of what it has read; others come from Kafka by offset.",
    )
    shed: Literal["none", "stale"] = Field(
        "none", description="stale: an anchor older than max_age has a result without the model, labelled shed."
    )
    max_age: Timeout = Field(timedelta(seconds=30), description="Age of an anchor's record past which it may be shed.")
    max_pending_anchors: int = Field(
        20_000, ge=1, description="Anchors from read to committed; before there are more their partitions pause."
    )
    max_pending_bytes: ByteSize = Field(
        ByteSize(512 * 2**20),
        gt=0,
        description="Bytes of these, with bodies, results, dead letters; body_cache_bytes bounds the rest held.",
    )


class Log(Section):
    """Logging."""

    format: Literal["auto", "json", "console"] = Field("auto", description="auto: console on a terminal, else json.")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is written.")


def _default_streams() -> dict[str, Stream]:
    return {
        "texts": Stream(topic="texts", modality="text", role="anchor"),
        "frames": Stream(topic="frames", modality="image", role="context"),
    }


class Settings(Section):
    """The whole configuration."""

    kafka: Kafka = Kafka()
    redis: Redis = Redis()
    streams: dict[str, Stream] = Field(default_factory=_default_streams)
    output: Output = Output()
    review: Review = Review()
    rules: tuple[Rule, ...] = Field(
        (),
        max_length=64,
        description="Rules beside the model.",
        json_schema_extra={"form": "a list of at most 64 tables [[rules]], each with when, then and reason"},
    )
    privacy: Privacy = Privacy()
    model: Model = Model()
    delivery: Delivery = Delivery()
    sinks: Sinks = Sinks()
    feeds: Feeds = Feeds()
    http: Http = Http()
    limits: Limits = Limits()
    log: Log = Log()
    traces: Traces = Traces()

    @model_validator(mode="after")
    def _streams_fit_together(self) -> Settings:
        anchors = [name for name, stream in self.streams.items() if stream.role == "anchor"]
        if len(anchors) != 1:
            raise ValueError(
                f'streams: exactly one stream has role = "anchor"; found {len(anchors)}: {", ".join(anchors) or "none"}'
            )
        if bad := [name for name in self.streams if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name)]:
            raise ValueError(
                f"streams.{bad[0]}: a stream's name is a-z, 0-9 and _, at most 32, beginning with a letter"
            )
        topics = self.every_topic
        if twice := {t for t in topics if topics.count(t) > 1}:
            raise ValueError(f"topic {min(twice)!r} is named twice; each stream and output needs a topic of its own")
        return self

    @model_validator(mode="after")
    def _no_clock_outruns_a_horizon(self) -> Settings:
        if "max_ahead" in self.limits.model_fields_set and self.limits.max_ahead > self.max_ahead:
            raise ValueError(
                f"limits.max_ahead ({format_duration(self.limits.max_ahead)}) must be at most the smallest horizon "
                f"({format_duration(self.max_ahead)}): a clock further ahead would push right events out"
            )
        return self

    @model_validator(mode="after")
    def _privacy_covers_every_stream(self) -> Settings:
        privacy = self.privacy
        if unknown := [name for name in privacy.unmasked if name not in self.streams]:
            raise ValueError(f"privacy.unmasked: no stream {unknown[0]!r}; there are {', '.join(self.streams)}")
        for name, stream in self.streams.items():
            rules = {"image": privacy.faces or privacy.boxes, "audio": False}.get(stream.modality, True)
            if privacy.covers(name) and not rules:
                need = "nothing masks sounds" if stream.modality == "audio" else "pictures need faces = true or boxes"
                raise ValueError(f"privacy: stream {name!r} is not masked: {need}; or name it in privacy.unmasked")
        if privacy.enabled and not privacy.before_model and self.output.evidence:
            raise ValueError("output.evidence tells what the model saw; set it false, or privacy.before_model true")
        return self

    @model_validator(mode="after")
    def _rules_can_be_followed(self) -> Settings:
        names = self.rule_names
        for number, (name, rule) in enumerate(zip(names, self.rules, strict=True), 1):
            if name in names[: number - 1]:
                raise ValueError(f"rule {number} {name!r}: a rule before it has this name")
            if rule.then == ASKS and self.review.topic is None:
                raise ValueError(f"rule {number} {name!r}: then = {ASKS!r} asks a person; set review.topic")
        return self

    @property
    def rule_names(self) -> list[str]:
        """The rules' names, in their order."""
        return [rule.name or f"rule-{number}" for number, rule in enumerate(self.rules, 1)]

    @property
    def max_ahead(self) -> timedelta:
        """How far ahead of the wall an event may be: `limits.max_ahead`, or the smallest horizon where that is less."""
        return min([self.limits.max_ahead, *(stream.horizon for stream in self.contexts.values())])

    @property
    def anchor(self) -> str:
        """Name of the anchor stream."""
        return next(name for name, stream in self.streams.items() if stream.role == "anchor")

    @property
    def topics(self) -> list[str]:
        """The input topics."""
        return [stream.topic for stream in self.streams.values()]

    @property
    def every_topic(self) -> list[str]:
        """The input topics, then those of outcomes, then those of `[review]` and of the shadow model that are set."""
        more = (self.review.topic, self.review.labels, self.model.shadow_topic)
        set_ = [topic for topic in more if topic is not None]
        return [*self.topics, self.output.topic, self.output.dead_letter_topic, *set_]

    @property
    def contexts(self) -> dict[str, Stream]:
        """The context streams by name."""
        return {name: stream for name, stream in self.streams.items() if stream.role == "context"}
