"""The model of many wordings that ships, asked about sentences of another hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.wordings import ENGLISH, UNFAMILIAR, Asked, right, sentences
from worker.feeds.junction import frame
from worker.model.folder import folder_of


@pytest.fixture(scope="module")
def asked() -> Asked:
    """The model."""
    return Asked(folder_of("shipped:words"))


def test_it_keeps_what_its_card_tells(asked: Asked) -> None:
    """Of reports with their frames eight of ten, of denied alarms six; the junction's model has 0.39 and 0.18."""
    asked_of = [(kind, text) for kind, text in sentences() if kind in ENGLISH]
    found = right(asked, asked_of)
    denied = [good for (kind, _), good in zip(asked_of, found, strict=True) if kind == "denied"]
    assert sum(found) / len(found) >= 0.8
    assert sum(denied) / len(denied) >= 0.6


def test_it_says_of_other_talk_that_it_is_not_familiar(asked: Asked) -> None:
    """Four of five sentences about something else, and of Chinese ones, which it cannot read."""
    rng = np.random.default_rng(1)
    strange = [text for kind, text in sentences()[1::2] if kind == "off_topic" or kind.startswith("chinese")]
    told = asked((frame(rng, "congestion"), text) for text in strange)
    assert sum(one.confidence is not None and one.confidence.familiar < UNFAMILIAR for one in told) >= 0.8 * len(told)
