"""Every alert is fired once by its real fault, on a real Prometheus that scrapes real workers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.alerts import faults
from tests.alerts.faults import FAULTS
from tests.alerts.scaled import scaled
from tests.alerts.watch import Fired
from tests.chaos.ground import Ground
from tests.prometheus_tools import RULES

RULE_FILE = yaml.safe_load((RULES / "alerts.yml").read_text(encoding="utf-8"))
NAMES = [rule["alert"] for group in RULE_FILE["groups"] for rule in group["rules"]]


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.__name__))
def test_its_fault_fires_it(ground: Ground, tmp_path: Path, fault: Callable[[Ground, Path], list[Fired]]) -> None:
    """Silent before, firing after the fault, and over after the remedy where there is one."""
    assert fault(ground, tmp_path)


def test_every_alert_has_its_fault() -> None:
    """No alert is left out of the faults."""
    text = Path(str(faults.__file__)).read_text(encoding="utf-8")
    assert sorted(NAMES) == sorted(set(re.findall(r'"(Fusion\w+)"', text)))


def test_scaling_changes_times_alone() -> None:
    """Ranges and `for` are divided, a range to five scrapes at least; nothing else of a rule changes."""
    made = scaled(RULE_FILE, 60)
    for before, after in zip(RULE_FILE["groups"][0]["rules"], made["groups"][0]["rules"], strict=True):
        assert {name: one for name, one in after.items() if name not in ("expr", "for")} == {
            name: one for name, one in before.items() if name not in ("expr", "for")
        }
        no_times = re.compile(r"\[[^\]]+\]")
        assert no_times.sub("[]", after["expr"]) == no_times.sub("[]", before["expr"])
    by_name = {rule["alert"]: rule for rule in made["groups"][0]["rules"]}
    assert by_name["FusionReviewShare"]["for"] == "15000ms"
    assert by_name["FusionReviewShare"]["expr"].count("[60000ms]") == 3
    assert "[5000ms]" in by_name["FusionStuck"]["expr"]
