"""The Helm chart: what it renders for each set of values is as stored, valid, and what the policies ask for."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import prometheus_tools
from tests.deploy import helm, policies, validity
from tests.deploy.helm import CASES, CHART, NAMESPACE, ROOT, cases, complaint, documents, rendered, template
from tests.deploy.objects import Document, containers, deployment, of_kind, pod, worker
from tests.deploy.stored import ALERTS, DASHBOARDS, FOLDER, is_dashboards, path_of, written
from worker.cli import _parser
from worker.config import Settings
from worker.ops.catalogue import METRICS
from worker.settings import load

ALL = cases()
# What an API server takes of one object.
MOST_CONFIG_BYTES = 1_000_000
# The first test that needs Helm may have to build it.
pytestmark = pytest.mark.timeout(1200)


def values(case: str) -> dict[str, Any]:
    """A set of values."""
    given: dict[str, Any] = yaml.safe_load((CASES / f"{case}.yaml").read_text(encoding="utf-8"))
    return given


def objects(case: str) -> list[Document]:
    """What the chart makes of a set of values."""
    return documents(rendered(case))


def test_there_are_enough_sets_of_values() -> None:
    """Twelve at least, no stored rendering without one, and each says what it is for."""
    assert len(ALL) >= 12
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(ALL)
    assert all((CASES / f"{case}.yaml").read_text(encoding="utf-8").startswith("# ") for case in ALL)


@pytest.mark.parametrize("case", ALL)
def test_renders_as_stored(case: str) -> None:
    """A change of what is rendered is seen in the diff: `python -m tests.deploy.stored` stores it anew."""
    assert written(case) == path_of(case).read_text(encoding="utf-8")


@pytest.mark.parametrize("version", validity.VERSIONS)
@pytest.mark.parametrize("case", ALL)
def test_is_valid(case: str, version: str) -> None:
    """Kubernetes, KEDA and the Prometheus operator know every field and every value."""
    assert validity.faults(objects(case), version) == []


@pytest.mark.parametrize("policy", policies.POLICIES, ids=lambda policy: policy.__name__)
@pytest.mark.parametrize("case", ALL)
def test_keeps_the_policies(case: str, policy: policies.Policy) -> None:
    """What every worker must be, it is with these values too."""
    assert list(policy(objects(case))) == []


@pytest.mark.parametrize("case", ALL)
def test_the_worker_reads_its_configuration(case: str, tmp_path: Path) -> None:
    """fusion.toml, variables and secret files as the container has them give the settings that the values name."""
    found = objects(case)
    (config,) = [one for one in of_kind(found, "ConfigMap") if not is_dashboards(one)]
    (tmp_path / "fusion.toml").write_text(config["data"]["fusion.toml"], encoding="utf-8")
    environment = {one["name"]: one["value"] for one in worker(found)["env"]}
    secrets = {name: path for name, path in environment.items() if name.endswith("_FILE")}
    for name, path in secrets.items():
        file = tmp_path / Path(path).name
        file.write_text("redis://:s3cret@redis:6380" if "URL" in name else "s3cret/#@%", encoding="utf-8")
        environment[name] = str(file)
    settings = load(tmp_path / "fusion.toml", [], environment).settings
    for key in values(case).get("secrets", {}).get("keys", {}):
        section, name = key.split(".")
        assert "s3cret" in getattr(getattr(settings, section), name)
    assert settings.http.host == "0.0.0.0"
    assert tomllib.loads(config["data"]["fusion.toml"]) == _merged(case)


def _merged(case: str) -> dict[str, Any]:
    """The chart's own configuration with that of a set of values over it."""
    own = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["config"]
    for section, table in values(case).get("config", {}).items():
        own[section] = {**own.get(section, {}), **table} if isinstance(table, dict) else table
    return dict(own)


