"""Settings -> the rules beside the model; nothing is made, and no library loaded, where there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from worker.config import Settings
from worker.ports import Log, Observer

if TYPE_CHECKING:
    from worker.rules.judge import Rules


def rules_beside(settings: Settings, failed: Callable[[str, str], object] = lambda *_: None) -> Rules | None:
    """The rules, parsed; None: there are none. `failed`: as Rules has it.

    Raises:
        ConfigError: one cannot be parsed, or names what no item tells.
    """
    if not settings.rules:
        return None
    from worker.rules.judge import Rules, Written

    written = [
        Written(name, rule.when, rule.then, rule.reason)
        for name, rule in zip(settings.rule_names, settings.rules, strict=True)
    ]
    return Rules(written, {name: stream.modality for name, stream in settings.streams.items()}, failed)


def tells(observer: Observer, log: Log) -> Callable[[str, str], None]:
    """Counts and logs a rule that an item could not be held against; the log leaves repetitions out."""

    def failed(rule: str, why: str) -> None:
        observer.count("rules_total", rule=rule, outcome="failed")
        log.warning("a rule was not applied", rule=rule, reason=why, action="the rules after it, else the model")

    return failed
