"""What further heads say, further on: rules, Home Assistant, `explain`, metrics and the gate of `export`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from jinja2 import Template

from tests.unit.served import aligned, event
from worker.errors import Fatal
from worker.explain.tell import head_lines
from worker.exporting.gate import refuse_a_fall_of_heads
from worker.model.heads import Head
from worker.records import Verdict
from worker.rules.judge import Rules, Written
from worker.sinks.home_assistant import Topics, discovery, head_names, state
from worker.stages.words import sentences
from worker.training.head_measures import HeadMeasured, of_verdicts

HEADS: dict[str, Any] = {
    "alarms": {"labels": ["smoke"], "scores": {"smoke": 0.9, "water": 0.1}},
    "room": {"label": "loft", "score": 0.8, "scores": {"bath": 0.2, "loft": 0.8}},
    "setpoint": {"number": 21.5, "low": 20.1, "high": 22.7, "unit": "C"},
}
VERDICT = Verdict("calm", 0.9, {"calm": 0.9, "urgent": 0.1}, heads=HEADS)


@pytest.mark.parametrize(
    ("when", "label"),
    [
        ('heads["setpoint"]["number"] > 21 and "smoke" in heads["alarms"]["labels"]', "urgent"),
        ('heads["alarms"]["scores"]["water"] > 0.5', "calm"),
        ('heads["room"]["label"] == "loft"', "urgent"),
        ('heads["cellar"]["label"] == "loft"', "calm"),
    ],
)
def test_a_rule_asks_what_heads_say(when: str, label: str) -> None:
    """By their names; of one that there is not the rule has failed, and the verdict stays."""
    failed: list[str] = []
    rules = Rules([Written("r", when, "urgent", "so")], {"texts": "text"}, lambda name, why: failed.append(why))
    assert rules.ruled(aligned(event("texts", "a")), VERDICT).label == label
    assert bool(failed) == ("cellar" in when)


def test_home_assistant_has_a_sensor_for_each_head() -> None:
    """A set-point with its unit as Home Assistant spells it; what a name may not be is left out."""
    result = {"key": "k", "time": "t", "label": "calm", "heads": {**HEADS, "a']b": HEADS["room"]}}
    told = discovery(result, Topics("fusion", "homeassistant"), 0)["components"]
    assert {name for name in told if name.startswith("head_")} == {"head_alarms", "head_room", "head_setpoint"}
    assert head_names(result) == {"alarms", "room", "setpoint"}
    setpoint = told["head_setpoint"]
    assert (setpoint["unit_of_measurement"], setpoint["state_class"]) == ("°C", "measurement")
    shown = {name: Template(one["value_template"]).render(value_json=state(result)) for name, one in told.items()}
    assert (shown["head_setpoint"], shown["head_alarms"], shown["head_room"]) == ("21.5", "smoke", "loft")
    nothing = state({**result, "heads": {"alarms": {"labels": [], "scores": {}}}})
    assert nothing["head_alarms"] == "none"
    assert not head_names({"key": "k", "time": "t", "label": "shed"})


def test_explain_tells_heads_in_lines() -> None:
    """What each says, and what each input adds to it; nothing of a model without any."""
    added = {
        "alarms": {"smoke": {"base": 0.4, "adds": {"notes": 0.5, "climate": 0.0}}},
        "setpoint": {"number": {"base": 20.0, "adds": {"notes": -0.5, "climate": 2.0}}},
    }
    assert list(head_lines(replace(VERDICT, evidence={"heads": added}))) == [
        "alarms: smoke 0.90",
        "  smoke: without any input 0.4; notes +0.5, climate +0",
        "room: loft 0.80",
        "setpoint: 21.5 C (20.1 to 22.7)",
        "  without any input 20 C; notes -0.5, climate +2",
    ]
    assert list(head_lines(replace(VERDICT, heads=None))) == []


def test_heads_are_told_in_words() -> None:
    """In the evidence's text and on a worker's page, in both languages."""
    result = {"heads": {**HEADS, "leaks": {"labels": [], "scores": {"x": 0.1}}}, "missing": {}, "complete": True}
    assert sentences(result, None, "en") == [
        "alarms: smoke (0.90).",
        "room is loft (0.80).",
        "setpoint is 21.5 C, between 20.1 and 22.7.",
        "leaks: none.",
    ]
    assert sentences(result, None, "zh")[2] == "setpoint为21.5 C，介于20.1与22.7之间。"


def number(off: float, band: float) -> HeadMeasured:
    """A set-point that is told so far from the truth, with a band of this half width."""
    truth = np.linspace(10, 30, 200)
    told = truth + off * np.where(np.arange(200) % 2, 1, -1)
    return HeadMeasured(Head("setpoint", "number"), np.stack([told, told - band, told + band], 1), truth[:, None])


def alarms(wrong: int) -> HeadMeasured:
    """Two labels, the first told wrong on so many."""
    truth = np.stack([np.arange(200) % 2, np.ones(200)], axis=1)
    told = truth.copy()
    told[:wrong, 0] = 1 - told[:wrong, 0]
    return HeadMeasured(Head("alarms", "labels", ("smoke", "water")), told, truth)


def test_the_gate_looks_at_each_head() -> None:
    """What surely does worse in one figure of one head under one pattern is refused by its name; a little is let in."""
    before = {"all": [number(1, 2), alarms(2)], "notes only": [number(1, 2), alarms(2)]}
    refuse_a_fall_of_heads("int8", "dev", before, before, 0.005)
    refuse_a_fall_of_heads("int8", "dev", before, {**before, "all": [number(1.05, 2), alarms(3)]}, 0.005)
    for heads, said in (
        ([number(4, 5), alarms(2)], r"--to int8: R2 of setpoint falls from 0.9703 to 0.5248 on dev \(notes only\)"),
        ([number(1, 0.5), alarms(2)], r"share in band of setpoint falls from 1.0000 to 0.0000 on dev \(notes only\)"),
        ([number(1, 2), alarms(30)], r"exact share of alarms falls from 0.9900 to 0.8500 on dev \(notes only\)"),
    ):
        with pytest.raises(Fatal, match=said):
            refuse_a_fall_of_heads("int8", "dev", before, {**before, "notes only": heads}, 0.005)


def test_what_was_published_is_measured_by_its_names() -> None:
    """Whatever the order of labels; rows that do not tell a head's truth do not count for it."""
    from worker.model.config import FusionConfig

    told = [
        {"name": "room", "kind": "label", "labels": ["bath", "loft"]},
        {"name": "setpoint", "kind": "number", "mean": 20.0, "std": 2.0},
    ]
    config = FusionConfig(inputs=["text"], heads=told)
    targets = np.array([[1.0, 0.5], [0.0, np.nan]])
    room, setpoint = of_verdicts(config, [VERDICT, VERDICT], targets)
    assert room.told.tolist() == [[0.2, 0.8], [0.2, 0.8]]
    assert room.exact == 0.5
    assert setpoint.told.tolist() == [[21.5, 20.1, 22.7]]
    assert setpoint.truth.tolist() == [[21.0]]
