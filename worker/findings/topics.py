"""Settings and what the cluster tells of the topics -> findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from worker.config import Settings
from worker.durations import format_duration, micros
from worker.findings.finding import Finding, could_not_look, note, warning

# Headers and the batch's own frame come on top of the body that `[limits]` bounds.
HEADROOM_BYTES = 64 * 2**10
# A result with an embedding, its evidence and a window of inputs stays below this.
LARGEST_RESULT_BYTES = 256 * 2**10

_REPLICATE = "keep it on 3 brokers and set min.insync.replicas to 2"

Configs = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Layout:
    """A topic's partitions, and how many brokers keep each."""

    partitions: int
    replicas: int


def largest_record_bytes(settings: Settings) -> int:
    """The largest record that `[limits]` lets in, of the modalities that have a stream."""
    return max(map(_body_bytes(settings).__getitem__, settings.streams)) + HEADROOM_BYTES


def _body_bytes(settings: Settings) -> dict[str, int]:
    """Stream -> the largest body that `[limits]` lets in."""
    limits = settings.limits
    of_modality = {
        "image": limits.max_frame_bytes, "text": limits.max_text_bytes, "sensor": limits.max_sensor_bytes,
        "audio": limits.max_audio_bytes,
    }  # fmt: skip
    return {name: int(of_modality[stream.modality]) for name, stream in settings.streams.items()}


def of_topics(
    settings: Settings, layouts: Mapping[str, Layout], brokers: int, configs: Configs | None
) -> list[Finding]:
    """`configs` None: the cluster does not let this user see them."""
    found = [*_of_partitions(settings, layouts), *_of_fetches(settings)]
    if configs is None:
        told = {name: {"replicas": str(layout.replicas)} for name, layout in layouts.items()}
        blind = could_not_look("the topics' limits, retention and policies", "DESCRIBE_CONFIGS on the topics")
        return [*found, *_of_replicas(settings, layouts, brokers, told), blind]
    return [
        *found, *_of_replicas(settings, layouts, brokers, configs), *_of_sizes(settings, configs),
        *_of_policies(settings, configs), *_of_retention(settings, configs),
    ]  # fmt: skip


def _of_partitions(settings: Settings, layouts: Mapping[str, Layout]) -> Iterator[Finding]:
    anchor = settings.streams[settings.anchor].topic
    most = layouts[anchor].partitions
    for name, stream in settings.contexts.items():
        count = layouts[stream.topic].partitions
        if count != most:
            yield warning(
                f"streams.{name}.topic = {stream.topic!r} has {count} partitions, {anchor!r} has {most}: bodies are "
                "read twice by way of the network",
                "with equal numbers most bodies are where they are needed",
            )
    if most == 1:
        yield note(
            f"streams.{settings.anchor}.topic = {anchor!r} has 1 partition: one worker alone has work",
            "give it as many partitions as there may ever be workers",
        )


def _of_fetches(settings: Settings) -> Iterator[Finding]:
    most, largest = int(settings.kafka.fetch_max_bytes), largest_record_bytes(settings)
    if most < largest:
        yield note(
            f"kafka.fetch_max_bytes is {most}, less than the {largest} of the largest record that [limits] lets in: "
            "such records come one at a time",
            "raise it to several of them",
        )


def _of_replicas(
    settings: Settings, layouts: Mapping[str, Layout], brokers: int, configs: Configs
) -> Iterator[Finding]:
    for key, topic in _written(settings):
        replicas, least = layouts[topic].replicas, configs.get(topic, {}).get("min.insync.replicas", "")
        if replicas == 1 and brokers > 1:
            yield warning(
                f"{key} = {topic!r} is kept by one broker of {brokers}: with it outcomes are lost, and none is "
                "committed while it is away",
                _REPLICATE,
            )
        elif replicas > 1 and least == "1":
            yield warning(
                f"{key} = {topic!r}: min.insync.replicas is 1 of {replicas} replicas: an outcome that one broker has "
                "alone is lost with it",
                _REPLICATE,
            )
        elif replicas > 1 and least.isdigit() and int(least) >= replicas:
            yield warning(
                f"{key} = {topic!r}: min.insync.replicas is {least} of {replicas} replicas: nothing is committed while "
                "any broker is away",
                _REPLICATE,
            )


def _written(settings: Settings) -> list[tuple[str, str]]:
    keys = {
        "output.topic": settings.output.topic, "output.dead_letter_topic": settings.output.dead_letter_topic,
        "review.topic": settings.review.topic, "model.shadow_topic": settings.model.shadow_topic,
    }  # fmt: skip
    return [(key, topic) for key, topic in keys.items() if topic]


def _of_sizes(settings: Settings, configs: Configs) -> Iterator[Finding]:
    needed = {
        "output.dead_letter_topic": (largest_record_bytes(settings), "dead letters lose their bodies"),
        "output.topic": (LARGEST_RESULT_BYTES, "large results become dead letters"),
        "review.topic": (LARGEST_RESULT_BYTES, "large reviews go without their result"),
    }
    for key, topic in _written(settings):
        least, cost = needed.get(key, (0, ""))
        if (most := _most_bytes(configs, topic)) is not None and most < least:
            yield warning(f"{key} = {topic!r}: max.message.bytes is {most}, less than {least}: {cost}", "raise it")
    for name, body in _body_bytes(settings).items():
        topic = settings.streams[name].topic
        if (most := _most_bytes(configs, topic)) is not None and most < body:
            yield note(
                f"streams.{name}.topic = {topic!r}: max.message.bytes is {most}, less than the {body} that [limits] "
                "lets in: the broker refuses larger ones, and only their producer hears of it",
                "raise it, or lower the limit",
            )


def _most_bytes(configs: Configs, topic: str) -> int | None:
    told = configs.get(topic, {}).get("max.message.bytes", "")
    return int(told) if told.isdigit() else None


def _of_policies(settings: Settings, configs: Configs) -> Iterator[Finding]:
    kept: Sequence[tuple[str, str | None, str]] = [
        *((f"streams.{name}.topic", stream.topic, "events that a newer one of their key replaces are gone before a "
           "late worker reads them") for name, stream in settings.streams.items()),
        ("output.topic", settings.output.topic, "of a key's results only the newest is kept"),
        ("output.dead_letter_topic", settings.output.dead_letter_topic, "of a key's dead letters only the newest is "
         "kept, and one without a key is refused"),
        ("review.topic", settings.review.topic, "of a key's questions only the newest is kept"),
        ("review.labels", settings.review.labels, "an answer takes the place of those to other results of its key"),
    ]  # fmt: skip
    for key, topic, cost in kept:
        policy = configs.get(topic or "", {}).get("cleanup.policy", "")
        if "compact" in policy:
            yield warning(f"{key} = {topic!r}: cleanup.policy is {policy}: {cost}", "use delete")


def _of_retention(settings: Settings, configs: Configs) -> Iterator[Finding]:
    for name, stream in settings.streams.items():
        told = configs.get(stream.topic, {})
        policy, kept_ms = told.get("cleanup.policy", ""), told.get("retention.ms", "")
        if "delete" in policy and kept_ms.isdigit() and int(kept_ms) * 1000 < micros(stream.horizon):
            yield warning(
                f"streams.{name}.topic = {stream.topic!r}: retention.ms is {kept_ms}, less than its horizon of "
                f"{format_duration(stream.horizon)}: after a loss in Redis not all can be read again",
                "raise it",
            )