@pytest.mark.parametrize("case", ALL)
def test_mounts_are_where_the_worker_looks(case: str) -> None:
    """Every file that the configuration or a variable names lies in something that is mounted, and all volumes are."""
    found = objects(case)
    mounted = {mount["mountPath"]: mount["name"] for mount in worker(found)["volumeMounts"]}
    text = rendered(case)
    named = set(re.findall(r"(?:/run/fusion|/etc/fusion|/models)/[\w./-]+", text)) - set(mounted)
    assert [path for path in named if not any(path.startswith(f"{place}/") for place in mounted)] == []
    assert set(mounted.values()) == {volume["name"] for volume in pod(found)["volumes"]}


@pytest.mark.parametrize("case", ALL)
def test_probes_and_prometheus_speak_what_the_worker_serves(case: str) -> None:
    """HTTPS where it has a certificate; a token where it asks for one."""
    found, http, scheme = objects(case), _merged(case)["http"], None if case != "guarded" else "HTTPS"
    probes = [probe["httpGet"] for name, probe in worker(found).items() if name.endswith("Probe")]
    assert [probe.get("scheme") for probe in probes] == [scheme] * 3
    for endpoint in (one["spec"]["endpoints"][0] for one in of_kind(found, "ServiceMonitor")):
        assert endpoint.get("scheme", "http").upper() == (scheme or "HTTP")
        assert ("authorization" in endpoint) == ("token_file" in http)


@pytest.mark.parametrize("case", ALL)
def test_containers_run_commands_that_exist(case: str) -> None:
    """The command line is one that fusion-worker takes."""
    for one in containers(objects(case)):
        assert _parser().parse_args(one["args"]).config == Path("/etc/fusion/fusion.toml")


