"""A result -> what Home Assistant discovers, and what its entities show (MQTT discovery by device)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

_PLAIN = re.compile(r"[a-zA-Z0-9_-]{1,48}")
_HASHED = re.compile(r".*-[0-9a-f]{8}")
# Home Assistant takes no longer state.
_STATE_CHARACTERS = 255


class Topics:
    """Where a key's messages are. A key that is no plain word is spelt so that no two keys share a topic."""

    def __init__(self, base: str, prefix: str, name: str = "") -> None:
        """`name`: of the sink, where there are several on one broker."""
        self._base, self._prefix = base, prefix
        self._node = "_".join(filter(None, ("fusion", name)))
        self.status = f"{base}/status"

    def config(self, key: str) -> str:
        """Home Assistant's own: prefix, `device`, node, object, `config`."""
        return f"{self._prefix}/device/{self._node}/{slug(key)}/config"

    def state(self, key: str) -> str:
        """JSON with label and score."""
        return f"{self._base}/{slug(key)}/state"

    def attributes(self, key: str) -> str:
        """JSON with all else."""
        return f"{self._base}/{slug(key)}/attributes"

    def identity(self, key: str) -> str:
        """Stays the same as long as the key and the sink's name do."""
        return f"{self._node}_{slug(key)}"


def slug(key: str) -> str:
    """The key as a level of a topic: itself, or what is legible of it and eight digits of its SHA-256."""
    if _PLAIN.fullmatch(key) and not _HASHED.fullmatch(key):
        return key
    legible = re.sub(r"[^a-zA-Z0-9_-]+", "_", key)[:39].strip("_")
    return f"{legible}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def state(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the sensors show."""
    return {
        "label": str(result["label"])[:_STATE_CHARACTERS], "score": result.get("score"), "time": result["time"],
        "complete": "ON" if result.get("complete") is True else "OFF",
    }  # fmt: skip


def attributes(result: Mapping[str, Any]) -> dict[str, Any]:
    """What stands beside the label."""
    kept = ("id", "key", "time", "scores", "missing", "complete", "confidence", "truncated", "model", "rule")
    found = {name: result[name] for name in kept if name in result}
    evidence = result.get("evidence")
    if isinstance(evidence, Mapping) and evidence.get("text"):
        found["evidence"] = evidence["text"]
    return found


def discovery(result: Mapping[str, Any], topics: Topics, expire_after_seconds: int) -> dict[str, Any]:
    """The device of a key with its entities: label, score, time, and whether the result is complete."""
    key, identity = str(result["key"]), topics.identity(str(result["key"]))
    expires = {"expire_after": expire_after_seconds} if expire_after_seconds else {}
    model = result["model"].get("name") if isinstance(result.get("model"), Mapping) else None
    sensors: dict[str, dict[str, Any]] = {
        "label": {"name": "Label", "icon": "mdi:label-outline"},
        "score": {"name": "Score", "state_class": "measurement", "suggested_display_precision": 2},
        "time": {"name": "Time", "device_class": "timestamp", "entity_category": "diagnostic"},
        "complete": {"name": "Complete", "entity_category": "diagnostic"},
    }
    components: dict[str, dict[str, Any]] = {
        name: {
            "platform": "binary_sensor" if name == "complete" else "sensor", "unique_id": f"{identity}_{name}",
            "state_topic": topics.state(key), "value_template": f"{{{{ value_json.{name} }}}}", **more, **expires,
        }
        for name, more in sensors.items()
    }  # fmt: skip
    components["label"]["json_attributes_topic"] = topics.attributes(key)
    return {
        "device": {
            "identifiers": [identity], "name": key, "manufacturer": "fusion-worker",
            "model": str(model or "fusion"),
        },
        "origin": {"name": "fusion-worker"},
        "components": components,
        "availability_topic": topics.status,
        "qos": 1,
    }  # fmt: skip
