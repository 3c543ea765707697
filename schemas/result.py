"""The result of one anchor, `fusion.result.v1` (CONTRACT section 2)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from schemas.event import Filled, Rfc3339

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Input(BaseModel):
    """Where one input of a result came from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Filled = Field(description="The event's id.")
    time: Rfc3339 = Field(description="Event time.")
    topic: Filled = Field(description="Topic it was read from.")
    partition: int = Field(ge=0, description="Partition it was read from.")
    offset: int = Field(ge=0, description="Offset it was read from.")
    delta_ms: FiniteFloat | None = Field(
        None,
        description="Event time minus the anchor's, milliseconds; negative is earlier. Absent for the anchor itself.",
    )


class ModelInfo(BaseModel):
    """The model that gave the verdict."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Name of the model.")
    version: str = Field(description="Version of the model.")


class Said(BaseModel):
    """What some of the inputs say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = Field(description="The likeliest label.")
    score: FiniteFloat = Field(description="Its score, to four decimal places.")


class Place(BaseModel):
    """A part of an input that weighed much."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    row: int | None = Field(None, ge=0, le=6, description="Image: row of the 7x7 map, from the top.")
    column: int | None = Field(None, ge=0, le=6, description="Image: column of the 7x7 map, from the left.")
    token: str | None = Field(None, description="Text: the piece of the text.")
    step: int | None = Field(None, ge=0, description="Sensor or audio: the step in time, from the earliest.")
    weight: FiniteFloat = Field(description="Its share of all weights.")


class HeadLabel(BaseModel):
    """A further label, one of several."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = Field(description="The likeliest label.")
    score: FiniteFloat = Field(description="Its score, to four decimal places.")
    scores: dict[str, FiniteFloat] = Field(description="Score of each label; they sum to 1.")


class HeadLabels(BaseModel):
    """Labels that are each there or not, whatever the others are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: list[str] = Field(
        description="Those whose score reaches their threshold, in the model's order; may be empty."
    )
    scores: dict[str, FiniteFloat] = Field(description="Score of each label by itself, to four decimal places.")


class HeadNumber(BaseModel):
    """A number, such as a set-point, with a band."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: FiniteFloat = Field(description="The number, in its unit.")
    low: FiniteFloat = Field(description="Where the band begins.")
    high: FiniteFloat = Field(
        description="Where it ends: of known data the band holds the true number as often as the model was fitted for "
        "(0.9 by default)."
    )
    unit: str | None = Field(None, description="What the number counts; absent where training was told none.")


class Added(BaseModel):
    """What inputs add to one number or score of a further head."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: FiniteFloat = Field(description="What it would be without any input.")
    adds: dict[str, FiniteFloat] = Field(
        description="What each input adds, its exact Shapley value; with base they sum to the number or score."
    )


class Evidence(BaseModel):
    """The chain from the inputs to the verdict, by stream."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    confidence: FiniteFloat = Field(description="Score of the label, calibrated on the dev split.")
    margin: FiniteFloat = Field(description="By how much it is above the next label's.")
    undecided: list[str] = Field(
        description="The labels that are left open because their scores are within 0.05 of the highest, the likeliest "
        "first; empty when one is clear."
    )
    alone: dict[str, Said] = Field(description="What each input says by itself.")
    without: dict[str, Said] = Field(description="What the others say without this input.")
    agree: bool = Field(description="True when each input by itself says the verdict's label.")
    flips: list[str] = Field(description="The inputs without which the label would be another.")
    base: FiniteFloat = Field(description="What the label's score would be without any input.")
    adds: dict[str, FiniteFloat] = Field(
        description="What each input adds to the label's score: its exact Shapley value over all sets of the inputs. "
        "With base they sum to confidence."
    )
    places: dict[str, list[Place]] = Field(description="The parts of each input that weighed most, at most three.")
    heads: dict[str, dict[str, Added]] | None = Field(
        None,
        description="Of each further head: per label that it tells, or for its `number`, what each input adds. Absent "
        "of a model with a label alone.",
    )
    text: str | None = Field(None, description="All of this in sentences, in the language of [output] language.")


