"""Models -> the files in `schemas/json/` and `schemas/asyncapi.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from schemas.asyncapi import document
from schemas.dead_letter import DeadLetterHeaders
from schemas.event import EventHeaders, SensorJson, StructuredEvent, TextJson
from schemas.metrics import MetricsV1
from schemas.result import ResultHeaders, ResultV1
from schemas.review import LabelV1, ReviewHeaders, ReviewV1
from schemas.shadow import ShadowHeaders, ShadowV1

MODELS: dict[str, type[BaseModel]] = {
    "event.headers": EventHeaders,
    "event.structured": StructuredEvent,
    "event.text": TextJson,
    "event.sensor": SensorJson,
    "result.v1": ResultV1,
    "result.headers": ResultHeaders,
    "review.v1": ReviewV1,
    "review.headers": ReviewHeaders,
    "label.v1": LabelV1,
    "shadow.v1": ShadowV1,
    "shadow.headers": ShadowHeaders,
    "dead_letter.headers": DeadLetterHeaders,
}
# Of files, which no topic has.
FILES: dict[str, type[BaseModel]] = {"metrics.v1": MetricsV1}
DIALECT = "https://json-schema.org/draft/2020-12/schema"
FOLDER = Path(__file__).parent


def generated() -> dict[str, str]:
    """Text of every generated file by its path relative to this folder."""
    files: dict[str, Any] = {"asyncapi.json": document(_components())}
    for name, model in {**MODELS, **FILES}.items():
        files[f"json/{name}.json"] = {"$schema": DIALECT, **opened(model.model_json_schema(mode="validation"))}
    return {path: json.dumps(body, indent=2, ensure_ascii=False) + "\n" for path, body in sorted(files.items())}


def stale(folder: Path = FOLDER) -> list[str]:
    """Files that are absent, differ from the models, or have no model any more."""
    wanted = generated()
    present = {"asyncapi.json"} | {f"json/{path.name}" for path in (folder / "json").glob("*.json")}
    return sorted(
        path
        for path in present | set(wanted)
        if path not in wanted
        or not (folder / path).is_file()
        or (folder / path).read_text(encoding="utf-8") != wanted[path]
    )


def write(folder: Path = FOLDER) -> list[str]:
    """Writes what is stale and removes what has no model; returns the paths."""
    wanted, changed = generated(), stale(folder)
    (folder / "json").mkdir(parents=True, exist_ok=True)
    for path in changed:
        if path in wanted:
            (folder / path).write_text(wanted[path], encoding="utf-8")
        else:
            (folder / path).unlink()
    return changed


def _components() -> dict[str, Any]:
    """All schemas by title, with what they share beside them: a document has one place for definitions."""
    found: dict[str, Any] = {}
    for model in MODELS.values():
        schema = model.model_json_schema(mode="validation", ref_template="#/components/schemas/{model}")
        found.update(schema.pop("$defs", {}))
        found[model.__name__] = schema
    return dict(opened(dict(sorted(found.items()))))


def opened(schema: Any) -> Any:
    """A consumer ignores what it does not know: fields that come later are not forbidden."""
    if isinstance(schema, list):
        return [opened(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: opened(one) for name, one in schema.items() if (name, one) != ("additionalProperties", False)}
