"""AUROC and average precision: by hand, by counting pairs, and of labels that have none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from worker.training.evaluate import Measured
from worker.training.plots import draw_ranking
from worker.training.ranking import macro, ranked, ranking_rows


def test_a_known_case_by_hand() -> None:
    """Scores 0.1, 0.4, 0.35, 0.8 of labels 0, 0, 1, 1: three of four pairs in order; precision 1, then 2/3."""
    scores = np.array([0.1, 0.4, 0.35, 0.8])
    told = ranked(Measured(np.log(np.stack([1 - scores, scores], 1)), np.array([0, 0, 1, 1]), 1.0, ("no", "yes")))
    assert [(one.name, one.positives) for one in told] == [("no", 2), ("yes", 2)]
    assert told[1].auroc == pytest.approx(0.75)
    assert told[1].precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert macro(told)[0] == pytest.approx(0.75)


def test_it_is_the_share_of_pairs_in_order() -> None:
    """Of three labels, each against the rest, a tie counting half; and scikit-learn's own mean over labels."""
    rng = np.random.default_rng(1)
    truth = rng.integers(3, size=120)
    found = Measured(
        rng.normal(size=(120, 3)).round(1) + np.eye(3)[truth], truth, rng.uniform(0.5, 2, 120), ("a", "b", "c")
    )
    told = ranked(found)
    for number, one in enumerate(told):
        own, others = found.scores[truth == number, number], found.scores[truth != number, number]
        order = np.sign(own[:, None] - others[None])
        assert one.auroc == pytest.approx(float((order / 2 + 0.5).mean()))
    assert macro(told)[0] == pytest.approx(roc_auc_score(truth, found.scores, multi_class="ovr"))


def test_a_label_without_samples_says_so(tmp_path: Path) -> None:
    """It has no figure, the mean leaves it out, and the curves too."""
    found = Measured(np.array([[2.0, 1, 0], [0, 1, 0], [1, 0, 0]]), np.array([0, 1, 0]), 1.0, ("a", "b", "never"))
    told = ranked(found)
    assert (told[2].positives, told[2].auroc, told[2].precision) == (0, None, None)
    rows = ranking_rows(told)
    assert rows[3].split() == ["never", "-", "-", "0", "no", "positives"]
    assert rows[4].split() == ["macro", "1.000", "1.000"]
    alone = ranking_rows(ranked(Measured(np.zeros((2, 2)), np.array([0, 0]), 1.0, ("a", "b"))))
    assert alone[1].endswith("no negatives")
    assert ranking_rows(ranked(Measured(np.zeros((0, 2)), np.array([], int), 1.0, ("a", "b")))) == []
    draw_ranking(found, tmp_path / "ranking.png")
    with Image.open(tmp_path / "ranking.png") as drawn:
        assert min(drawn.size) > 200