class Confidence(BaseModel):
    """What the model knows of its own verdict."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    set: list[str] = Field(
        min_length=1,
        description="The labels that cannot be ruled out, the likeliest first: of known data the right one is among "
        "them at least as often as the level that the model was fitted for (0.9 by default). The label itself is.",
    )
    familiar: FiniteFloat = Field(
        ge=0,
        le=1,
        description="The share of known data that is as strange as these inputs or stranger, to four decimal places; "
        "near 0: they are like nothing that the model was trained on, and its label says nothing of them.",
    )


class Rule(BaseModel):
    """Which of [[rules]] spoke: the first that held."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Filled = Field(description="Its name.")
    reason: Filled = Field(description="Why, in the words of whoever wrote it.")
    label: str = Field(description="What the model says by itself.")
    then: Filled = Field(description="The label that the rule gives, or review: a person is asked and the label stays.")


class ResultV1(BaseModel):
    """One verdict on one anchor event and what was matched to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Digest = Field(
        description="Derived from the anchor's source and id alone: the same in any run, worker or replay."
    )
    key: Filled = Field(description="Key of the anchor and of the record.")
    time: Rfc3339 = Field(description="Event time of the anchor.")
    label: str = Field(description="The label with the highest score, before scores are rounded, or a rule's.")
    score: FiniteFloat = Field(description="Score of that label.")
    scores: dict[str, FiniteFloat] = Field(description="Score of each label, to four decimal places.")
    inputs: dict[str, Input | list[Input]] = Field(
        description="Per stream what was used; a list where match is window."
    )
    missing: dict[str, Literal["never_seen", "out_of_tolerance", "payload_expired", "undecodable", "shed"]] = Field(
        description="Per stream without a match, the reason."
    )
    complete: bool = Field(description="False when max_wait ended the wait of some stream.")
    model: ModelInfo
    truncated: dict[str, str] | None = Field(
        None,
        description="Per stream the bound that may have cost its match some events, such as max_events_per_key; "
        "max_tokens: its texts were longer than the model reads; the oldest, or the end of the newest, were not read. "
        "Absent when none did.",
    )
    embedding: list[FiniteFloat] | None = Field(
        None, description="The fused vector, to four decimal places, with [output] embedding = true."
    )
    confidence: Confidence | None = Field(
        None, description="What the model knows of its verdict; absent of a model that was fitted without it."
    )
    heads: dict[str, HeadNumber | HeadLabel | HeadLabels] | None = Field(
        None, description="What the model says beside its label, by the head's name; absent of a model without heads."
    )
    rule: Rule | None = Field(None, description="Which rule decided; absent where none did.")
    evidence: Evidence | None = Field(None, description="How the verdict came about, with [output] evidence = true.")


class OfAnchor(BaseModel):
    """Headers of what is published on an anchor: CloudEvents 1.0, binary mode."""

    model_config = ConfigDict(extra="forbid")

    ce_specversion: Literal["1.0"] = Field(description="CloudEvents version.")
    ce_id: Digest = Field(description="The result's id.")
    ce_source: Filled
    ce_type: str
    ce_time: Rfc3339 = Field(description="Event time of the anchor.")
    content_type: Literal["application/json"] = Field(alias="content-type", description="The value is JSON.")
    traceparent: str | None = Field(None, description="The anchor's W3C Trace Context.")


class ResultHeaders(OfAnchor):
    """Headers of a result: CloudEvents 1.0, binary mode."""

    model_config = ConfigDict(title="ResultHeaders")

    ce_source: Filled = Field(description="The worker group.")
    ce_type: Literal["fusion.result.v1"] = Field(description="Type and version of this schema.")
