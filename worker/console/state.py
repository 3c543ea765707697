"""Between and the last Totals -> what a page tells of the worker: rates, lag, waits, and how each stream is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.console.totals import Between, Totals

# A stream of which so many results in a hundred have nothing is worth a look.
FEW_SHARE = 0.05
# Seconds: a clock that is off by as much as people notice; smaller offsets are a camera's own delay.
OFF_SECONDS = 1.0
# Records that a worker is behind before that is more than what a poll brings.
BEHIND_RECORDS = 1_000


@dataclass(frozen=True, slots=True)
class StreamOf:
    """A configured stream, as far as a page tells it."""

    name: str
    topic: str
    modality: str
    role: str


def model(now: Totals) -> str:
    """The model in use, its version and where it runs; empty before one is loaded."""
    told = next((labels for labels, value in now.found("model_info") if value), None)
    return "" if told is None else f"{told['name']} {told['version']}, {told['device']} {told['precision']}"


def figures(seen: Between) -> dict[str, Any]:
    """The numbers at the top; None where there is nothing to tell yet. Rates are a second's, times in seconds."""
    now = seen.last
    lag = now.sum("consumer_lag_records")
    return {
        "results": now.sum("results_total"),
        "results_rate": seen.rate("results_total"),
        "dead": now.sum("dead_letters_total"),
        "dead_grown": seen.grown("dead_letters_total"),
        "pending": now.sum("pending_anchors"),
        "oldest": now.sum("oldest_pending_seconds"),
        "lag": lag,
        "behind": lag > BEHIND_RECORDS,
        "work_left": now.sum("work_left_seconds"),
        "end_to_end": _both(seen, "end_to_end_seconds"),
        "wait": _both(seen, "alignment_wait_seconds"),
        "cpu": seen.rate("process_cpu_seconds_total"),
        "memory": now.sum("process_resident_memory_bytes"),
        "window": seen.seconds,
    }


def _both(seen: Between, name: str) -> list[float | None]:
    """p50 and p95."""
    return [seen.quantile(share, name) for share in (0.5, 0.95)]


def streams(seen: Between, configured: Sequence[StreamOf]) -> list[dict[str, Any]]:
    """How each is, in numbers and in words."""
    made = seen.grown("inputs_present_total")
    return [_stream(seen, one, made) for one in configured]


def _stream(seen: Between, one: StreamOf, made: float) -> dict[str, Any]:
    now = seen.last
    offsets = [(labels["source"], value) for labels, value in now.found("source_offset_seconds", stream=one.name)]
    told = {
        "name": one.name,
        "topic": one.topic,
        "modality": one.modality,
        "role": one.role,
        "events": now.sum("events_total", stream=one.name),
        "rate": seen.rate("events_total", stream=one.name),
        "rejected": seen.grown("events_total", stream=one.name, outcome="rejected"),
        "late": seen.grown("late_events_total", stream=one.name),
        "lag": now.sum("consumer_lag_records", topic=one.topic),
        "wait": seen.quantile(0.95, "alignment_wait_seconds", stream=one.name),
        "present": _present(seen, one.name) / made if made and one.role == "context" else None,
        "offset": max(offsets, key=lambda found: abs(found[1]), default=None),
    }
    return {**told, "troubles": _troubles(told, seen.seconds)}


def _present(seen: Between, name: str) -> float:
    """Of the results in between, those that have the stream."""
    return sum(
        seen.grown("inputs_present_total", pattern=labels["pattern"])
        for labels, _ in seen.last.found("inputs_present_total")
        if name in labels["pattern"].split("+")
    )


def _troubles(told: Mapping[str, Any], seconds: float) -> list[str]:
    """What is worth a look, a sentence each; nothing: all is well."""
    found = []
    if told["lag"] > BEHIND_RECORDS:
        found.append(f"{told['lag']:,.0f} records behind")
    elif not told["events"]:
        found.append("nothing has come yet")
    elif told["rate"] == 0:
        found.append(f"nothing came for {seconds:.0f} s")
    if told["rejected"]:
        found.append(f"{told['rejected']:,.0f} refused")
    if told["late"]:
        found.append(f"{told['late']:,.0f} late")
    if told["present"] is not None and 1 - told["present"] > FEW_SHARE:
        found.append(f"missing in {1 - told['present']:.0%} of results")
    if told["offset"] and abs(told["offset"][1]) > OFF_SECONDS:
        found.append(f"{told['offset'][0]} is {told['offset'][1]:+.1f} s off")
    return found


def first_steps(seen: Between, configured: Sequence[StreamOf], reasons: Sequence[str]) -> list[list[str]]:
    """What to do while there is no verdict: sentences, each with a command or an empty text."""
    anchor = next(one for one in configured if one.role == "anchor")
    if reasons:
        return [["The worker is not ready yet; the reason stands at the top.", "fusion-worker check --config FILE"]]
    if seen.last.sum("events_total", stream=anchor.name):
        return [["Anchors have come. Each waits for its context, at most max_wait; its verdict is shown here.", ""]]
    come = [one.name for one in configured if seen.last.sum("events_total", stream=one.name)]
    if come:
        told = f"{' and '.join(come)} came, but no event of the anchor stream {anchor.name!r} (topic {anchor.topic})."
        return [[told, "fusion-worker feed --config FILE"]]
    return [
        ["Nothing has come yet. See that the topics are there:", "fusion-worker topics --config FILE"],
        ["Then send something. A simulated junction, to try it:", "fusion-worker feed --config FILE"],
        ["Or a camera of your own (docs/feeds.md):", "fusion-worker feed --config FILE video KEY=rtsp://…"],
        [f"Whatever writes to topic {anchor.topic} gets a verdict an event.", ""],
    ]
