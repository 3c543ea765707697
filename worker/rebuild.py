"""A log that was read -> Aligned: what the worker matches, rebuilt by its rule without its store (CONTRACT section 5).

The events are read by the Validator that serves, and matched by `stages.rule`, which is held against the same oracle
as the functions in Redis. What no log tells is how long the worker waited: a result that `max_wait` ended, an event
that came late, or one that a bound had trimmed may have been matched otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from worker.errors import Poison
from worker.records import Aligned, Candidate, Event, MatchRule, Missing, Record
from worker.stages.rule import Choice, choose
from worker.stages.validate import Validator


@dataclass(slots=True)
class KeyLog:
    """The events of one key in one context stream.

    Attributes:
        read: records of the stream that were looked at, of any key.
        refused: records of the key that validation refuses.
    """

    events: dict[Candidate, Event] = field(default_factory=dict)
    read: int = 0
    refused: int = 0


def read_key(records: Iterable[Record], key: bytes | None, validator: Validator) -> KeyLog:
    """The valid events of one key; of the same event read twice the first stays."""
    log = KeyLog()
    for record in records:
        log.read += 1
        if record.key != key:
            continue
        try:
            event = validator.read(record)
        except Poison:
            log.refused += 1
        else:
            log.events.setdefault(Candidate(event.time_us, event.id), event)
    return log


def choices_of(
    anchor: Event, rules: Mapping[str, MatchRule], logs: Mapping[str, KeyLog]
) -> dict[str, Choice]:  # fmt: skip
    """Per context stream what is matched and why."""
    return {name: choose(rule, anchor.time_us, logs[name].events) for name, rule in rules.items()}


def aligned_of(anchor: Event, choices: Mapping[str, Choice], logs: Mapping[str, KeyLog]) -> Aligned:
    """The anchor with what was matched to it, as it goes to the model."""
    inputs: dict[str, tuple[Event, ...]] = {}
    missing: dict[str, Missing] = {}
    for name, choice in choices.items():
        if choice.missing is None:
            inputs[name] = tuple(logs[name].events[candidate] for candidate in choice.chosen)
        else:
            missing[name] = choice.missing
    return Aligned(anchor, inputs, missing, all(choice.complete for choice in choices.values()))
