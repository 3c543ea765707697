"""Traced and Verdict -> lines for a person: the match and why, the verdict, and the chain that led to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from worker.explain.trace import Traced
from worker.records import Candidate, Event, MatchRule, Verdict
from worker.stages.publish import rfc3339
from worker.stages.rule import Choice

# Of a text or a reading this much is shown.
_SHOWN_CHARACTERS = 200
MOST_NEIGHBOURS = 3


def anchor_lines(anchor: Event) -> Iterator[str]:
    """What the anchor is."""
    at = rfc3339(anchor.time_us)
    yield f"anchor {anchor.record.place}: {anchor.stream} {anchor.id!r} of key {anchor.key!r} at {at}"
    if not anchor.content_type.startswith(("image/", "audio/")):
        yield f"  {anchor.payload.decode(errors='replace')[:_SHOWN_CHARACTERS]!r}"


def match_lines(name: str, rule: MatchRule, traced: Traced) -> Iterator[str]:
    """One context stream: what is matched, what else there was, and why nothing is."""
    choice, log, anchor = traced.choices[name], traced.logs[name], traced.anchor
    bounds = f"{milliseconds(rule.before_us)} before" + (
        "" if rule.mode == "latest" else f" to {milliseconds(rule.after_us)} after"
    )
    yield f"{name}: {rule.mode}, {bounds} the anchor"
    refused = f", {log.refused} refused by validation" if log.refused else ""
    yield f"  {log.read} records read, {choice.known} of this key{refused}; in bounds {len(choice.inside)}"
    for candidate in choice.chosen:
        event = log.events[candidate]
        yield f"  matched {event.record.place}: {event.id!r}, {distance(candidate.time_us - anchor.time_us)}"
    for candidate in _neighbours(choice, log.events, anchor.time_us):
        inside = "in bounds" if candidate in choice.inside else "out of bounds"
        yield f"  not chosen: {candidate.id!r}, {distance(candidate.time_us - anchor.time_us)}, {inside}"
    if choice.missing is not None:
        yield f"  nothing is matched: {choice.missing}" + (" (required: a dead letter)" if rule.required else "")
    yield "  " + (_COMPLETE if choice.complete else f"{_OPEN} {milliseconds(rule.max_wait_us)}")


_COMPLETE = "complete: no later event that is on time could change this"
_OPEN = "open: a later event could have changed this, so the worker waited for max_wait ="


def _neighbours(choice: Choice, events: Mapping[Candidate, Event], anchor_us: int) -> list[Candidate]:
    others = [one for one in events if one not in choice.chosen]
    return sorted(others, key=lambda one: (abs(one.time_us - anchor_us), one.time_us, one.id))[:MOST_NEIGHBOURS]


def verdict_lines(verdict: Verdict) -> Iterator[str]:
    """The verdict and the chain: alone, together, without, what each adds, what would flip it."""
    told = verdict.evidence or {}
    yield f"verdict: {verdict.label} {verdict.score:.2f}"
    ranked = sorted(verdict.scores.items(), key=lambda one: -one[1])
    yield "  scores: " + ", ".join(f"{label} {score:.2f}" for label, score in ranked)
    for name, said in told.get("alone", {}).items():
        yield f"  {name} alone: {_said(said)}"
    for name, said in told.get("without", {}).items():
        yield f"  without {name}: {_said(said)}"
    if len(told.get("alone", {})) > 1:
        yield f"  the inputs {'agree' if told['agree'] else 'do not agree'}"
        yield "  " + (f"it would be another without: {', '.join(told['flips'])}" if told["flips"] else _STAYS)
    for name, places in told.get("places", {}).items():
        yield f"  {name} adds {told['adds'][name]:+.2f}; most weight lies on " + (
            ", ".join(map(_place, places)) or "nothing"
        )
    if told:
        if told["undecided"]:
            yield f"  left open: {', '.join(told['undecided'])}"
        yield f"  without any input {told['base']:.2f}"
        yield f"  confidence {told['confidence']:.2f}, {told['margin']:.2f} above the next label"


def head_lines(verdict: Verdict) -> Iterator[str]:
    """What each further head says, and what each input adds to it."""
    added = (verdict.evidence or {}).get("heads", {})
    for name, said in (verdict.heads or {}).items():
        yield f"{name}: {head_said(said)}"
        for what, one in added.get(name, {}).items():
            unit = f" {said['unit']}" if "unit" in said else ""
            each = ", ".join(f"{stream} {value:+.4g}" for stream, value in one["adds"].items())
            before = "" if what == "number" else f"{what}: "
            yield f"  {before}without any input {one['base']:.4g}{unit}; {each}"


def head_said(said: Mapping[str, Any]) -> str:
    """In a few words, such as `21.4 C (20.1 to 22.7)`."""
    if "number" in said:
        unit = f" {said['unit']}" if "unit" in said else ""
        return f"{said['number']:g}{unit} ({said['low']:g} to {said['high']:g})"
    if "label" in said:
        return f"{said['label']} {said['score']:.2f}"
    return ", ".join(f"{label} {said['scores'][label]:.2f}" for label in said["labels"]) or "none"


def rule_lines(verdict: Verdict) -> Iterator[str]:
    """Which rule spoke, and what it says."""
    if rule := verdict.rule:
        yield f"rule {rule['name']}: {rule['then']} ({rule['reason']})"


_STAYS = "it stays the same without any one of them"


def _said(said: Mapping[str, Any]) -> str:
    return f"{said['label']} {said['score']:.2f}"


def _place(place: Mapping[str, Any]) -> str:
    if place.get("token") is not None:
        what = repr(place["token"])
    elif place.get("row") is not None:
        what = f"cell {place['row'] + 1}/{place['column'] + 1} of 7x7"
    else:
        what = f"step {place['step'] + 1}"
    return f"{what} {place['weight']:.1%}"


def milliseconds(us: int) -> str:
    """A duration in milliseconds, with what is finer only where there is any."""
    return f"{us / 1000:g} ms"


def distance(delta_us: int) -> str:
    """Event time less the anchor's, in words."""
    if not delta_us:
        return "at the same time"
    return f"{milliseconds(abs(delta_us))} {'later' if delta_us > 0 else 'earlier'}"