def test_the_image_runs_as_the_number_that_the_pod_names() -> None:
    """Files that this number can read are readable by the image's own user."""
    user = re.search(r"^USER (\d+)$", (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert user is not None
    context = pod(objects("default"))["securityContext"]
    assert {context["runAsUser"], context["runAsGroup"], context["fsGroup"]} == {int(user[1])}


def test_the_chart_is_of_the_worker_s_version() -> None:
    """The image that a chart asks for by itself is the one that was built from the same tree."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"] == project["version"]


def test_a_pod_has_the_time_that_its_drain_takes() -> None:
    """drain_timeout, rounded up to a second, and ten."""
    graces = {
        case: pod(objects(case))["terminationGracePeriodSeconds"] for case in ("small", "default", "whole", "large")
    }
    assert graces == {"small": 11, "default": 20, "whole": 30, "large": 100}
    assert Settings().delivery.drain_timeout.total_seconds() == 10


def test_another_configuration_makes_new_pods() -> None:
    """A worker reads its configuration when it starts."""
    sums = {
        case: deployment(objects(case))["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
        for case in ALL
    }
    assert sums["default"] == sums["keda"] != sums["small"]


def test_a_card_is_a_bound() -> None:
    """As many cards as asked for, of the resource that is named; none where none is."""
    assert worker(objects("gpu"))["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert worker(objects("whole"))["resources"]["limits"]["amd.com/gpu"] == 2
    assert not [name for name in worker(objects("default"))["resources"]["limits"] if "gpu" in name]


def test_alerts_and_dashboards_are_the_files_themselves() -> None:
    """There is no second copy that could differ: links, which packaging resolves."""
    (rule,) = of_kind(objects("monitoring"), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    (config,) = filter(is_dashboards, objects("monitoring"))
    assert config["data"] == {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS.glob("*.json")}
    assert sum(map(len, config["data"].values())) < MOST_CONFIG_BYTES
    assert (CHART / "files" / "alerts.yml").resolve() == ALERTS
    assert (CHART / "files" / "dashboards").resolve() == DASHBOARDS


def test_alerts_know_the_workers_by_their_job() -> None:
    """The label that the ServiceMonitor takes the job from says what alerts and dashboard look for."""
    (monitor,) = of_kind(objects("monitoring"), "ServiceMonitor")
    (service,) = of_kind(objects("monitoring"), "Service")
    job = service["metadata"]["labels"][monitor["spec"]["jobLabel"]]
    assert set(re.findall(r'job="([^"]+)"', ALERTS.read_text(encoding="utf-8"))) == {job}


def test_a_package_renders_the_same(tmp_path: Path) -> None:
    """What is packaged holds the alerts and dashboards, not links to them."""
    done = helm.helm("package", str(CHART), "--destination", str(tmp_path))
    assert done.returncode == 0, complaint(done)
    (archive,) = tmp_path.glob("*.tgz")
    again = template("--values", str(CASES / "whole.yaml"), chart=archive)
    assert again.stdout == rendered("whole")


def test_lint_is_clean() -> None:
    """`helm lint --strict` finds nothing but that there is no icon."""
    done = helm.helm("lint", str(CHART), "--strict", "--kube-version", helm.KUBE_VERSION)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^\[(?:WARNING|ERROR)\].*", done.stdout, re.MULTILINE) == []


def test_every_value_is_described() -> None:
    """values.yaml and values.schema.json name the same keys."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    own = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert set(schema["properties"]) - {"global"} == set(own)
    for name, part in schema["properties"].items():
        if "properties" in part and name != "config":
            assert set(part["properties"]) == set(own[name]), name


REFUSED = [
    ("config.http.token_file=/run/t,serviceMonitor.enabled=true", "serviceMonitor.authorization: must name the Secret"),
    ("replicas=0", "'/replicas': minimum: got 0, want 1"),
    ("replicas=two", "'/replicas': got string, want integer"),
    ("confg.kafka.group_id=x", "additional properties 'confg' not allowed"),
    ("image.tag=latest", "image.tag: is latest"),
    ("image.digest=sha256:12", "'/image/digest': 'sha256:12' does not match pattern"),
    ("config.http.port=0", "'/config/http/port': minimum: got 0, want 1"),
    ("config.delivery.drain_timeout=ten", "'/config/delivery/drain_timeout': 'ten' does not match pattern"),
    ("config.kafka.bootstrap_servers=kafka", "'/config/kafka/bootstrap_servers': 'kafka' does not match pattern"),
    ("config.redis.url=redis:6379", "'/config/redis/url': 'redis:6379' does not match pattern"),
    ("config.redis.url=redis://u:p@redis", "config.redis.url: holds a password"),
    ("config.redis.url=rediss://redis?ssl_password=p", "config.redis.url: holds a password"),
    ("config.redis.password=p", "config.redis.password: is a secret"),
    ("config.sinks.mqtt.password=p", "config.sinks.mqtt.password: is a secret"),
    ("config.kafka.sasl_plain_password=p", "config.kafka.sasl_plain_password: is a secret"),
    ("secrets.keys.redis\\.password=a", "secrets.keys: needs secrets.existingSecret"),
    ("secrets.existingSecret=a,secrets.volume.csi.driver=b", "secrets.volume: is given beside"),
    ("secrets.keys.password=a", "'/secrets/keys': additional properties 'password' not allowed"),
    ("config.model.device=cuda", "config.model.device: asks for a GPU, and gpu.count is 0"),
    ("config.model.device=cpu,gpu.count=1", "config.model.device: is cpu, and gpu.count gives each worker 1"),
    ("config.model.path=/models/a", "config.model.path: lies in /models, where nothing is mounted"),
    ("strategy.maxSurge=0", "strategy: maxSurge and maxUnavailable are both 0"),
    ("podDisruptionBudget.maxUnavailable=0", "'/podDisruptionBudget/maxUnavailable': minimum: got 0, want 1"),
    ("serviceAccount.create=false", "serviceAccount.name: must be given"),
    ("resources.limits.memory=null", "'/resources/limits': missing property 'memory'"),
    ("extraEnv[0].name=A,extraEnv[0].valueFrom.secretKeyRef.name=b", "additional properties 'valueFrom' not allowed"),
    ("extraEnv[0].name=FUSION__REDIS__PASSWORD,extraEnv[0].value=p", "extraEnv: FUSION__REDIS__PASSWORD is of"),
    ("scaling.enabled=true", "scaling.anchorPartitions: must be given with scaling.enabled"),
    ("scaling.enabled=true,scaling.anchorPartitions=4,scaling.maxReplicas=6",
     "scaling.maxReplicas: is 6, and the anchor's topic has 4 partitions"),
    ("scaling.enabled=true,scaling.anchorPartitions=4,scaling.minReplicas=5", "scaling.minReplicas: is 5, more than"),
    ("scaling.enabled=true,scaling.anchorPartitions=4,scaling.minReplicas=0", "'/scaling/minReplicas': minimum"),
    ("scaling.enabled=true,scaling.anchorPartitions=4", "set serviceMonitor.enabled"),
    ("networkPolicy.metrics.from=null", "'/networkPolicy/metrics': missing property 'from'"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "said"), REFUSED, ids=[given for given, _ in REFUSED])
def test_bad_values_are_refused(given: str, said: str) -> None:
    """With one line that names the value and what it may be."""
    done = template("--set", given)
    assert done.returncode != 0
    assert said in complaint(done)


def test_every_secret_of_the_worker_is_refused_as_a_value() -> None:
    """The chart's list of secrets is the worker's own."""
    text = (CHART / "templates" / "_refuse.tpl").read_text(encoding="utf-8")
    listed = re.search(r'define "fusion-worker.secretKeys" -}}\n(.*)\n', text)
    assert listed is not None
    assert set(listed[1].split()) == policies.SECRET_KEYS


def test_a_missing_helm_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Helm is neither installed nor can be built, one line says what to install."""
    monkeypatch.setattr(helm, "CACHE", tmp_path)
    monkeypatch.setattr(helm, "_go_from_a_package", lambda: None)
    monkeypatch.setattr(helm.shutil, "which", lambda *_, **__: None)
    with pytest.raises(FileNotFoundError, match=r"^helm is missing and could not be built; install it: go"):
        helm.find()


def test_names_belong_to_the_release() -> None:
    """Two releases in one namespace do not meet: every name begins with the release's."""
    assert {one["metadata"]["name"].startswith(f"{helm.RELEASE}-") for one in objects("monitoring")} == {True}
    assert NAMESPACE in of_kind(objects("keda"), "ScaledObject")[0]["spec"]["triggers"][0]["metadata"]["query"]


@pytest.mark.parametrize("case", ["keda", "large", "whole"])
def test_the_scaling_rule_asks_for_metrics_that_workers_tell(case: str) -> None:
    """Both are in the table of metrics, and they are chosen by the labels that the ServiceMonitor gives."""
    (scaled,) = of_kind(objects(case), "ScaledObject")
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    names = set(re.findall(r"fusion_(\w+){", query))
    assert names == {"work_done_seconds_total", "work_left_seconds"} <= set(METRICS)
    (service,) = of_kind(objects(case), "Service")
    assert query.count(f'{{namespace="{NAMESPACE}",service="{service["metadata"]["name"]}"}}') == 2
    given = values(case)["scaling"]
    assert scaled["spec"]["maxReplicaCount"] == given.get("maxReplicas", given["anchorPartitions"])


def test_the_scaling_rule_is_promql(tmp_path: Path) -> None:
    """promtool reads the query as a rule's."""
    (scaled,) = of_kind(objects("keda"), "ScaledObject")
    rule = {"record": "workers", "expr": scaled["spec"]["triggers"][0]["metadata"]["query"]}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "a", "rules": [rule]}]}), encoding="utf-8")
    command = [str(prometheus_tools.find("promtool")), "check", "rules", "rules.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
