"""TOPIC/PARTITION/OFFSET -> Traced: the anchor, what its context streams hold, and what is matched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from worker.broker.log import LogReader
from worker.errors import ConfigError, Fatal, Poison
from worker.rebuild import KeyLog, aligned_of, choices_of, read_key
from worker.records import Aligned, Event, MatchRule, Partition, Record
from worker.stages.rule import Choice
from worker.stages.validate import Validator


@dataclass(frozen=True, slots=True)
class Traced:
    """An anchor and its surroundings, from the log alone.

    Attributes:
        choices: per context stream what is matched and why.
        logs: per context stream the key's events that were read.
    """

    anchor: Event
    choices: Mapping[str, Choice]
    logs: Mapping[str, KeyLog]
    aligned: Aligned


def anchor_at(log: LogReader, validator: Validator, place: tuple[Partition, int], topic: str) -> Event:
    """The anchor event at a place; `topic` is the one that anchors are read from.

    Raises:
        ConfigError: no event is there; the message says what is.
        Fatal: the worker makes it a dead letter when it reads it.
    """
    partition, offset = place
    told = f"{partition.topic}/{partition.number}/{offset}"
    if partition.topic != topic:
        raise ConfigError(f"{told}: anchors are read from topic {topic!r}; name a record of that one")
    bounds = log.bounds(topic)
    if not bounds:
        raise ConfigError(f"{told}: no topic {topic!r} in this cluster; see streams.*.topic, kafka.bootstrap_servers")
    if partition not in bounds:
        raise ConfigError(f"{told}: topic {topic!r} has partitions 0 to {len(bounds) - 1}, not {partition.number}")
    first, end = bounds[partition]
    if offset < first:
        raise ConfigError(f"{told}: the log begins at offset {first}; retention has deleted what was before")
    if offset >= end:
        raise ConfigError(f"{told}: the log ends before offset {end}, of what is committed; name a smaller offset")
    record = log.record_at(partition, offset)
    if record is None:
        raise ConfigError(
            f"{told}: no event is there: the mark of a transaction's end, an aborted record, or compacted away; "
            "name a neighbouring offset"
        )
    return _valid(record, validator)


def _valid(record: Record, validator: Validator) -> Event:
    try:
        return validator.read(record)
    except Poison as poison:
        raise Fatal(
            f"{record.place}: has no verdict, it is a dead letter (stage {poison.stage}, {poison.reason}): {poison}"
        ) from poison


def trace(
    log: LogReader,
    validator: Validator,
    anchor: Event,
    rules: Mapping[str, MatchRule],
    topics: Mapping[str, str],
    slack_us: int,
) -> Traced:
    """Reads what the context streams hold around an anchor, and matches it.

    A record's own time and its event time may differ, and Kafka finds records by the former alone. What is read of
    every partition: from the earlier of the anchor's two times less `before` and `slack_us`, to the later of them plus
    `after`, `lateness` and `slack_us`, or to the end of the log. What was produced outside of that is not seen.

    Args:
        topics: per context stream its topic.
        slack_us: microseconds by which a context record may have been produced earlier or later than the anchor's.
    """
    own_us = anchor.record.timestamp_ms * 1000
    logs = {}
    for name, rule in rules.items():
        from_us = min(own_us, anchor.time_us) - rule.before_us - slack_us
        until_us = max(own_us, anchor.time_us) + rule.after_us + rule.lateness_us + slack_us
        records = log.between(topics[name], from_us // 1000, -(-until_us // 1000))
        logs[name] = read_key(records, anchor.record.key, validator)
    choices = choices_of(anchor, rules, logs)
    return Traced(anchor, choices, logs, aligned_of(anchor, choices, logs))
