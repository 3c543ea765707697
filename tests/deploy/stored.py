"""The stored renderings: `python -m tests.deploy.stored` writes them anew, to be read in the diff.

What the chart takes from deploy/prometheus and deploy/grafana stands in them by its name alone: a change of an alert
is no change of the chart.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.helm import ROOT, cases, documents, rendered

FOLDER = Path(__file__).parent / "rendered"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"


def is_dashboards(document: dict[str, Any]) -> bool:
    """Whether this is the ConfigMap of the dashboards."""
    return document["kind"] == "ConfigMap" and document["metadata"]["name"].endswith("-dashboards")


def shortened(document: dict[str, Any]) -> dict[str, Any]:
    """The object with the name of a file in place of what is in it."""
    document = copy.deepcopy(document)
    if document["kind"] == "PrometheusRule":
        document["spec"] = f"as {ALERTS.relative_to(ROOT)}"
    if is_dashboards(document):
        document["data"] = f"as {DASHBOARDS.relative_to(ROOT)}"
    return document


class _Blocks(yaml.SafeDumper):
    """Text of several lines as it is read."""


_Blocks.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def written(case: str) -> str:
    """A rendering as it is stored."""
    short = [shortened(one) for one in documents(rendered(case))]
    return yaml.dump_all(short, Dumper=_Blocks, sort_keys=False, width=120)


def path_of(case: str) -> Path:
    """Where a rendering is stored."""
    return FOLDER / f"{case}.yaml"


if __name__ == "__main__":
    for old in FOLDER.glob("*.yaml"):
        old.unlink()
    for name in cases():
        path_of(name).write_text(written(name), encoding="utf-8")
        print(path_of(name).relative_to(ROOT))
