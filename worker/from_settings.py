"""Settings -> what the stages are made with, alike for serving, explaining and recording."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from worker.broker.rights import Needs
from worker.config import Settings, Stream
from worker.durations import micros
from worker.ops.certificates import ends_at
from worker.ops.clock import SystemClock
from worker.ops.metrics import PrometheusObserver
from worker.records import MatchRule
from worker.stages.publish import ResultWriter
from worker.stages.review import Reason, Reviewer
from worker.stages.validate import StreamSpec, Validator


def rules_of(settings: Settings) -> dict[str, MatchRule]:
    """The matching rule of each context stream."""
    return {name: _rule(name, stream) for name, stream in settings.contexts.items()}


def _rule(name: str, stream: Stream) -> MatchRule:
    return MatchRule(
        stream=name,
        mode=stream.match,
        before_us=micros(stream.before),
        after_us=micros(stream.after),
        lateness_us=micros(stream.lateness),
        limit=stream.limit,
        max_wait_us=micros(stream.max_wait),
        horizon_us=micros(stream.horizon),
        required=stream.required,
    )


def validator_of(settings: Settings, clock: SystemClock) -> Validator:
    """The validator of all input topics."""
    return Validator(
        {stream.topic: StreamSpec(name, stream.modality) for name, stream in settings.streams.items()},
        max_frame_bytes=settings.limits.max_frame_bytes,
        max_frame_pixels=settings.limits.max_frame_pixels,
        max_text_bytes=settings.limits.max_text_bytes,
        max_sensor_bytes=settings.limits.max_sensor_bytes,
        max_audio_bytes=settings.limits.max_audio_bytes,
        max_audio_seconds=settings.limits.max_audio_seconds,
        max_ahead_us=micros(settings.max_ahead),
        clock=clock,
    )


def needs_of(settings: Settings) -> Needs:
    """What a worker names in the cluster."""
    review = settings.review
    return Needs(
        read=settings.topics,
        written=[settings.output.topic, settings.output.dead_letter_topic, *([review.topic] if review.topic else [])],
        told_of=[review.labels] if review.labels else [],
        group_id=settings.kafka.group_id,
        exactly_once=settings.delivery.guarantee == "exactly_once",
    )


def writer_of(settings: Settings, info: Mapping[str, str]) -> ResultWriter:
    """The builder of outgoing records."""
    return ResultWriter(
        output_topic=settings.output.topic,
        dead_letter_topic=settings.output.dead_letter_topic,
        source=f"/fusion-worker/{settings.kafka.group_id}",
        model_name=info["name"],
        model_version=info["version"],
        embedding=settings.output.embedding,
        language=settings.output.language,
        window_streams=frozenset(n for n, s in settings.contexts.items() if s.match == "window"),
    )


def reviewer_of(settings: Settings) -> Reviewer | None:
    """What asks a person; None where nobody is asked."""
    review = settings.review
    if review.topic is None:
        return None
    return Reviewer(review.topic, below=review.below, unfamiliar=review.unfamiliar, several=review.several)


def tell_settings(settings: Settings, observer: PrometheusObserver, labels: Iterable[str] = ()) -> None:
    """Opens the series that are known, with the model's `labels`, and tells what Prometheus' rules need to know of the
    configuration, so that none is edited for it."""
    observer.initialise(list(settings.streams), labels, Reason if settings.review.topic else ())
    for name, stream in settings.streams.items():
        waits_seconds = 0 if stream.role == "anchor" else stream.max_wait.total_seconds()
        observer.gauge("stream_info", 1, stream=name, topic=stream.topic, role=stream.role)
        observer.gauge("max_wait_seconds", waits_seconds, stream=name)
    for which, path in certificates_of(settings).items():
        authorities = which.endswith("_ca")
        observer.ask("certificate_expiry_timestamp_seconds", partial(ends_at, path, authorities), which=which)


def certificates_of(settings: Settings) -> dict[str, Path]:
    """The configured files of certificates, by the server they are for and what they are there; `_ca`: authorities."""
    redis = parse_qs(urlsplit(settings.redis.url).query)
    given = {
        "kafka_ca": settings.kafka.ssl_cafile,
        "kafka_client": settings.kafka.ssl_certfile,
        "redis_ca": redis.get("ssl_ca_certs", [None])[0],
        "redis_client": redis.get("ssl_certfile", [None])[0],
    }
    return {which: Path(path) for which, path in given.items() if path}
