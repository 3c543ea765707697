"""Names that cross the wire, declared once: headers, event types, media types."""

from __future__ import annotations

from typing import Final

SPEC_VERSION: Final = "1.0"
RESULT_TYPE: Final = "fusion.result.v1"
REVIEW_TYPE: Final = "fusion.review.v1"
SHADOW_TYPE: Final = "fusion.shadow.v1"
LABEL_TYPE: Final = "fusion.label.v1"
# What a rule says in a label's place to ask a person.
ASKS: Final = "review"

CONTENT_TYPE: Final = "content-type"
TRACEPARENT: Final = "traceparent"
CE_PREFIX: Final = "ce_"
CE_SPECVERSION: Final = "ce_specversion"
CE_ID: Final = "ce_id"
CE_SOURCE: Final = "ce_source"
CE_TYPE: Final = "ce_type"
CE_TIME: Final = "ce_time"

JPEG: Final = "image/jpeg"
PNG: Final = "image/png"
TEXT: Final = "text/plain"
JSON: Final = "application/json"
WAV: Final = "audio/wav"
STRUCTURED: Final = "application/cloudevents+json"
MEDIA_TYPES: Final = {"image": (JPEG, PNG), "text": (TEXT, JSON), "sensor": (JSON,), "audio": (WAV,)}
# Other names of the same thing; an event has the first.
ALIASES: Final = {"audio/x-wav": WAV, "audio/wave": WAV, "audio/vnd.wave": WAV}

# Kafka Connect's own names (KIP-298), so that its tools read these dead letters too.
ERRORS_PREFIX: Final = "__connect.errors."
ERRORS_TOPIC: Final = "__connect.errors.topic"
ERRORS_PARTITION: Final = "__connect.errors.partition"
ERRORS_OFFSET: Final = "__connect.errors.offset"
ERRORS_PLACE: Final = (ERRORS_TOPIC, ERRORS_PARTITION, ERRORS_OFFSET)
ERRORS_STAGE: Final = "__connect.errors.stage"
ERRORS_CLASS: Final = "__connect.errors.exception.class.name"
ERRORS_MESSAGE: Final = "__connect.errors.exception.message"
ATTEMPTS: Final = "fusion.attempts"
TIMESTAMP: Final = "fusion.timestamp"
# What a dead letter's topic did not take of it: how many bytes were left out.
VALUE_OMITTED: Final = "fusion.value_omitted_bytes"
HEADERS_OMITTED: Final = "fusion.headers_omitted_bytes"
KEY_OMITTED: Final = "fusion.key_omitted_bytes"
OMITTED: Final = (VALUE_OMITTED, HEADERS_OMITTED, KEY_OMITTED)
# What `[privacy]` did to a dead letter's body.
PRIVACY: Final = "fusion.privacy"
PRIVACY_MASKED: Final = "masked"
PRIVACY_LEFT_OUT: Final = "left out"
