"""The section of the model that serves, and of what is asked beside it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from worker.durations import Duration
from worker.sections import TOPIC_FORM, Section, Topic


class Model(Section):
    """The model and how it is batched."""

    path: str | None = Field(
        None,
        description="A directory of `train` or `export`, or shipped:home; default: the junction's that ships.",
    )
    inputs: Mapping[str, str] = Field(
        {},
        description="Which input of the model the stream feeds, where the two are not called alike.",
        json_schema_extra={"form": "the name of an input of the model"},
    )
    trusted_key: str | None = Field(
        None,
        description="File with the ed25519 public keys (PEM) of those whose models are served: SHA256SUMS in the "
        "directory must be signed by one of them. Not set: the list alone is looked at, where there is one.",
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda|cuda:\d+)$",
        description="Where the model computes; auto takes one of the GPUs where there are any.",
        json_schema_extra={"form": "auto, cpu, cuda or cuda:N"},
    )
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        "auto", description="Number format of the weights; auto: what the directory holds and suits the device."
    )
    max_batch: int = Field(32, ge=1, description="Most items in a batch.")
    max_delay: Duration = Field(
        timedelta(milliseconds=5), description="Longest wait of the oldest item for a fuller batch."
    )
    decode_threads: int = Field(2, ge=1, description="Threads that decode and tokenise ahead of the model.")
    watch: Duration = Field(
        timedelta(0), description="How often the directory is looked at for another model; 0s: at SIGHUP alone."
    )
    allow_labels: bool = Field(False, description="A model that is taken over may have other labels or heads.")
    shadow: str | None = Field(
        None,
        description="A directory as path: its model is asked the same beside it, and only where they differ is told; "
        "not set: none is.",
    )
    shadow_share: float = Field(1.0, gt=0, le=1, description="Share of the batches that the shadow model is asked.")
    shadow_topic: Topic | None = Field(
        None,
        description="Topic of the anchors on which the shadow model says another label; not set: they are counted.",
        json_schema_extra={"form": TOPIC_FORM},
    )

    @model_validator(mode="after")
    def _has_a_shadow(self) -> Model:
        return self.idle_without("shadow", "the directory of a model", "shadow_share", "shadow_topic")


class Rule(Section):
    """A rule beside the model: the first that holds decides. At most 64, in the file's order."""

    name: str = Field(
        "",
        pattern=r"^[a-z0-9_-]{0,40}$",
        description="Told in results and metrics; empty: rule-1 and so on, by its place.",
        json_schema_extra={"form": "at most 40 of a-z, 0-9, _ and -"},
    )
    when: str = Field(
        min_length=1,
        max_length=1000,
        description="What it is held against; docs/rules.md tells the language.",
        json_schema_extra={"form": "an expression of 1 to 1,000 characters"},
    )
    then: str = Field(
        min_length=1,
        max_length=200,
        description="The label that the result has; review: the label stays and a person is asked.",
        json_schema_extra={"form": "a label of the model, or review"},
    )
    reason: str = Field(
        min_length=1,
        max_length=200,
        description="Why, for whoever reads the result.",
        json_schema_extra={"form": "a text of 1 to 200 characters"},
    )
