"""Which results go to a person too, and what becomes of their records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
from pydantic import ValidationError

from tests.unit.incoming import FixedClock, binary, validator
from tests.unit.test_batch import Silent
from worker.config import Review, Settings
from worker.findings.topics import Layout, of_topics
from worker.pipeline.outcomes import Outcomes
from worker.records import Aligned, Confidence, Outcome, Verdict
from worker.stages.batch import SHED, Fused
from worker.stages.publish import ResultWriter
from worker.stages.review import Reviewer

ALIGNED = Aligned(validator().read(binary(b"a crash", b"text/plain")), {}, {}, True)
WRITER = ResultWriter("fusions", "dead", source="/t", model_name="m", model_version="1")
REVIEWER = Reviewer("reviews", below=0.7, unfamiliar=0.02, several=False)
UNSURE = Verdict("a", 0.5, {"a": 0.5, "b": 0.5})


class Queue:
    """Takes what is finished."""

    def __init__(self) -> None:
        self.taken: list[Outcome] = []

    def finish(self, outcomes: Any) -> None:
        """Keeps them."""
        self.taken += outcomes


class Counted(Silent):
    """Keeps what was counted."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float, Mapping[str, str]]] = []

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Keeps it."""
        self.seen.append((name, amount, labels))


def outcomes(reviewer: Reviewer | None, observer: Silent | None = None) -> tuple[Outcomes, Queue]:
    """With a queue in the committer's place."""
    queue = Queue()
    streams = {"texts-in": "texts"}
    made = Outcomes(cast(Any, queue), WRITER, streams, "texts-in", observer or Silent(), FixedClock(), reviewer)
    return made, queue


def fused(verdict: Verdict, reviewer: Reviewer | None = REVIEWER) -> Outcome:
    """What an anchor with this verdict leads to."""
    made, queue = outcomes(reviewer)
    made.fused([Fused(ALIGNED, verdict)])
    (outcome,) = queue.taken
    return outcome


@pytest.mark.parametrize(
    ("score", "confidence", "several", "reasons"),
    [
        (0.7, None, True, []),
        (0.69, None, True, [("low_score", 0.69, 0.7)]),
        (0.9, Confidence(("a",), 0.02), True, []),
        (0.9, Confidence(("a",), 0.019), False, [("unfamiliar", 0.019, 0.02)]),
        (0.9, Confidence(("a", "b"), 0.5), False, []),
        (0.9, Confidence(("a", "b", "c"), 0.5), True, [("several_labels", 3, 1)]),
        (0.1, Confidence(("a", "b"), 0.0), True,
         [("unfamiliar", 0.0, 0.02), ("several_labels", 2, 1), ("low_score", 0.1, 0.7)]),
    ],
)  # fmt: skip
def test_what_is_unsure_says_why(
    score: float, confidence: Confidence | None, several: bool, reasons: list[tuple[str, float, float]]
) -> None:
    """By the score, by labels left open where that is asked, by strangeness; at a limit it is sure."""
    reviewer = Reviewer("reviews", below=0.7, unfamiliar=0.02, several=several)
    verdict = Verdict("a", score, {"a": score}, confidence=confidence)
    assert [(one.reason, one.value, one.limit) for one in reviewer.doubts(ALIGNED, verdict)] == reasons


def test_a_result_without_the_model_is_nobodys_doubt() -> None:
    """Its score is 0, and under overload people would get all of it."""
    assert REVIEWER.doubts(replace(ALIGNED, shed=True), SHED) == []


def test_the_review_leaves_with_its_result() -> None:
    """In one outcome, which is one transaction, with its key and id. A sure one, or no section: one record."""
    outcome = fused(UNSURE)
    result, review = outcome.outgoing
    assert (result.topic, review.topic, review.key) == ("fusions", "reviews", result.key)
    body = json.loads(review.value or b"")
    assert body["result"] == json.loads(result.value or b"")
    assert (body["id"], body["key"]) == (body["result"]["id"], "junction-12")
    assert body["reasons"] == [{"reason": "low_score", "value": 0.5, "limit": 0.7}]
    assert dict(review.headers)["ce_source"] == b"/t/review"
    assert outcome.review == "low_score"
    for sure in (fused(replace(UNSURE, score=0.9)), fused(UNSURE, None)):
        assert ([one.topic for one in sure.outgoing], sure.review) == (["fusions"], None)


def test_no_result_no_review() -> None:
    """A verdict that cannot be written is a dead letter alone."""
    outcome = fused(Verdict("a", 0.5, {"a": float("nan")}))
    assert ([one.topic for one in outcome.outgoing], outcome.review) == (["dead"], None)


def test_a_review_that_is_too_large_loses_its_result_and_then_itself() -> None:
    """The result stays as it is, and nothing becomes a dead letter."""
    made, _ = outcomes(REVIEWER)
    whole = fused(UNSURE)
    bare = made.smaller(whole, [1], "too large")
    assert bare.outgoing[0] == whole.outgoing[0]
    assert set(json.loads(bare.outgoing[1].value or b"")) == {"id", "key", "reasons"}
    assert bare.review == "low_score"
    gone = made.smaller(bare, [1], "too large")
    assert (gone.outgoing, gone.review, gone.labels) == (whole.outgoing[:1], "too_large", whole.labels)


@pytest.mark.parametrize("places", [[0], [0, 1]])
def test_a_result_that_is_too_large_takes_its_review_along(places: list[int]) -> None:
    """It is a dead letter, and nobody is asked about what is not there."""
    made, _ = outcomes(REVIEWER)
    outcome = made.smaller(fused(UNSURE), places, "too large")
    assert ([one.topic for one in outcome.outgoing], outcome.review) == (["dead"], None)


def test_each_review_counts_once() -> None:
    """Under its weightiest reason, once it is committed: their sum over results is the share that people see."""
    observer = Counted()
    made, _ = outcomes(REVIEWER, observer)
    strange = fused(replace(UNSURE, confidence=Confidence(("a",), 0.0)))
    made.committed([fused(UNSURE), strange, strange, fused(replace(UNSURE, score=1.0))])
    counted = [(labels["reason"], amount) for name, amount, labels in observer.seen if name == "review_total"]
    assert counted == [("low_score", 1), ("unfamiliar", 2)]


def test_the_section_has_somewhere_to_go() -> None:
    """Limits without a topic are refused, so are topics that are named twice; at the defaults nothing is sent."""
    assert (Settings().review.topic, Settings().review.labels) == (None, None)
    assert Review(below=0.7).topic is None
    with pytest.raises(ValidationError, match="below has no effect without topic"):
        Review(below=0.6)
    with pytest.raises(ValidationError, match="'fusions' is named twice"):
        Settings(review=Review(topic="fusions"))
    assert Settings(review=Review(topic="r", labels="l")).every_topic[-2:] == ["r", "l"]


def test_what_its_topics_cost_is_found() -> None:
    """One that is too small for results, and answers that would be compacted."""
    settings = Settings(review=Review(topic="r", labels="l"))
    well = {name: {"max.message.bytes": "9000000", "cleanup.policy": "delete"} for name in settings.every_topic}
    counts = dict.fromkeys(settings.every_topic, Layout(4, 1))
    assert of_topics(settings, counts, 1, well) == []
    (small,) = of_topics(settings, counts, 1, {**well, "r": {"max.message.bytes": "1000"}})
    assert str(small).startswith("review.topic = 'r': max.message.bytes is 1000, less than 262144")
    (compacted,) = of_topics(settings, counts, 1, {**well, "l": {"cleanup.policy": "compact"}})
    assert "review.labels = 'l': cleanup.policy is compact" in str(compacted)
