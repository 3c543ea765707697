"""What docs/kubernetes.md tells a newcomer to write renders, is valid, and is a configuration that the worker takes."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from tests.deploy import policies, validity
from tests.deploy.helm import ROOT, complaint, documents, template
from tests.deploy.objects import of_kind, worker
from worker.settings import load

PAGE = ROOT / "docs" / "kubernetes.md"
pytestmark = pytest.mark.timeout(1200)


def test_the_page_s_values_make_a_worker(tmp_path: Path) -> None:
    """The values of the page, and with them those of its line on scaling."""
    text = PAGE.read_text(encoding="utf-8")
    written = re.search(r"<<'YAML'\n(.*?)\n    YAML\n", text, re.DOTALL)
    scaling = re.search(r"^    (scaling: {.*?})", text, re.MULTILINE)
    assert written is not None
    assert scaling is not None
    values = textwrap.dedent(written[1]).replace("REGISTRY", "registry.example.com")
    (tmp_path / "values.yaml").write_text(values, encoding="utf-8")
    (tmp_path / "scaling.yaml").write_text(f"{scaling[1]}\nserviceMonitor: {{enabled: true}}\n", encoding="utf-8")
    for more in ((), ("--values", str(tmp_path / "scaling.yaml"))):
        done = template("--values", str(tmp_path / "values.yaml"), *more)
        assert done.returncode == 0, complaint(done)
        found = documents(done.stdout)
        assert validity.faults(found) == []
        assert [fault for policy in policies.POLICIES for fault in policy(found)] == []
    (config,) = of_kind(found, "ConfigMap")
    (tmp_path / "fusion.toml").write_text(config["data"]["fusion.toml"], encoding="utf-8")
    (tmp_path / "kafka-password").write_text("s3cret", encoding="utf-8")
    environment = {one["name"]: one["value"] for one in worker(found)["env"]}
    environment["FUSION__KAFKA__SASL_PLAIN_PASSWORD_FILE"] = str(tmp_path / "kafka-password")
    settings = load(tmp_path / "fusion.toml", [], environment).settings
    assert set(settings.streams) == {"reports", "cameras"}
    assert settings.kafka.sasl_plain_password == "s3cret"
