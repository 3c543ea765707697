"""deploy/kubernetes keeps the chart's policies without Helm; and each mistake that a policy is for is found."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import policies, validity
from tests.deploy.helm import ROOT, documents
from tests.deploy.objects import Document, deployment, of_kind, pod, worker
from worker.settings import load

PLAIN = ROOT / "deploy" / "kubernetes" / "worker.yaml"


def plain() -> list[Document]:
    """The objects of the plain example."""
    return documents(PLAIN.read_text(encoding="utf-8"))


@pytest.mark.parametrize("version", validity.VERSIONS)
def test_the_plain_example_is_valid(version: str) -> None:
    """Kubernetes knows every field and every value."""
    assert validity.faults(plain(), version) == []


@pytest.mark.parametrize("policy", policies.POLICIES, ids=lambda policy: policy.__name__)
def test_the_plain_example_keeps_the_policies(policy: policies.Policy) -> None:
    """What the chart's workers are, these are too."""
    assert list(policy(plain())) == []


def test_the_worker_reads_the_plain_configuration(tmp_path: Path) -> None:
    """Its fusion.toml is one that the worker takes, with the password from a file."""
    (config,) = of_kind(plain(), "ConfigMap")
    (tmp_path / "fusion.toml").write_text(config["data"]["fusion.toml"], encoding="utf-8")
    (tmp_path / "kafka-password").write_text("s3cret\n", encoding="utf-8")
    environment = {one["name"]: one["value"] for one in worker(plain())["env"]}
    environment["FUSION__KAFKA__SASL_PLAIN_PASSWORD_FILE"] = str(tmp_path / "kafka-password")
    settings = load(tmp_path / "fusion.toml", [], environment).settings
    assert settings.kafka.sasl_plain_password == "s3cret"
    assert settings.http.host == "0.0.0.0"


def kind(name: str) -> Callable[[list[Document]], Any]:
    """The spec of the one object of a kind."""
    return lambda found: of_kind(found, name)[0]["spec"]


network, budget = kind("NetworkPolicy"), kind("PodDisruptionBudget")


def user(found: list[Document]) -> Any:
    """Who the pod runs as."""
    return pod(found)["securityContext"]


def rights(found: list[Document]) -> Any:
    """What the container may do."""
    return worker(found)["securityContext"]


def toml(good: str, bad: str) -> Callable[[list[Document]], None]:
    """The configuration with something else in it."""

    def change(found: list[Document]) -> None:
        data = of_kind(found, "ConfigMap")[0]["data"]
        assert good in data["fusion.toml"]
        data["fusion.toml"] = data["fusion.toml"].replace(good, bad)

    return change


def put(where: Callable[[list[Document]], Any], **given: Any) -> Callable[[list[Document]], None]:
    """Some fields with other values; None takes a field away."""

    def change(found: list[Document]) -> None:
        place = where(found)
        place.update({name: value for name, value in given.items() if value is not None})
        for name in [name for name, value in given.items() if value is None]:
            del place[name]

    return change


