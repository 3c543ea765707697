"""What must hold for every worker in a cluster, whatever the values: each policy gives its faults, or none."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tests.deploy.objects import (
    Document,
    containers,
    deployment,
    of_kind,
    peer_takes,
    pod,
    pod_labels,
    port_number,
    selects,
    worker,
)
from worker.describe import is_secret, keys
from worker.durations import parse_duration
from worker.ops.watchdog import CLOSING_SECONDS, TELLING_SECONDS

# The address may hold a password, or may not: it is a secret for who prints it, and refused with one in it.
SECRET_KEYS = {name for name, info in keys([]).items() if is_secret(info)} - {"redis.url"}
# What the kubelet and the runtime take of the time that a pod has to end, at least.
SPARE_SECONDS = 5
_PROBES = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
_VERSION = re.compile(r"(:(?!latest$)[\w.-]+|@sha256:\w{64})$")
_DNS = ({"kubernetes.io/metadata.name": "kube-system"}, {"k8s-app": "kube-dns"})


def configuration(documents: Sequence[Document]) -> dict[str, Any]:
    """The worker's configuration, as it lies in the ConfigMap."""
    (text,) = [one["data"]["fusion.toml"] for one in of_kind(documents, "ConfigMap") if "fusion.toml" in one["data"]]
    return tomllib.loads(text)


def runs_as_nobody(documents: Sequence[Document]) -> Iterator[str]:
    """A user with a number that is not root's, and no way to become another."""
    given = pod(documents).get("securityContext", {})
    if not given.get("runAsNonRoot") or not given.get("runAsUser", 0) > 0 or not given.get("runAsGroup", 0) > 0:
        yield "the pod may run as root"
    if given.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "the pod has no seccomp profile"
    for one in containers(documents):
        own = one.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            yield f"{one['name']} may gain privileges"
        if own.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{one['name']} has capabilities"
        if {"runAsUser", "runAsNonRoot", "runAsGroup", "seccompProfile"} & set(own):
            yield f"{one['name']} is another user than its pod"


def writes_nowhere(documents: Sequence[Document]) -> Iterator[str]:
    """The root is read-only; what can be written to is an emptyDir with a bound; nothing of the node is mounted."""
    volumes = {one["name"]: one for one in pod(documents)["volumes"]}
    for one in containers(documents):
        if not one.get("securityContext", {}).get("readOnlyRootFilesystem"):
            yield f"{one['name']} can write to its root"
        mounts = {mount["mountPath"]: mount for mount in one["volumeMounts"]}
        if "/tmp" not in mounts:
            yield f"{one['name']} has no /tmp"
        for path, mount in mounts.items():
            volume = volumes[mount["name"]]
            if not mount.get("readOnly") and not volume.get("emptyDir", {}).get("sizeLimit"):
                yield f"{one['name']} can write to {path}"
    yield from (f"{name} is a folder of the node" for name, one in volumes.items() if "hostPath" in one)
    yield from (f"{key} is the node's" for key in ("hostNetwork", "hostPID", "hostIPC") if pod(documents).get(key))


def is_bounded(documents: Sequence[Document]) -> Iterator[str]:
    """Processor, memory and disk are asked for and bounded; a card is asked for by its bound alone."""
    for one in containers(documents):
        given = one["resources"]
        for side in ("requests", "limits"):
            missing = {"cpu", "memory", "ephemeral-storage"} - set(given.get(side, {}))
            yield from (f"{one['name']} has no {side} of {name}" for name in sorted(missing))


