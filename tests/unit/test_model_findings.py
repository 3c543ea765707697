"""What `check` says of a model that fits, and yet not wholly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import write_tiny_model
from worker.check import _model
from worker.findings.finding import Level, warning
from worker.findings.model import of_model
from worker.settings import load

REVIEW = ('review.topic="asked"',)
MASKED = ("privacy.enabled=true", 'privacy.boxes=[["*"]]')
RAW = (*MASKED, "privacy.before_model=false")


@pytest.mark.parametrize(
    ("given", "masked", "tells", "said"),
    [
        ((), None, False, None),
        (REVIEW, None, True, None),
        (REVIEW, None, False, "review.unfamiliar and review.several have no effect: the model tells no confidence"),
        ((*REVIEW, "review.unfamiliar=0"), None, False, None),
        (MASKED, None, True, None),
        (MASKED, True, True, None),
        (MASKED, False, True, "trained on bodies as they came; it sees masked ones; set privacy.before_model = false"),
        (RAW, False, True, None),
        (RAW, True, True, "trained on masked bodies; it sees them as they came; set privacy.before_model = true"),
        ((), True, True, "trained on masked bodies; it sees them as they came; switch [privacy] on"),
        ((), False, True, None),
    ],
)
def test_what_does_not_fit_the_model_is_told(
    given: tuple[str, ...], masked: bool | None, tells: bool, said: str | None
) -> None:
    """One sentence with the remedy; nothing where it fits, or where the model's folder does not tell."""
    found = of_model(load(None, given, {}).settings, masked=masked, tells_confidence=tells)
    assert len(found) == (said is not None)
    assert said is None or (found[0].level is Level.WARNING and said in str(found[0]))


def test_check_asks_the_model_itself(tmp_path: Path) -> None:
    """One whose folder tells no confidence has no effect on `[review] unfamiliar`; what ships says what it saw."""
    path = write_tiny_model(tmp_path)
    told = _model(load(None, (*REVIEW, f'model.path="{path}"'), {}).settings)
    assert [str(one).partition(" ")[0] for one in told.findings] == ["review.unfamiliar"]
    told = _model(load(None, MASKED, {}).settings)
    assert ["before_model = false" in str(one) for one in told.findings] == [True]
    (path / "SHA256SUMS").unlink()
    told = _model(load(None, (f'model.path="{path}"',), {}).settings)
    unlisted = "there is no SHA256SUMS in the directory, so a file that was changed or cut short is not noticed"
    remedy = "take the model anew from where it was made, or make the list (docs/security.md)"
    assert told.findings == [warning(f"model.path: {unlisted}", remedy)]
