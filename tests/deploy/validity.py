"""Kubernetes objects -> what a cluster would refuse of them, by the schemas of Kubernetes or of its extensions."""

from __future__ import annotations

from collections.abc import Sequence

import jsonschema
import kubernetes_validate

from tests.deploy.objects import Document
from tests.deploy.resources import SCHEMAS

# The oldest that Chart.yaml allows (unhealthyPodEvictionPolicy is there by default), and the newest that is known.
VERSIONS = ("1.27", "1.37")


def faults(documents: Sequence[Document], version: str = VERSIONS[-1]) -> list[str]:
    """What is wrong, object by object; an unknown field is wrong too."""
    return [fault for one in documents for fault in _faults(one, version)]


def _faults(document: Document, version: str) -> list[str]:
    named = f"{document['kind']} {document['metadata']['name']}"
    schema = SCHEMAS.get((document["apiVersion"], document["kind"]))
    if schema is not None:
        found = jsonschema.Draft202012Validator(schema).iter_errors(document)
        return [f"{named}: {one.json_path}: {one.message}" for one in found]
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{named}: {'.'.join(map(str, error.path))}: {error.message}"]
    return []