def has_no_secret_in_reach(documents: Sequence[Document]) -> Iterator[str]:
    """Secrets are files: none is in the environment or in the configuration, and only the worker's group reads them."""
    for one in containers(documents):
        for variable in one.get("env", []):
            key = variable["name"].removeprefix("FUSION__").lower().replace("__", ".")
            if "valueFrom" in variable or key in SECRET_KEYS:
                yield f"{one['name']} has a secret in its environment: {variable['name']}"
        if one.get("envFrom"):
            yield f"{one['name']} takes variables from an object"
    for section, table in configuration(documents).items():
        yield from (f"the configuration holds {section}.{name}" for name in table if f"{section}.{name}" in SECRET_KEYS)
    if re.search(r"://[^/?]*:[^/?@]*@", configuration(documents).get("redis", {}).get("url", "")):
        yield "the configuration holds a password in redis.url"
    for volume in pod(documents)["volumes"]:
        if "secret" in volume and volume["secret"].get("defaultMode") != 0o440:
            yield f"{volume['name']} can be read by anybody"
    yield from ("the chart makes a Secret" for _ in of_kind(documents, "Secret"))
    if pod(documents).get("automountServiceAccountToken") is not False:
        yield "the pod has a token of the cluster"


def is_probed(documents: Sequence[Document]) -> Iterator[str]:
    """Three probes at the pages that the worker has, at its own port."""
    one = worker(documents)
    for name, path in _PROBES.items():
        asked = one.get(name, {}).get("httpGet", {})
        if asked.get("path") != path:
            yield f"{name} does not ask {path}"
        elif port_number(documents, asked["port"]) != _http(documents)["port"]:
            yield f"{name} asks another port than http.port"


def _http(documents: Sequence[Document]) -> Mapping[str, Any]:
    """Where the worker listens: its environment wins over its file."""
    given = {one["name"]: one.get("value") for one in worker(documents)["env"]}
    table = configuration(documents).get("http", {})
    port = given.get("FUSION__HTTP__PORT", table.get("port"))
    return {"host": given.get("FUSION__HTTP__HOST", table.get("host")), "port": int(port)}


def listens_to_the_cluster(documents: Sequence[Document]) -> Iterator[str]:
    """On all addresses: at the loopback neither a probe nor Prometheus reaches it."""
    if _http(documents)["host"] != "0.0.0.0":
        yield "it listens to its own pod alone"


def may_drain(documents: Sequence[Document]) -> Iterator[str]:
    """A pod has longer than the worker's own last moment."""
    drain = parse_duration(configuration(documents).get("delivery", {}).get("drain_timeout", "10s")).total_seconds()
    least = drain + CLOSING_SECONDS + TELLING_SECONDS + SPARE_SECONDS
    if pod(documents).get("terminationGracePeriodSeconds", 30) < least:
        yield f"it is killed before {least:g} s are over"


def is_one_image(documents: Sequence[Document]) -> Iterator[str]:
    """A version or a digest, never what is another image tomorrow; all containers have the same."""
    images = {one["image"] for one in containers(documents)}
    yield from (
        f"{image} is no version" for image in images if not re.search(r"(:(?!latest$)[\w.-]+|@sha256:\w{64})$", image)
    )
    if len(images) > 1:
        yield "containers have different images"


def selectors_agree(documents: Sequence[Document]) -> Iterator[str]:
    """Whatever selects workers selects these pods, and in no more than their own release."""
    labels = pod_labels(documents)
    found = [
        ("Deployment", deployment(documents)["spec"]["selector"]),
        *(("PodDisruptionBudget", one["spec"]["selector"]) for one in of_kind(documents, "PodDisruptionBudget")),
        *(("NetworkPolicy", one["spec"]["podSelector"]) for one in of_kind(documents, "NetworkPolicy")),
        *(("Service", {"matchLabels": one["spec"]["selector"]}) for one in of_kind(documents, "Service")),
        *(("spread", one["labelSelector"]) for one in pod(documents)["topologySpreadConstraints"]),
    ]
    for kind, selector in found:
        if not selects(selector, labels):
            yield f"the {kind} does not select the pods"
        if "app.kubernetes.io/instance" not in selector.get("matchLabels", {}):
            yield f"the {kind} selects workers of other releases"
    for monitor in of_kind(documents, "ServiceMonitor"):
        services = [one for one in of_kind(documents, "Service") if _scrapes(monitor, one)]
        if len(services) != 1:
            yield "the ServiceMonitor does not find the Service"
    for scaled in of_kind(documents, "ScaledObject"):
        if scaled["spec"]["scaleTargetRef"]["name"] != deployment(documents)["metadata"]["name"]:
            yield "the ScaledObject scales something else"
        if "replicas" in deployment(documents)["spec"]:
            yield "the Deployment sets what the ScaledObject decides"


