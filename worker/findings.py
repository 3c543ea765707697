"""Settings and what the cluster tells of the topics -> what will not stop a worker but cost it something."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from worker.config import Settings
from worker.durations import format_duration, micros

# Headers and the batch's own frame come on top of the body that `[limits]` bounds.
HEADROOM_BYTES = 64 * 2**10
# A result with an embedding, its evidence and a window of inputs stays below this.
LARGEST_RESULT_BYTES = 256 * 2**10

Configs = Mapping[str, Mapping[str, str]]


def largest_record_bytes(settings: Settings) -> int:
    """The largest record that `[limits]` lets in, of the modalities that have a stream."""
    limits = settings.limits
    of_modality = {
        "image": limits.max_frame_bytes, "text": limits.max_text_bytes, "sensor": limits.max_sensor_bytes,
        "audio": limits.max_audio_bytes,
    }  # fmt: skip
    return max(int(of_modality[stream.modality]) for stream in settings.streams.values()) + HEADROOM_BYTES


def of_topics(settings: Settings, partitions: Mapping[str, int], configs: Configs | None) -> list[str]:
    """A sentence each. `configs` None: the cluster does not let this user see them."""
    found = list(_of_partitions(settings, partitions))
    if configs is None:
        return [*found, "the cluster does not tell the topics' limits to this user; they were not looked at"]
    return [*found, *_of_sizes(settings, configs), *_of_retention(settings, configs)]


def of_model(settings: Settings, *, masked: bool | None, tells_confidence: bool) -> list[str]:
    """A sentence each. `masked`: whether what the model was trained on was; None: its folder does not tell."""
    found, review, privacy = [], settings.review, settings.privacy
    if review.topic is not None and (review.unfamiliar or review.several) and not tells_confidence:
        found.append(
            "review.unfamiliar and review.several have no effect: the model tells no confidence; only review.below "
            "sends results to a person. `fusion-worker train` makes a model that tells it"
        )
    sees = privacy.enabled and privacy.before_model
    if masked and not sees:
        remedy = "set privacy.before_model = true" if privacy.enabled else "switch [privacy] on"
        found.append(f"the model's card says that it was trained on masked bodies; it sees them as they came: {remedy}")
    if masked is False and sees:
        found.append(
            "the model's card says that it was trained on bodies as they came; it sees masked ones: set "
            "privacy.before_model = false, or train on what `record` writes (`train --masked`)"
        )
    return found


def _of_partitions(settings: Settings, partitions: Mapping[str, int]) -> Iterator[str]:
    anchor = settings.streams[settings.anchor].topic
    for name, stream in settings.contexts.items():
        if partitions[stream.topic] != partitions[anchor]:
            yield (
                f"streams.{name}.topic = {stream.topic!r} has {partitions[stream.topic]} partitions, {anchor!r} has "
                f"{partitions[anchor]}: with equal numbers most bodies are where they are needed"
            )


def _of_sizes(settings: Settings, configs: Configs) -> Iterator[str]:
    needed = {
        "output.dead_letter_topic": (
            settings.output.dead_letter_topic, largest_record_bytes(settings), "dead letters lose their bodies"
        ),
        "output.topic": (settings.output.topic, LARGEST_RESULT_BYTES, "large results become dead letters"),
        "review.topic": (settings.review.topic, LARGEST_RESULT_BYTES, "large reviews go without their result"),
    }  # fmt: skip
    for key, (topic, least, cost) in needed.items():
        most = configs.get(topic or "", {}).get("max.message.bytes", "")
        if most.isdigit() and int(most) < least:
            yield f"{key} = {topic!r}: max.message.bytes is {most}, less than {least}: {cost}; raise it"


def _of_retention(settings: Settings, configs: Configs) -> Iterator[str]:
    for name, stream in settings.streams.items():
        told = configs.get(stream.topic, {})
        policy, kept_ms = told.get("cleanup.policy", ""), told.get("retention.ms", "")
        if "compact" in policy:
            yield (
                f"streams.{name}.topic = {stream.topic!r}: cleanup.policy is {policy}: events that a newer one of "
                "their key replaces are gone before a late worker reads them; use delete"
            )
        if "delete" in policy and kept_ms.isdigit() and int(kept_ms) * 1000 < micros(stream.horizon):
            yield (
                f"streams.{name}.topic = {stream.topic!r}: retention.ms is {kept_ms}, less than its horizon of "
                f"{format_duration(stream.horizon)}: after a loss in Redis not all can be read again; raise it"
            )
    labels = settings.review.labels
    if labels is not None and "compact" in (policy := configs.get(labels, {}).get("cleanup.policy", "")):
        yield (
            f"review.labels = {labels!r}: cleanup.policy is {policy}: an answer takes the place of those to other "
            "results of its key; use delete"
        )
