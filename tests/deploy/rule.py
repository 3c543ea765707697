"""The rule of the chart's ScaledObject, evaluated as KEDA and Kubernetes' autoscaler do: metrics -> how many workers.

The numbers are read out of the rendered object; `rate` and `sum` are Prometheus', the rest is the algorithm of
autoscaling/v2 (tolerance, stabilisation, policies) for one metric with an AverageValue target of 1.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.deploy.objects import Document

# The autoscaler leaves the number alone while the metric is within a tenth of it.
TOLERANCE = 0.1
# What may be added in 15 s where no policy is given: as many as there are, and 4 at least.
UP_AT_ONCE = 4
_QUERY = re.compile(
    r"sum\(rate\(fusion_work_done_seconds_total{.*?}\[(?P<minutes>\d+)m\]\)\) / (?P<load>[\d.]+)"
    r" \+ sum\(fusion_work_left_seconds{.*?}\) / (?P<work>[\d.]+)"
)


@dataclass(frozen=True)
class Rule:
    """What the ScaledObject says; times in seconds."""

    least: int
    most: int
    load: float
    work_seconds: float
    window_seconds: float
    polling_seconds: float
    up_seconds: float
    down_seconds: float
    step_seconds: float

    @classmethod
    def of(cls, scaled: Document) -> Rule:
        """The rule of a rendered ScaledObject."""
        spec = scaled["spec"]
        (trigger,) = spec["triggers"]
        asked = _QUERY.fullmatch(trigger["metadata"]["query"])
        assert asked, trigger["metadata"]["query"]
        assert (trigger["metadata"]["threshold"], trigger["metricType"]) == ("1", "AverageValue")
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        (policy,) = behavior["scaleDown"]["policies"]
        assert (policy["type"], policy["value"]) == ("Pods", 1)
        return cls(
            spec["minReplicaCount"], spec["maxReplicaCount"], float(asked["load"]), float(asked["work"]),
            60.0 * int(asked["minutes"]), spec["pollingInterval"],
            behavior["scaleUp"]["stabilizationWindowSeconds"], behavior["scaleDown"]["stabilizationWindowSeconds"],
            policy["periodSeconds"],
        )  # fmt: skip

    def quicker(self, times: float) -> Rule:
        """The same rule where all times are so many times shorter."""
        names = [name for name in self.__dataclass_fields__ if name.endswith("_seconds")]
        return replace(self, **{name: getattr(self, name) / times for name in names})


@dataclass(frozen=True)
class Told:
    """The two metrics of one worker."""

    left: float
    done: float

    @classmethod
    def by(cls, page: str) -> Told | None:
        """As a page of metrics has them; None where it has not."""
        found = dict(re.findall(r"^fusion_work_(left_seconds|done_seconds_total) (\S+)$", page, re.MULTILINE))
        return cls(float(found["left_seconds"]), float(found["done_seconds_total"])) if len(found) == 2 else None


class Autoscaler:
    """Looks, and says how many workers there should be.

    Attributes:
        wanted: what the query gave last.
    """

    def __init__(self, rule: Rule, replicas: int) -> None:
        self.rule, self.replicas, self.wanted = rule, replicas, 0.0
        self._scraped: deque[tuple[float, Any]] = deque()
        self._asked: deque[tuple[float, Any]] = deque()
        self._stepped: deque[float] = deque()

    def look(self, now: float, workers: Mapping[str, Told]) -> int:
        """One turn: what was scraped just now, by instance -> the number of workers from now on."""
        rule = self.rule
        self._scraped.append((now, workers))
        _forget(self._scraped, now - rule.window_seconds)
        self.wanted = self._rate() / rule.load + sum(one.left for one in workers.values()) / rule.work_seconds
        self._asked.append((now, self._proposed()))
        _forget(self._asked, now - max(rule.up_seconds, rule.down_seconds))
        up = min(number for at, number in self._asked if at >= now - rule.up_seconds)
        down = max(number for at, number in self._asked if at >= now - rule.down_seconds)
        chosen = min(max(self.replicas, up), down)
        self.replicas = min(max(self._limited(now, chosen), rule.least), rule.most)
        return self.replicas

    def _rate(self) -> float:
        """sum(rate(...)): of each instance by its first and last scrape within the window."""
        found: dict[str, list[tuple[float, float]]] = {}
        for at, workers in self._scraped:
            for name, told in workers.items():
                found.setdefault(name, []).append((at, told.done))
        spans = ((one[0], one[-1]) for one in found.values() if len(one) > 1)
        return sum((last[1] - first[1]) / (last[0] - first[0]) for first, last in spans)

    def _proposed(self) -> int:
        if abs(self.wanted / self.replicas - 1) <= TOLERANCE:
            return self.replicas
        return math.ceil(self.wanted)

    def _limited(self, now: float, chosen: int) -> int:
        """No more at once than the policies allow."""
        while self._stepped and self._stepped[0] <= now - self.rule.step_seconds:
            self._stepped.popleft()
        if chosen < self.replicas:
            if self._stepped:
                return self.replicas
            self._stepped.append(now)
            return self.replicas - 1
        return min(chosen, self.replicas + max(UP_AT_ONCE, self.replicas))


def _forget(kept: deque[tuple[float, Any]], before: float) -> None:
    while kept and kept[0][0] < before:
        kept.popleft()
