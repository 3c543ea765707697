"""What is told of a rule: in the result, the review, the metrics, words and `explain`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.test_review import Counted, outcomes
from tests.unit.test_rules_beside import QUIET, item, rules
from worker.config import Settings
from worker.explain.command import _ruled
from worker.explain.tell import rule_lines
from worker.records import Verdict
from worker.serving import Rule
from worker.stages.batch import Fused
from worker.stages.review import Reviewer
from worker.stages.words import LANGUAGES, sentences


def outcome(then: str, verdict: Verdict = QUIET, reviewer: Reviewer | None = None) -> tuple[Any, Counted]:
    """What an anchor on which the rule holds leads to, and what is counted of it."""
    observer = Counted()
    made, queue = outcomes(reviewer, observer)
    made._rules = rules("true", then=then)
    made.fused([Fused(item(), verdict)])
    made.committed(queue.taken)
    return queue.taken[0], observer


def counted(observer: Counted, name: str) -> list[Mapping[str, str]]:
    """The labels of what was counted under that name."""
    return [labels for one, _, labels in observer.seen if one == name]


def test_the_result_tells_the_rule_and_is_counted() -> None:
    """Under the label that was published; as often as there are results."""
    made, observer = outcome("fire")
    body = json.loads(made.outgoing[0].value)
    assert (body["label"], body["rule"]["label"], body["rule"]["name"]) == ("fire", "quiet", "r1")
    assert counted(observer, "rules_total") == [{"rule": "r1", "outcome": "applied"}]
    assert [one["label"] for one in counted(observer, "results_total")] == ["fire"]


def test_a_result_that_is_too_large_is_no_rules() -> None:
    """It is a dead letter, and no rule decided it."""
    made, _ = outcome("fire")
    assert made.rule == "r1"
    assert outcomes(None)[0].smaller(made, [0], "too large").rule is None


def test_a_rule_sends_to_a_person() -> None:
    """First of the reasons; the label stays. One that gives a label asks nobody, and an unsure model is asked about."""
    reviewer = Reviewer("reviews", below=0.7, unfamiliar=0.02, several=False)
    made, observer = outcome("review", reviewer=reviewer)
    review = json.loads(made.outgoing[1].value)
    assert review["reasons"] == [{"reason": "rule", "value": 1, "limit": 1}]
    assert (review["result"]["label"], review["result"]["rule"]["then"]) == ("quiet", "review")
    assert counted(observer, "review_total") == [{"reason": "rule"}]
    sure, _ = outcome("fire", reviewer=reviewer)
    assert (len(sure.outgoing), sure.review) == (1, None)
    unsure, _ = outcome("quiet", replace(QUIET, label="fire", score=0.2), reviewer)
    assert unsure.review == "low_score"


@pytest.mark.parametrize(
    ("then", "language", "said"),
    [
        ("fire", "en", "The rule r1 makes it fire: because."),
        ("review", "en", "The rule r1 asks a person: because."),
        ("fire", "zh", "规则r1将结论定为fire：because。"),
        ("review", "zh", "规则r1要求人工复核：because。"),
    ],
)
def test_the_words_say_which_rule_spoke(then: str, language: str, said: str) -> None:
    """And what the model says by itself is not told as the verdict; without evidence too."""
    made, _ = outcome(then)
    result = json.loads(made.outgoing[0].value)
    evidence: dict[str, Any] = {
        "confidence": 0.8, "undecided": [], "alone": {}, "without": {}, "agree": True, "flips": [], "base": 0.5,
        "adds": {}, "places": {},
    }  # fmt: skip
    own, rule, *_ = sentences(result, evidence, language)
    assert rule == said
    assert own == LANGUAGES[language]["by_itself"].format(label="quiet", score=0.8)
    assert sentences(result, None, language)[0] == said


def test_explain_comes_to_the_same_verdict() -> None:
    """By the same rules, and says which spoke."""
    rule = Rule(name="low", when="score < 0.9", then="fire", reason="because.")
    ruled = _ruled(Settings(rules=(rule,)), item(), QUIET)
    assert (ruled.label, (ruled.rule or {})["label"]) == ("fire", "quiet")
    assert list(rule_lines(ruled)) == ["rule low: fire (because.)"]
    assert (_ruled(Settings(), item(), QUIET), list(rule_lines(QUIET))) == (QUIET, [])
