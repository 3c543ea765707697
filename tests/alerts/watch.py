"""Workers of a town under a real Prometheus with the scaled rules: which alert fires how long after what was done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from tests.alerts.scaled import scaled
from tests.chaos.ground import Ground
from tests.prometheus_tools import RULES, Prometheus, serve
from tests.town import Town, town

# An hour of the rules is a minute here.
SCALE = 60
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Fired:
    """One alert that fired.

    Attributes:
        after_seconds: from the fault to the alert, in scaled time.
        beside: what else fired at that moment.
        ended_seconds: from the remedy to its end; None: not waited for.
    """

    alert: str
    fault: str
    after_seconds: float
    summary: str
    beside: tuple[str, ...]
    remedy: str = ""
    ended_seconds: float | None = None


@dataclass
class Watch:
    """Looks at one town's workers."""

    made: Town
    server: Prometheus
    fired: list[Fired] = field(default_factory=list)
    _targets: dict[int, int] = field(default_factory=dict)
    _sinks: list[str] = field(default_factory=list)
    _told: str = ""
    _since: float = 0.0

    def sees(self, workers: int) -> None:
        """Waits until the living workers, so many, are scraped and ready; those that have ended stay known."""
        self.until(lambda: len(self.made.ports()) == workers, f"{workers} ports")
        self._targets |= self.made.ports()
        self._scrape()
        self.until(lambda: len(self.server.query("up == 1")) == workers, f"{workers} workers scraped")
        self.until(lambda: all("ready" in said for said in self.made.ask("readyz").values()), "ready")

    def forget(self) -> None:
        """Those that have ended are no longer known, as a discovery lets go of them."""
        self._targets = dict(self.made.ports())
        self._scrape()

    def sees_sink(self, port: int) -> None:
        """Waits until this sink delivers; those that have ended stay known."""
        self._sinks.append(f"127.0.0.1:{port}")
        self._scrape()
        delivers = f'fusion_sink_delivered_total{{instance="{self._sinks[-1]}"}} > 0'
        self.until(lambda: self.server.query(delivers), "a sink that delivers")

    def _scrape(self) -> None:
        self.server.watch([f"127.0.0.1:{port}" for port in self._targets.values()], self._sinks)

    def firing(self) -> dict[str, str]:
        """The alerts that fire now, each with a summary."""
        return {
            one["labels"]["alertname"]: one["annotations"]["summary"]
            for one in self.server.get("alerts")["alerts"]
            if one["state"] == "firing"
        }

    def until(
        self, done: Callable[[], Any], what: str, busy: Callable[[], None] | None = None, seconds: float = 0.0
    ) -> None:
        """Reads the town's results, and does what `busy` does, until it is so.

        Raises:
            AssertionError: it is not in time; with what fires, and the end of the workers' log.
        """
        deadline = time.monotonic() + (seconds or PATIENCE_SECONDS)
        while not done():
            assert time.monotonic() < deadline, f"{what}: not in time; {self.firing()}\n{self.made.log()}"
            if busy is not None:
                busy()
            self.made.read(0.1)

    def strike(self, fault: str, *silent: str) -> None:
        """From now on the fault lasts; the alerts that it is to cause must not fire before it."""
        assert not self.firing().keys() & set(silent), self.firing()
        self._told, self._since = fault, time.monotonic()

    def fires(self, *alerts: str, busy: Callable[[], None] | None = None) -> None:
        """Waits until each of them has fired."""
        left = set(alerts)

        def all_of_them() -> bool:
            firing = self.firing()
            for name in left & firing.keys():
                beside = tuple(sorted(firing.keys() - {name}))
                after = time.monotonic() - self._since
                self.fired.append(Fired(name, self._told, after, firing[name], beside))
                left.discard(name)
            return not left

        self.until(all_of_them, f"{self._told}: {', '.join(alerts)}", busy)

    def mend(self, remedy: str) -> None:
        """From now on it is mended."""
        self._told, self._since = remedy, time.monotonic()

    def ends(self, *alerts: str, busy: Callable[[], None] | None = None) -> None:
        """Waits until none of them fires any more."""
        for name in alerts:
            self.until(lambda: name not in self.firing(), f"{self._told}: end of {name}", busy)  # noqa: B023
            seconds = time.monotonic() - self._since
            place = next(n for n, one in enumerate(self.fired) if one.alert == name)
            self.fired[place] = replace(self.fired[place], remedy=self._told, ended_seconds=seconds)


@contextlib.contextmanager
def watched(ground: Ground, folder: Path, partitions: dict[str, int] | None = None, **settings: Any) -> Iterator[Watch]:
    """A town and who watches it; no worker is started yet."""
    rules = yaml.safe_load((RULES / "alerts.yml").read_text(encoding="utf-8"))
    (folder / "scaled.yml").write_text(yaml.safe_dump(scaled(rules, SCALE)), encoding="utf-8")
    settings.setdefault("nursery", ground.nursery)
    with town(ground, folder, partitions, **settings) as made, serve(folder, (), folder / "scaled.yml") as server:
        yield Watch(made, server)
