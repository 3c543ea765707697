"""Result and verdict -> why a person should look at it, and the record that asks (schema `review.v1`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from schemas import names
from worker.records import Aligned, Outgoing, Verdict, value
from worker.strict_json import write_json

SOURCE_SUFFIX = b"/review"


class Reason(StrEnum):
    """Why a person is asked, the weightiest first; values of the `reason` label of `review_total`.

    The last one is no reason: the topic did not take the record, and nobody is asked.
    """

    RULE = "rule"
    UNFAMILIAR = "unfamiliar"
    SEVERAL_LABELS = "several_labels"
    LOW_SCORE = "low_score"
    TOO_LARGE = "too_large"


@value
class Doubt:
    """A reason, what the verdict says, and the limit that it was held against."""

    reason: Reason
    value: float
    limit: float


class Reviewer:
    """Decides which results go to a person too. Pure: the same verdict gives the same bytes, on any worker."""

    def __init__(self, topic: str, *, below: float, unfamiliar: float, several: bool) -> None:
        """The limits of `[review]`."""
        self._topic, self._below, self._unfamiliar, self._several = topic, below, unfamiliar, several

    def doubts(self, aligned: Aligned, verdict: Verdict) -> list[Doubt]:
        """Why a person should look at it, the weightiest first; empty: it is sure, or was shed, so that there is no
        verdict to be unsure of."""
        if aligned.shed:
            return []
        found, known, rule = [], verdict.confidence, verdict.rule or {}
        if rule.get("then") == names.ASKS:
            found.append(Doubt(Reason.RULE, 1, 1))
        # What the model says is looked at, whatever a rule made of it.
        score = verdict.scores.get(rule["label"], verdict.score) if rule else verdict.score
        if known is not None and known.familiar < self._unfamiliar:
            found.append(Doubt(Reason.UNFAMILIAR, known.familiar, self._unfamiliar))
        if known is not None and self._several and len(known.set) != 1:
            found.append(Doubt(Reason.SEVERAL_LABELS, len(known.set), 1))
        if score < self._below:
            found.append(Doubt(Reason.LOW_SCORE, score, self._below))
        return found

    def record(self, result: Outgoing, doubts: Sequence[Doubt]) -> Outgoing:
        """The review of a result, keyed as the result is. Bodies are not in it: the result says where they lie."""
        told = json.loads(result.value or b"")
        told.pop("embedding", None)
        reasons = [{"reason": str(one.reason), "value": one.value, "limit": one.limit} for one in doubts]
        body = {"id": told["id"], "key": told["key"], "reasons": reasons, "result": told}
        changed = {names.CE_TYPE: names.REVIEW_TYPE.encode()}
        headers = tuple(
            (name, (has or b"") + SOURCE_SUFFIX if name == names.CE_SOURCE else changed.get(name, has))
            for name, has in result.headers
        )
        return Outgoing(self._topic, result.key, write_json(body), headers)

    def asks(self, out: Outgoing) -> bool:
        """Whether it is a review."""
        return out.topic == self._topic


def smaller(review: Outgoing) -> Outgoing | None:
    """A review that its topic does not take, without the result; None: it is without one already."""
    body = json.loads(review.value or b"")
    return replace(review, value=write_json(body)) if body.pop("result", None) is not None else None
