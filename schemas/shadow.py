"""What a shadow model says otherwise, `fusion.shadow.v1`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from schemas.event import Filled, Rfc3339
from schemas.result import Digest, ModelInfo, OfAnchor


class Said(BaseModel):
    """What one of the two models says."""

    model_config = ConfigDict(frozen=True)

    label: Filled
    score: FiniteFloat = Field(description="Score of the label.")
    scores: dict[str, FiniteFloat] = Field(description="Score of each label.")
    model: ModelInfo


class ShadowV1(BaseModel):
    """An anchor on which the shadow model says another label than the model that serves."""

    model_config = ConfigDict(frozen=True)

    id: Digest = Field(description="Id of the anchor's result.")
    key: Filled = Field(description="Key of the anchor, of the result and of this record.")
    time: Rfc3339 = Field(description="Event time of the anchor.")
    served: Said = Field(description="As in the result.")
    shadow: Said = Field(description="What the shadow model says.")


class ShadowHeaders(OfAnchor):
    """Headers of a disagreement: CloudEvents 1.0, binary mode."""

    model_config = ConfigDict(title="ShadowHeaders")

    ce_source: Filled = Field(description="The worker group's, with /shadow behind it.")
    ce_type: Literal["fusion.shadow.v1"] = Field(description="Type and version of this schema.")
