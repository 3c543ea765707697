"""A result -> what Home Assistant discovers, and what its entities show (MQTT discovery by device)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from worker.model.kinds import NAME

_PLAIN = re.compile(r"[a-zA-Z0-9_-]{1,48}")
_HASHED = re.compile(r".*-[0-9a-f]{8}")
# Home Assistant takes no longer state.
_STATE_CHARACTERS = 255
_UNITS = {"C": "°C", "F": "°F"}  # As Home Assistant spells them, so that it can tell a temperature.


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
        **{f"head_{name}": _state(one) for name, one in _heads(result).items()},
    }  # fmt: skip


def _heads(result: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    heads = result.get("heads")
    if not isinstance(heads, Mapping):
        return {}
    return {name: one for name, one in heads.items() if isinstance(one, Mapping) and NAME.fullmatch(name)}


def _state(said: Mapping[str, Any]) -> Any:
    """A number, a label, or labels one after another; `none` where there are none."""
    if "number" in said:
        return said["number"]
    labels = said.get("labels", [said.get("label")])
    return (", ".join(map(str, labels)) or "none")[:_STATE_CHARACTERS]


def _head_sensors(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A sensor for each further head: of a number with its unit."""
    made = {}
    for name, said in _heads(result).items():
        is_number = "number" in said
        number = {"state_class": "measurement", "icon": "mdi:gauge"} if is_number else {"icon": "mdi:label-multiple"}
        unit = {"unit_of_measurement": _UNITS.get(said["unit"], said["unit"])} if "unit" in said else {}
        made[f"head_{name}"] = {"name": name, **number, **unit}
    return made


def attributes(result: Mapping[str, Any]) -> dict[str, Any]:
    """What stands beside the label."""
    kept = ("id", "key", "time", "scores", "missing", "complete", "confidence", "truncated", "model", "rule", "heads")
    found = {name: result[name] for name in kept if name in result}
    evidence = result.get("evidence")
    if isinstance(evidence, Mapping) and evidence.get("text"):
        found["evidence"] = evidence["text"]
    return found


def head_names(result: Mapping[str, Any]) -> frozenset[str]:
    """Of the further heads that have a sensor each."""
    return frozenset(_heads(result))


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
        **_head_sensors(result),
    }
    components: dict[str, dict[str, Any]] = {
        name: {
            "platform": "binary_sensor" if name == "complete" else "sensor", "unique_id": f"{identity}_{name}",
            "state_topic": topics.state(key), "value_template": f"{{{{ value_json['{name}'] }}}}", **more, **expires,
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
