"""What the tests of manifests ask of Kubernetes objects: the pods, their containers, who selects whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Document = dict[str, Any]


def of_kind(documents: Sequence[Document], kind: str) -> list[Document]:
    """The objects of one kind."""
    return [one for one in documents if one["kind"] == kind]


def deployment(documents: Sequence[Document]) -> Document:
    """The workers' Deployment; there is one."""
    (found,) = of_kind(documents, "Deployment")
    return found


def pod(documents: Sequence[Document]) -> Document:
    """The spec of the workers' pods."""
    found: Document = deployment(documents)["spec"]["template"]["spec"]
    return found


def pod_labels(documents: Sequence[Document]) -> Mapping[str, str]:
    """The labels of the workers' pods."""
    found: Mapping[str, str] = deployment(documents)["spec"]["template"]["metadata"]["labels"]
    return found


def containers(documents: Sequence[Document]) -> Iterator[Document]:
    """All containers of a worker's pod, those that begin it too."""
    yield from pod(documents).get("initContainers", [])
    yield from pod(documents)["containers"]


def worker(documents: Sequence[Document]) -> Document:
    """The container that goes on running."""
    found: Document
    (found,) = pod(documents)["containers"]
    return found


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector, of `matchLabels` alone, takes these labels; an empty one takes all."""
    assert set(selector) <= {"matchLabels"}, selector
    return selector.get("matchLabels", {}).items() <= labels.items()


def port_number(documents: Sequence[Document], port: int | str) -> int:
    """The number of a worker's port that is given by name or number."""
    named = {one["name"]: one["containerPort"] for one in worker(documents)["ports"]}
    return int(named[port]) if isinstance(port, str) else port


def peer_takes(peer: Mapping[str, Any], namespace: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether a peer of a NetworkPolicy is a pod with these labels in a namespace with those."""
    if "ipBlock" in peer:
        return False
    in_namespace = selects(peer["namespaceSelector"], namespace) if "namespaceSelector" in peer else not namespace
    return in_namespace and selects(peer.get("podSelector", {}), labels)