MISTAKES: list[tuple[policies.Policy, str, Callable[[list[Document]], Any]]] = [
    (policies.runs_as_nobody, "may run as root", put(user, runAsNonRoot=None)),
    (policies.runs_as_nobody, "may run as root", put(user, runAsUser=0)),
    (policies.runs_as_nobody, "seccomp", put(user, seccompProfile=None)),
    (policies.runs_as_nobody, "privileges", put(rights, allowPrivilegeEscalation=True)),
    (policies.runs_as_nobody, "capabilities", put(rights, capabilities={"add": ["ALL"]})),
    (policies.runs_as_nobody, "another user", put(rights, runAsUser=0)),
    (policies.writes_nowhere, "its root", put(rights, readOnlyRootFilesystem=False)),
    (policies.writes_nowhere, "/etc/fusion", put(lambda d: worker(d)["volumeMounts"][0], readOnly=False)),
    (policies.writes_nowhere, "/tmp", put(lambda d: pod(d)["volumes"][3], emptyDir={})),
    (policies.writes_nowhere, "folder of the node", put(lambda d: pod(d)["volumes"][0], hostPath={"path": "/"})),
    (policies.writes_nowhere, "hostNetwork", put(pod, hostNetwork=True)),
    (policies.is_bounded, "no limits of memory", put(lambda d: worker(d)["resources"]["limits"], memory=None)),
    (policies.is_bounded, "no requests of cpu", put(lambda d: worker(d)["resources"]["requests"], cpu=None)),
    (policies.has_no_secret_in_reach, "in its environment",
     lambda d: worker(d)["env"].append({"name": "A", "valueFrom": {"secretKeyRef": {"name": "b", "key": "c"}}})),
    (policies.has_no_secret_in_reach, "in its environment",
     lambda d: worker(d)["env"].append({"name": "FUSION__REDIS__PASSWORD", "value": "p"})),
    (policies.has_no_secret_in_reach, "variables from an object",
     lambda d: worker(d).__setitem__("envFrom", [{"secretRef": {"name": "b"}}])),
    (policies.has_no_secret_in_reach, "holds redis.password", toml("[redis]", '[redis]\npassword = "p"')),
    (policies.has_no_secret_in_reach, "password in redis.url", toml("redis://redis", "redis://u:p@redis")),
    (policies.has_no_secret_in_reach, "read by anybody",
     put(lambda d: pod(d)["volumes"][1]["secret"], defaultMode=0o444)),
    (policies.has_no_secret_in_reach, "makes a Secret",
     lambda d: d.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}})),
    (policies.has_no_secret_in_reach, "token", put(pod, automountServiceAccountToken=None)),
    (policies.is_probed, "readinessProbe does not ask",
     put(lambda d: worker(d)["readinessProbe"]["httpGet"], path="/livez")),
    (policies.is_probed, "livenessProbe does not ask", put(worker, livenessProbe=None)),
    (policies.is_probed, "another port", put(lambda d: worker(d)["startupProbe"]["httpGet"], port=8080)),
    (policies.listens_to_the_cluster, "its own pod", put(lambda d: worker(d)["env"][0], value="127.0.0.1")),
    (policies.may_drain, "before 25 s", toml('drain_timeout = "10s"', 'drain_timeout = "15s"')),
    (policies.may_drain, "before 20 s", put(pod, terminationGracePeriodSeconds=19)),
    (policies.is_one_image, "no version", put(worker, image="fusion-worker:latest")),
    (policies.is_one_image, "no version", put(worker, image="fusion-worker")),
    (policies.selectors_agree, "Deployment does not select",
     put(lambda d: deployment(d)["spec"]["selector"]["matchLabels"], a="b")),
    (policies.selectors_agree, "PodDisruptionBudget does not",
     put(lambda d: budget(d)["selector"]["matchLabels"], a="b")),
    (policies.selectors_agree, "Service does not", put(lambda d: kind("Service")(d)["selector"], a="b")),
    (policies.selectors_agree, "other releases", put(network, podSelector={})),
    (policies.lets_through_what_is_needed, "one direction", put(network, policyTypes=["Ingress"])),
    (policies.lets_through_what_is_needed, "anybody may call",
     put(lambda d: network(d)["ingress"][0], **{"from": None})),
    (policies.lets_through_what_is_needed, "another port",
     lambda d: network(d)["ingress"][0]["ports"].append({"port": 22, "protocol": "TCP"})),
    (policies.lets_through_what_is_needed, "any port", put(lambda d: network(d)["egress"][1], ports=None)),
    (policies.lets_through_what_is_needed, "port 9094 cannot", lambda d: network(d)["egress"].pop(1)),
    (policies.lets_through_what_is_needed, "port 6379 cannot", lambda d: network(d)["egress"].pop(2)),
    (policies.lets_through_what_is_needed, "names cannot",
     put(lambda d: network(d)["egress"][0]["to"][0]["podSelector"]["matchLabels"], a="b")),
    (policies.lets_through_what_is_needed, "everybody", lambda d: network(d)["egress"][1]["to"].append({})),
    (policies.survives_a_drain_of_nodes, "nodes cannot be drained", put(budget, maxUnavailable=0)),
    (policies.survives_a_drain_of_nodes, "while a server is away", put(budget, unhealthyPodEvictionPolicy=None)),
    (policies.survives_a_drain_of_nodes, "no pod can be replaced",
     put(lambda d: deployment(d)["spec"]["strategy"]["rollingUpdate"], maxSurge=0)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "said", "change"), MISTAKES, ids=[f"{one[0].__name__}-{one[1]}" for one in MISTAKES]
)
def test_mistakes_are_found(policy: policies.Policy, said: str, change: Callable[[list[Document]], Any]) -> None:
    """The policy names what was changed."""
    broken = copy.deepcopy(plain())
    change(broken)
    assert any(said in fault for fault in policy(broken)), list(policy(broken))


def test_every_policy_has_a_mistake() -> None:
    """None is there that nothing would ever break."""
    assert {one[0] for one in MISTAKES} == set(policies.POLICIES)


SPOILT = """
apiVersion: {version}
kind: {kind}
metadata: {{name: a}}
spec: {spec}
"""


@pytest.mark.parametrize(
    ("version", "name", "spec", "said"),
    [
        (
            "apps/v1",
            "Deployment",
            "{selector: {}, template: {spec: {containers: [{name: a, imag: b}]}}}",
            "imag",
        ),
        ("policy/v1", "PodDisruptionBudget", "{maxUnavailabel: 1}", "maxUnavailabel"),
        ("networking.k8s.io/v1", "NetworkPolicy", "{podSelector: {}, egress: [{ports: [{port: [1]}]}]}", "port"),
        ("keda.sh/v1alpha1", "ScaledObject", "{scaleTargetRef: {name: a}, triggers: []}", "triggers"),
        (
            "keda.sh/v1alpha1",
            "ScaledObject",
            "{scaleTargetRef: {name: a}, minReplicas: 1, triggers: [{type: cpu}]}",
            "minReplicas",
        ),
        ("monitoring.coreos.com/v1", "ServiceMonitor", "{selector: {}, endpoints: [{prot: http}]}", "prot"),
        (
            "monitoring.coreos.com/v1",
            "PrometheusRule",
            "{groups: [{name: a, rules: [{alert: b, expr: c, for: ten}]}]}",
            "ten",
        ),
    ],
)
def test_invalid_objects_are_found(version: str, name: str, spec: str, said: str) -> None:
    """A field that nobody knows, a missing one and a wrong value are each named."""
    (document,) = documents(SPOILT.format(version=version, kind=name, spec=spec))
    assert any(said in fault for fault in validity.faults([document]))


def test_yaml_of_the_example_says_things_once() -> None:
    """A key that is there twice would hide the first one's value."""

    class Strict(yaml.SafeLoader):
        """Refuses a key that is there twice."""

    def once(loader: Strict, node: yaml.MappingNode) -> dict[Any, Any]:
        names = [loader.construct_object(key) for key, _ in node.value]
        assert len(names) == len(set(names)), names
        return {
            name: loader.construct_object(value, deep=True) for name, (_, value) in zip(names, node.value, strict=True)
        }

    Strict.add_constructor("tag:yaml.org,2002:map", once)
    assert len(list(yaml.load_all(PLAIN.read_text(encoding="utf-8"), Loader=Strict))) == len(plain())
