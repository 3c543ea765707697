"""The AsyncAPI 3.0 document of the worker, from the models and the default topics."""

from __future__ import annotations

from typing import Any

from schemas import names

Document = dict[str, Any]

# One channel a topic. Topics can be renamed in the configuration; these are its defaults, and for sensors, microphones,
# reviews, labels and shadows, which no default has, a name each.
CHANNELS = {
    "frames": ("Images, keyed by what they show.", ("frameBinary", "structured")),
    "texts": ("Texts, keyed by what they speak of.", ("textBinary", "textJson", "structured")),
    "readings": ("Sensor readings, keyed by what they measure.", ("sensorJson", "structured")),
    "sounds": ("Sounds, keyed by where they were heard.", ("soundBinary", "structured")),
    "fusions": ("One result per anchor event.", ("result",)),
    "fusions.review": ("Results that a person should look at.", ("review",)),
    "labels": ("What people say of these.", ("label",)),
    "fusions.shadow": ("Anchors on which a shadow model says another label.", ("shadow",)),
    "fusions.dead": ("Records that could not be used, as they came.", ("deadLetter",)),
}
RECEIVED = ("frames", "texts", "readings", "sounds", "labels")
KEY = {"type": "string", "minLength": 1, "description": "What events are matched by: a camera, a room, a junction."}


def _file(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}


def _messages() -> Document:
    event = {"headers": _file("EventHeaders"), "bindings": {"kafka": {"key": KEY, "bindingVersion": "0.5.0"}}}
    raw = {"type": "string", "format": "binary", "minLength": 1}
    structured = {
        "type": "object",
        "required": [names.CONTENT_TYPE],
        "properties": {names.CONTENT_TYPE: {"type": "string", "pattern": "^application/cloudevents\\+json"}},
    }
    events: Document = {
        "frameBinary": {
            **event,
            "title": "A frame, CloudEvents binary mode",
            "summary": "The value is the image as it is; image/jpeg or image/png.",
            "contentType": names.JPEG,
            "payload": raw,
        },
        "textBinary": {
            **event,
            "title": "A text, CloudEvents binary mode",
            "contentType": names.TEXT,
            "payload": {"type": "string", "minLength": 1},
        },
        "textJson": {
            **event,
            "title": "A text with attributes, CloudEvents binary mode",
            "contentType": names.JSON,
            "payload": _file("TextJson"),
        },
        "structured": {
            **event,
            "headers": structured,
            "title": "Any event, CloudEvents structured mode",
            "contentType": names.STRUCTURED,
            "payload": _file("StructuredEvent"),
        },
    }
    return events | _signals(event, raw) | _outgoing(event)


def _signals(event: Document, raw: Document) -> Document:
    return {
        "sensorJson": {
            **event,
            "title": "A sensor's reading, CloudEvents binary mode",
            "contentType": names.JSON,
            "payload": _file("SensorJson"),
        },
        "soundBinary": {
            **event,
            "title": "A sound, CloudEvents binary mode",
            "summary": "The value is a WAV file as it is.",
            "contentType": names.WAV,
            "payload": raw,
        },
    }


def _outgoing(event: Document) -> Document:
    return {
        "result": {
            **event,
            "headers": _file("ResultHeaders"),
            "title": "A result",
            "contentType": names.JSON,
            "payload": _file("ResultV1"),
        },
        "review": {
            **event,
            "headers": _file("ReviewHeaders"),
            "title": "A result that a person should look at",
            "contentType": names.JSON,
            "payload": _file("ReviewV1"),
        },
        "shadow": {
            "bindings": event["bindings"],
            "headers": _file("ShadowHeaders"),
            "title": "What a shadow model says otherwise",
            "summary": "Outside any transaction: some may be lost, or come twice.",
            "contentType": names.JSON,
            "payload": _file("ShadowV1"),
        },
        "label": {
            "bindings": event["bindings"],
            "headers": {"type": "object"},
            "title": "A person's answer",
            "summary": "No header is needed; a null value takes back all answers of its key.",
            "contentType": names.JSON,
            "payload": _file("LabelV1"),
        },
        "deadLetter": {
            "headers": _file("DeadLetterHeaders"),
            "title": "A dead letter",
            "summary": "Key, value and headers of the record as it came, plus these headers.",
            "contentType": "application/octet-stream",
            "payload": {"description": "The value as it came; null where it was null."},
        },
    }


def document(schemas: Document) -> Document:
    """The whole document. `schemas` are the JSON Schemas by title, each with its own `$defs`."""
    channels: Document = {
        topic: {
            "address": topic,
            "description": description,
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0"}},
        }
        for topic, (description, messages) in CHANNELS.items()
    }
    operations: Document = {
        ("receive_" if topic in RECEIVED else "send_") + topic.replace(".", "_"): {
            "action": "receive" if topic in RECEIVED else "send",
            "channel": {"$ref": f"#/channels/{topic}"},
            "messages": [{"$ref": f"#/channels/{topic}/messages/{name}"} for name in messages],
        }
        for topic, (_, messages) in CHANNELS.items()
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "fusion-worker",
            "version": "1.0.0",
            "description": "Streams aligned by key and event time, one result per anchor event.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": names.JSON,
        "servers": {"kafka": {"host": "localhost:9092", "protocol": "kafka"}},
        "channels": channels,
        "operations": operations,
        "components": {"messages": _messages(), "schemas": schemas},
    }
