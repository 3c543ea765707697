"""Names that cross the wire, declared once: headers, event types, media types."""

from __future__ import annotations

SPEC_VERSION = "1.0"
RESULT_TYPE = "fusion.result.v1"

CONTENT_TYPE = "content-type"
TRACEPARENT = "traceparent"
CE_PREFIX = "ce_"
CE_SPECVERSION = "ce_specversion"
CE_ID = "ce_id"
CE_SOURCE = "ce_source"
CE_TYPE = "ce_type"
CE_TIME = "ce_time"

JPEG = "image/jpeg"
PNG = "image/png"
TEXT = "text/plain"
JSON = "application/json"
STRUCTURED = "application/cloudevents+json"
MEDIA_TYPES = {"image": (JPEG, PNG), "text": (TEXT, JSON)}

# Kafka Connect's own names (KIP-298), so that its tools read these dead letters too.
ERRORS_PREFIX = "__connect.errors."
ERRORS_TOPIC = ERRORS_PREFIX + "topic"
ERRORS_PARTITION = ERRORS_PREFIX + "partition"
ERRORS_OFFSET = ERRORS_PREFIX + "offset"
ERRORS_STAGE = ERRORS_PREFIX + "stage"
ERRORS_CLASS = ERRORS_PREFIX + "exception.class.name"
ERRORS_MESSAGE = ERRORS_PREFIX + "exception.message"
ATTEMPTS = "fusion.attempts"