def _scrapes(monitor: Document, service: Document) -> bool:
    ports = {port["name"] for port in service["spec"]["ports"]}
    known = {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]}
    return selects(monitor["spec"]["selector"], service["metadata"]["labels"]) and known <= ports


def lets_through_what_is_needed(documents: Sequence[Document]) -> Iterator[str]:
    """DNS, Kafka, Redis and who reads metrics, and nothing else; where the chart makes a policy at all."""
    for policy in of_kind(documents, "NetworkPolicy"):
        spec = policy["spec"]
        if sorted(spec.get("policyTypes", [])) != ["Egress", "Ingress"]:
            yield "only one direction is bounded"
        if any(not rule.get("from") or not rule.get("ports") for rule in spec["ingress"]):
            yield "anybody may call the worker"
        if {port_number(documents, port["port"]) for rule in spec["ingress"] for port in rule["ports"]} != {
            _http(documents)["port"]
        }:
            yield "another port than http.port can be called"
        if any(not rule.get("ports") for rule in spec["egress"]):
            yield "the worker may call any port"
        if any(not peer for rule in spec["egress"] for peer in rule.get("to", [])):
            yield "a peer is everybody"
        called = {port["port"] for rule in spec["egress"] for port in rule["ports"] if port["protocol"] == "TCP"}
        yield from (f"port {port} cannot be called" for port in sorted({53, *server_ports(documents)} - called))
        resolvers = [rule for rule in spec["egress"] if {"port": 53, "protocol": "UDP"} in rule["ports"]]
        if not any("ipBlock" in peer or peer_takes(peer, *_DNS) for rule in resolvers for peer in rule.get("to", [])):
            yield "names cannot be resolved"


def server_ports(documents: Sequence[Document]) -> set[int]:
    """The ports of Kafka and Redis that the configuration names."""
    given = configuration(documents)
    servers = given.get("kafka", {}).get("bootstrap_servers", "localhost:9092").split(",")
    kafka = {int(server.rpartition(":")[2]) for server in servers}
    redis = re.search(r"://(?:[^/?]*@)?[^/?:]+(?::(\d+))?", given.get("redis", {}).get("url", "redis://localhost"))
    return kafka | ({int(redis[1] or 6379)} if redis else set())


def survives_a_drain_of_nodes(documents: Sequence[Document]) -> Iterator[str]:
    """A budget lets some pods go, also while none is ready; a roll-out always has a next step."""
    for budget in of_kind(documents, "PodDisruptionBudget"):
        if not budget["spec"].get("maxUnavailable") or "minAvailable" in budget["spec"]:
            yield "nodes cannot be drained"
        if budget["spec"].get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
            yield "nodes cannot be drained while a server is away"
    rolling = deployment(documents)["spec"]["strategy"]["rollingUpdate"]
    if not rolling["maxSurge"] and not rolling["maxUnavailable"]:
        yield "no pod can be replaced"


Policy = Callable[[Sequence[Document]], Iterator[str]]
POLICIES: tuple[Policy, ...] = (
    runs_as_nobody, writes_nowhere, is_bounded, has_no_secret_in_reach, is_probed, listens_to_the_cluster, may_drain,
    is_one_image, selectors_agree, lets_through_what_is_needed, survives_a_drain_of_nodes,
)  # fmt: skip
