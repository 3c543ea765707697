"""What was measured of a model, `metrics.json` of `train` and `evaluate`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShareOf(_Told):
    """A share with its 95 % interval (Wilson)."""

    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    n: int = Field(description="Of how many.")


class OfModel(_Told):
    """The model that was asked."""

    name: str
    version: str | None
    digest: str = Field(description="Of its weights, as in results.")


class OfData(_Told):
    """What it was asked about."""

    data: str = Field(description="As given with --data; of a folder its name.")
    split: str
    n: int
    seed: int
    digest: str = Field(description="Of all bodies and labels in their order.")


class OfPresence(_Told):
    """A presence pattern."""

    n: int
    accuracy: ShareOf
    macro_f1: FiniteFloat
    calibration_error: FiniteFloat = Field(description="Expected calibration error, 15 bins.")
    right_in_set: ShareOf | None = Field(description="How often the right label is in `confidence.set`.")
    labels_in_set: FiniteFloat | None = Field(description="How many labels that set has, on the average.")
    not_familiar: ShareOf | None = Field(description="`confidence.familiar` below 0.05.")


class OfLabel(_Told):
    """A label, in the first presence pattern."""

    n: int = Field(description="Samples that have it.")
    precision: FiniteFloat
    recall: FiniteFloat
    f1: FiniteFloat
    auroc: FiniteFloat | None = Field(description="One against the rest; null where all samples have it, or none.")
    average_precision: FiniteFloat | None = Field(description="Null where no sample has it.")


class OfGroup(_Told):
    """A group of samples."""

    name: str
    n: int
    accuracy: ShareOf
    macro_f1: FiniteFloat = Field(description="Over the labels that are true of some in the group.")
    not_familiar: ShareOf | None
    found: ShareOf | None = Field(description="Of those with the label of --positive how many were said to have it.")
    false: ShareOf | None = Field(description="Of those without it how many were said to have it.")


class GapOf(_Told):
    """Best less worst of the groups that are large enough."""

    best: str
    worst: str
    value: FiniteFloat
    low: FiniteFloat = Field(description="95 %, for all pairs of groups together (Newcombe, Bonferroni).")
    high: FiniteFloat
    chance: FiniteFloat = Field(description="What 19 of 20 shuffles of the samples between the groups stay below.")


class OfGrouping(_Told):
    """All groups of one attribute."""

    by: str
    groups: list[OfGroup] = Field(description="Those of 20 samples or more, the worst first.")
    small: OfGroup | None = Field(description="All smaller ones together.")
    gap: GapOf | None = Field(description="Of accuracies; null of fewer than two groups.")
    positive: str | None
    found_gap: GapOf | None = Field(description="Of the shares found of --positive.")


class OfSpoiled(_Told):
    """One way of spoiling inputs, of one strength."""

    modality: str = Field(description="That is touched; all: every kind at once.")
    name: str
    strength: str
    n: int
    before: FiniteFloat = Field(description="Accuracy of the same samples as they are.")
    accuracy: ShareOf
    fall: FiniteFloat
    fall_low: FiniteFloat = Field(description="95 %, paired.")
    fall_high: FiniteFloat
    not_familiar: ShareOf | None


class OfChosen(_Told):
    """A head of kind label or labels, in a presence pattern."""

    n: int = Field(description="Samples that tell its truth.")
    accuracy: ShareOf = Field(description="Of which all that is told is right.")
    macro_f1: FiniteFloat


class OfNumber(_Told):
    """A head of kind number, in a presence pattern."""

    n: int = Field(description="Samples that tell its truth.")
    mae: FiniteFloat = Field(description="Mean absolute error, in the head's unit.")
    mae_low: FiniteFloat = Field(description="95 %, normal.")
    mae_high: FiniteFloat
    rmse: FiniteFloat
    r2: FiniteFloat
    in_band: ShareOf = Field(description="How often the band holds the truth.")
    band: FiniteFloat = Field(description="How wide the band is, on the average.")


class OfHeadLabel(_Told):
    """A label of a head, in the first presence pattern."""

    n: int = Field(description="Samples that have it.")
    threshold: FiniteFloat | None = Field(description="The score from which it is told; null where the best one is.")
    precision: FiniteFloat
    recall: FiniteFloat
    f1: FiniteFloat


class OfHead(_Told):
    """A further head."""

    kind: str = Field(pattern="^(label|labels|number)$")
    unit: str | None = Field(description="Of a number; null where it is not told.")
    level: FiniteFloat | None = Field(description="How often a number's band shall hold the truth.")
    presence: dict[str, OfChosen | OfNumber] = Field(description="Those patterns with samples that tell its truth.")
    labels: dict[str, OfHeadLabel]


class MetricsV1(_Told):
    """All that was measured of a model on one split."""

    type: Literal["fusion.metrics.v1"] = "fusion.metrics.v1"
    model: OfModel
    data: OfData
    temperature_low: FiniteFloat = Field(description="Scores are calibrated by temperatures from here")
    temperature_high: FiniteFloat = Field(description="to here.")
    presence: dict[str, OfPresence]
    labels: dict[str, OfLabel]
    heads: dict[str, OfHead] = Field({}, description="What else the model says, by name.")
    confusion: list[list[int]] = Field(description="Rows are the truth, in the order of `labels`.")
    auroc: FiniteFloat | None = Field(description="Mean of the labels that have one.")
    average_precision: FiniteFloat | None
    groups: list[OfGrouping] = Field(description="By each --by.")
    robustness: list[OfSpoiled] = Field(description="With --robust.")
    adversarial: list[OfSpoiled] = Field(description="With --robust: one FGSM step of the image.")
    adversarial_impossible: str | None = Field(description="Why there is no such step.")
