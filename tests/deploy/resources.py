"""The shape of objects that Kubernetes does not know: KEDA's and the Prometheus operator's, as the chart uses them.

Written by hand from their definitions (KEDA 2.x `keda.sh_scaledobjects`, Prometheus operator `monitoring.coreos.com`):
every field here is one of theirs, with its type, and no other is let through.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def _object(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    known = {**required, **(optional or {})}
    return {"type": "object", "required": list(required), "properties": known, "additionalProperties": False}


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_COUNT = {"type": "integer", "minimum": 0}
_DURATION = {"type": "string", "pattern": r"^(0|([0-9]+(y|w|d|h|m|s|ms))+)$"}
_METADATA = _object({"name": _TEXT}, {"labels": _TEXTS, "annotations": _TEXTS, "namespace": _TEXT})
_SELECTOR = _object({"matchLabels": _TEXTS})

_POLICY = _object({"type": {"enum": ["Pods", "Percent"]}, "value": _COUNT, "periodSeconds": _COUNT})
_RULES = _object(
    {"stabilizationWindowSeconds": {"type": "integer", "minimum": 0, "maximum": 3600}},
    {"policies": _list(_POLICY), "selectPolicy": {"enum": ["Max", "Min", "Disabled"]}},
)
_BEHAVIOR = _object({}, {"scaleUp": _RULES, "scaleDown": _RULES})
_QUERY = _object(
    {"serverAddress": {"type": "string", "pattern": "^https?://"}, "query": _TEXT, "threshold": _TEXT},
    {"ignoreNullValues": {"enum": ["true", "false"]}, "activationThreshold": _TEXT},
)
_TRIGGER = _object(
    {"type": {"const": "prometheus"}, "metadata": _QUERY},
    {"metricType": {"enum": ["AverageValue", "Value"]}, "authenticationRef": _object({"name": _TEXT}), "name": _TEXT},
)
_SCALED = _object(
    {"scaleTargetRef": _object({"name": _TEXT}, {"apiVersion": _TEXT, "kind": _TEXT}), "triggers": _list(_TRIGGER)},
    {
        "pollingInterval": _COUNT, "minReplicaCount": _COUNT, "maxReplicaCount": _COUNT, "cooldownPeriod": _COUNT,
        "advanced": _object({}, {"horizontalPodAutoscalerConfig": _object({}, {"behavior": _BEHAVIOR})}),
    },
)  # fmt: skip
_KEY = _object({"name": _TEXT, "key": _TEXT}, {"optional": {"type": "boolean"}})
_ENDPOINT = _object(
    {"port": _TEXT},
    {
        "path": _TEXT, "interval": _DURATION, "scheme": {"enum": ["http", "https"]},
        "tlsConfig": _object({}, {
            "ca": _object({}, {"secret": _KEY, "configMap": _KEY}), "serverName": _TEXT,
            "insecureSkipVerify": {"type": "boolean"},
        }),
        "authorization": _object({"credentials": _KEY}, {"type": _TEXT}),
    },
)  # fmt: skip
_MONITOR = _object({"selector": _SELECTOR, "endpoints": _list(_ENDPOINT)}, {"jobLabel": _TEXT})
_RULE = _object({"expr": _TEXT}, {"alert": _TEXT, "record": _TEXT, "for": _DURATION, "keep_firing_for": _DURATION,
                                  "labels": _TEXTS, "annotations": _TEXTS})  # fmt: skip
_GROUP = _object({"name": _TEXT, "rules": _list(_RULE)}, {"interval": _DURATION, "labels": _TEXTS})

SCHEMAS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    (version, kind): _object(
        {"apiVersion": {"const": version}, "kind": {"const": kind}, "metadata": _METADATA, "spec": spec}
    )
    for version, kind, spec in (
        ("keda.sh/v1alpha1", "ScaledObject", _SCALED),
        ("monitoring.coreos.com/v1", "ServiceMonitor", _MONITOR),
        ("monitoring.coreos.com/v1", "PrometheusRule", _object({"groups": _list(_GROUP)})),
    )
}
