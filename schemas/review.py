"""What goes to a person, `fusion.review.v1`, and what comes back, `fusion.label.v1`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from schemas.event import Filled, Rfc3339
from schemas.result import Digest, OfAnchor, ResultV1


class Doubt(BaseModel):
    """One reason why a person is asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: Literal["rule", "unfamiliar", "several_labels", "low_score"] = Field(
        description="rule: one of [[rules]] asks, which result.rule names; unfamiliar: the inputs are "
        "like nothing that the model was trained on; several_labels: "
        "confidence.set leaves more than one label open; low_score: the label's score is low."
    )
    value: FiniteFloat = Field(
        description="What the result says: confidence.familiar, how many labels, the score; rule: 1."
    )
    limit: FiniteFloat = Field(description="What it was held against: [review] unfamiliar, 1, [review] below; rule: 1.")


class ReviewV1(BaseModel):
    """A result that a person should look at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Digest = Field(description="The result's id; the answer has it too.")
    key: Filled = Field(description="Key of the anchor, of the result and of this record.")
    reasons: list[Doubt] = Field(min_length=1, description="Why, the weightiest first.")
    result: ResultV1 | None = Field(
        None,
        description="The result as it was published, without its embedding; its inputs say where the bodies lie. "
        "Absent where the topic does not take a record of that size: the output topic has it under the same id.",
    )


class ReviewHeaders(OfAnchor):
    """Headers of a review: CloudEvents 1.0, binary mode."""

    model_config = ConfigDict(title="ReviewHeaders")

    ce_source: Filled = Field(description="The worker group's, with /review behind it.")
    ce_type: Literal["fusion.review.v1"] = Field(description="Type and version of this schema.")


class LabelV1(BaseModel):
    """A person's answer. Of one id the newest record counts, by the records' timestamps.

    A record without a value takes back all answers of its key.
    """

    model_config = ConfigDict(extra="allow", frozen=True, title="LabelV1")

    id: Digest = Field(description="Id of the result that is answered.")
    key: Filled = Field(description="Key of the result, and of this record.")
    label: Filled | None = Field(description="What it is; null takes an earlier answer back.")
    by: str | None = Field(None, description="Who says so; need not be given, and nothing here reads it.")
    time: Rfc3339 | None = Field(None, description="When it was said; need not be given.")
