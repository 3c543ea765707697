"""deploy/prometheus/alerts.yml -> the same rules with shorter times, so that a real fault need not last for minutes.

One transformation, and no second copy: every `for` and every range in brackets is divided by the same number; a range
is five scrapes at least, of which a rate needs two. Thresholds, also those in seconds, stay as they are.
"""

from __future__ import annotations

import copy
import re
from typing import Any

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LEAST_RANGE_SECONDS = 5.0


def scaled(rules: dict[str, Any], by: float) -> dict[str, Any]:
    """The content of a rule file with its times divided by `by`."""
    made = copy.deepcopy(rules)
    for group in made["groups"]:
        for rule in group["rules"]:
            rule["expr"] = re.sub(
                r"\[(\d+)([smhd])", lambda found: f"[{_told(max(LEAST_RANGE_SECONDS, _of(found) / by))}", rule["expr"]
            )
            if "for" in rule:
                rule["for"] = re.sub(r"(\d+)([smhd])", lambda found: _told(_of(found) / by), rule["for"])
    return made


def _of(found: re.Match[str]) -> float:
    return int(found[1]) * _SECONDS[found[2]]


def _told(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
