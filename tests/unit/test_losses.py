"""Each loss is its definition, and calibration finds what was put in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from worker.model.fusion_model import FusionOutput
from worker.training.evaluate import Measured, fitted_temperature, softmax
from worker.training.losses import Weights, class_weights, contrastive_loss, joint_loss, triplet_loss


def test_triplet_is_the_hardest_of_each_anchor() -> None:
    """Equals the definition, written out over all triplets."""
    made = torch.Generator().manual_seed(3)
    fused, labels = torch.randn(12, 8, generator=made), torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 3])
    unit = fused / fused.norm(dim=1, keepdim=True)
    far = [[1 - float(a @ b) for b in unit] for a in unit]
    losses = []
    for a, label in enumerate(labels):
        positive = [far[a][p] for p in range(12) if p != a and labels[p] == label]
        negative = [far[a][n] for n in range(12) if labels[n] != label]
        if positive:
            losses.append(max(0.0, max(positive) - min(negative) + 0.2))
    assert float(triplet_loss(fused, labels)) == pytest.approx(np.mean(losses), abs=1e-5)


def test_contrastive_is_infonce_among_items_that_have_both() -> None:
    """Equals the definition, row by row and column by column; nothing to compare costs nothing."""
    made = torch.Generator().manual_seed(4)
    left, right = torch.randn(5, 8, generator=made), torch.randn(5, 8, generator=made)
    present = [torch.tensor([True, True, False, True, True]), torch.tensor([True, True, True, True, False])]
    kept = [0, 1, 3]
    similarity = np.array([[float(F.cosine_similarity(left[i], right[j], dim=0)) / 0.07 for j in kept] for i in kept])
    rows = [np.log(np.exp(row).sum()) - row[n] for n, row in enumerate(similarity)]
    columns = [np.log(np.exp(row).sum()) - row[n] for n, row in enumerate(similarity.T)]
    wanted = (np.mean(rows) + np.mean(columns)) / 2
    assert float(contrastive_loss([left, right], present)) == pytest.approx(wanted, rel=1e-4)
    assert float(contrastive_loss([left, right], [present[0], ~present[0]])) == 0.0


def test_the_joint_loss_is_the_weighted_sum() -> None:
    """Each loss counts as it weighs; smoothing and class weights are torch's; a batch of one class has no triplet."""
    made = torch.Generator().manual_seed(5)
    fused = torch.randn(6, 8, generator=made, requires_grad=True)
    logits, labels = torch.randn(6, 3, generator=made), torch.tensor([0, 1, 2, 0, 1, 2])
    pooled, present = (fused[:, :4], fused[:, 4:]), (torch.ones(6, dtype=torch.bool),) * 2
    out = FusionOutput(logits=logits, fused=fused, pooled=pooled, present=present)
    classes = (1.0, 2.0, 3.0)
    wanted = (
        0.5 * F.cross_entropy(logits, labels, weight=torch.tensor(classes), label_smoothing=0.1)
        + 0.3 * triplet_loss(fused, labels)
        + 0.7 * contrastive_loss(pooled, present)
    )
    torch.testing.assert_close(joint_loss(out, labels, Weights(0.5, 0.3, 0.7, 0.1, classes)), wanted)
    same = torch.zeros(6, dtype=torch.long)
    loss = joint_loss(FusionOutput(logits=torch.zeros(6, 2), fused=fused), same, Weights(triplet=1.0))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(np.log(2))
    assert fused.grad is not None
    assert bool(fused.grad.isfinite().all())


def test_class_weights_make_rare_labels_count_as_much() -> None:
    """Weight times count is the same for every label."""
    weights = class_weights([0] * 6 + [1] * 3 + [2], 3)
    assert [weight * count for weight, count in zip(weights, (6, 3, 1), strict=True)] == pytest.approx([10 / 3] * 3)


def test_the_temperature_that_was_put_in_is_found() -> None:
    """Labels drawn from softmax(z), told as 3 z: the fit divides by 3, and the calibration error goes."""
    rng = np.random.default_rng(6)
    logits = rng.normal(0, 2, (4000, 4))
    truth = np.array([rng.choice(4, p=row) for row in softmax(logits)])
    told = Measured(logits * 3, truth, 1.0, ("a", "b", "c", "d"))
    temperature = fitted_temperature(told)
    assert temperature == pytest.approx(3.0, rel=0.1)
    calibrated = Measured(logits * 3, truth, temperature, told.names)
    assert calibrated.calibration_error < 0.03 < 0.1 < told.calibration_error
    assert calibrated.accuracy == told.accuracy


def test_measures_are_scikit_learns() -> None:
    """Accuracy, F1, confusion and the calibration error by hand on four samples."""
    logits = np.log(np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]]))
    one = Measured(logits, np.array([0, 1, 1, 0]), 1.0, ("no", "yes"))
    assert one.accuracy == 0.75
    assert one.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)
    assert one.confusion.tolist() == [[2, 0], [1, 1]]
    assert one.calibration_error == pytest.approx((0.1 + 0.8 + 0.3 + 0.4) / 4)
    assert "macro avg" in one.report
