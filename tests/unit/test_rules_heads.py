"""Rules that ask further heads: which there are, of what kind, and with which labels."""

from __future__ import annotations

import pytest

from tests.unit.test_rules_beside import LABELS, MODEL, Head, Model, rules
from worker.errors import ConfigError

HEADS = Model(
    LABELS, (Head("alarms", ("smoke", "water"), "labels"), Head("room", ("loft",)), Head("setpoint", (), "number"))
)


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ('heads["setpiont"]["number"] > 25', "the model has no head 'setpiont'; its heads are alarms, room, setpoint"),
        ('score < 1 and (heads&["rooms"] == null)', "the model has no head 'rooms'; its heads"),
        ('"alarm" in heads', "the model has no head 'alarm'; its heads"),
        ('not ("alarm" in heads.keys)', "the model has no head 'alarm'; its heads"),
        (
            '"smok" in heads["alarms"]["labels"]',
            "head 'alarms' of kind labels has no label 'smok'; its labels are smoke, water",
        ),
        (
            'heads["room"]["label"] in ["loft", "lotf"]',
            "head 'room' of kind label has no label 'lotf'; its labels are loft",
        ),
        (
            'heads["alarms"]["scores"]["fire"] > 0.5',
            "head 'alarms' of kind labels has no label 'fire'; its labels are smoke, water",
        ),
        ('heads["setpoint"]["label"] == "loft"', "head 'setpoint' of kind number has no 'label'; its parts are number"),
        (
            'heads["room"]["number"] > 25',
            "head 'room' of kind label has no 'number'; its parts are label, score, scores",
        ),
        (
            'heads["alarms"]&["label"] == "x"',
            "head 'alarms' of kind labels has no 'label'; its parts are labels, scores",
        ),
        ('heads["room"] == "loft"', "head 'room' of kind label has no 'loft'; its parts are label, score, scores"),
    ],
)
def test_a_head_that_the_model_has_not(when: str, why: str) -> None:
    """Which there are, and of one that there is which labels."""
    made = rules("true", when)
    with pytest.raises(ConfigError) as told:
        made.ensure_told(HEADS)
    assert str(told.value).startswith(f"rule 2 'r2': when: {why}")
    with pytest.raises(ConfigError, match=r"rule [12] .*; it has no heads"):
        made.ensure_told(MODEL)


def test_heads_that_the_model_has() -> None:
    """Each with its labels, a part of a label's word, and a name that is found out on the item."""
    asked = '"smoke" in heads["alarms"]["labels"] or heads["alarms"]["scores"]["water"] > 0.5'
    more = 'heads["setpoint"]["number"] > 25 or "lo" in heads["room"]["label"] or heads[key]["number"] > 1'
    rules(asked, more).ensure_told(HEADS)
