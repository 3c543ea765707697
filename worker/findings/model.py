"""Settings and what a model's folder tells -> findings."""

from __future__ import annotations

from worker.config import Settings
from worker.findings.finding import Finding, warning

# What to do about a directory without a list.
_LIST_IT = "take the model anew from where it was made, or make the list (docs/security.md)"


def of_files(unlisted: str) -> Finding:
    """`unlisted`: which directory has no list of its files, and what that costs."""
    return warning(unlisted, _LIST_IT)


def of_model(settings: Settings, *, masked: bool | None, tells_confidence: bool) -> list[Finding]:
    """`masked`: whether what the model was trained on was; None: its folder does not tell."""
    found, review, privacy = [], settings.review, settings.privacy
    if review.topic is not None and (review.unfamiliar or review.several) and not tells_confidence:
        found.append(
            warning(
                "review.unfamiliar and review.several have no effect: the model tells no confidence; only review.below "
                "sends results to a person",
                "`fusion-worker train` makes a model that tells it",
            )
        )
    sees = privacy.enabled and privacy.before_model
    if masked and not sees:
        found.append(
            warning(
                "the model's card says that it was trained on masked bodies; it sees them as they came",
                "set privacy.before_model = true" if privacy.enabled else "switch [privacy] on",
            )
        )
    if masked is False and sees:
        found.append(
            warning(
                "the model's card says that it was trained on bodies as they came; it sees masked ones",
                "set privacy.before_model = false, or train on what `record` writes (`train --masked`)",
            )
        )
    return found
