"""What is told of a model with further heads: of a label only where it has one, and what an epoch is judged by."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.served import TEXT, TOKENIZER
from tests.unit.test_training import arguments, evaluation
from worker.errors import ConfigError
from worker.exporting.run import _figures
from worker.model.config import FusionConfig
from worker.model.fusion_model import FusionModel
from worker.model.heads import Heads
from worker.model.preprocess import Body, Preprocessor
from worker.training import rounds
from worker.training.asked import Asked
from worker.training.card import Trained, card
from worker.training.data import Samples
from worker.training.evaluate import Measured, calibrate, measure
from worker.training.evaluation import _check_label
from worker.training.findings import Findings, Of, metrics_of
from worker.training.fit import Plan, fit, kept_of
from worker.training.head_measures import judged_by
from worker.training.heads import encoded, heads_of
from worker.training.names import check_heads, check_names
from worker.training.presence import ALL
from worker.training.rows import NO_LABEL, Sample
from worker.training.run import _summary

NUMBER = {"name": "setpoint", "kind": "number", "mean": 20.0, "std": 2.0, "unit": "C"}
ROOM = {"name": "room", "kind": "label", "labels": ["bath", "loft"]}
LABEL_ALONE = ("accuracy", "temperature", NO_LABEL, "tells 1 labels", "misses most", "AUROC", "familiar <", "robust")


def config_of(*labels: str) -> FusionConfig:
    """Of a model of texts with two heads."""
    return FusionConfig(
        dim=32, text=TEXT, inputs=["text"], heads=[NUMBER, ROOM], id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )  # fmt: skip


def samples_of(config: FusionConfig, count: int = 16) -> Samples:
    """Notes that tell the room, and now and then the set-point."""
    labels = [config.id2label[number] for number in range(config.num_labels)]
    rows = [
        Sample(
            {"text": (Body(f"word{n} lane".encode(), "text/plain", "text"),)}, labels[n % len(labels)],
            f"train.jsonl:{n}", {"setpoint": 16.0 + n, "room": ("bath", "loft")[n % 2]},
        )
        for n in range(count)
    ]  # fmt: skip
    return Samples(rows, ["text"], labels, config, Preprocessor(config, TOKENIZER.backend_tokenizer))


def findings_of(config: FusionConfig) -> Findings:
    """Sixteen samples of which the label is told right, if there is more than one."""
    samples = samples_of(config)
    names = tuple(config.id2label[number] for number in range(config.num_labels))
    truth = np.arange(16) % len(names)
    columns = np.random.default_rng(0).normal(size=(16, Heads(config.heads).width))
    known = {"least": np.full(16, 0.5), "familiar": np.full(16, 0.5)}
    targets = encoded(Heads(config.heads), samples.rows).numpy()
    one = Measured(np.eye(len(names))[truth], truth, 1.0, names, **known, columns=columns, targets=targets)
    return Findings(config, {"all": one})


def card_of(findings: Findings) -> str:
    """With nothing in it but what was measured."""
    return card(Trained("train", {"test": 16}, "notes", "MIT", 0, (), 1.0, 0.1), findings)


def test_a_model_of_heads_alone_claims_nothing_of_a_label() -> None:
    """Neither report nor card nor `metrics.json`: a label that is always the same is always right."""
    config = config_of(NO_LABEL)
    findings = findings_of(config)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report, told = findings.report(), card_of(findings)
        made = metrics_of(findings, Of("d", "x", "test", 0, samples_of(config)))
    assert report.startswith("The model has no label; of each head:\n\nhead setpoint")
    for word in LABEL_ALONE:
        assert word not in report.replace("accuracy  macro", "").replace("accuracy, 95", ""), word
    for word in (*LABEL_ALONE[1:], "confusion.png", "reliability.png", "`evaluate --robust`"):
        assert word not in told, word
    for shown in (report, told):
        assert "head setpoint (number, C):" in shown
    assert "No label; heads: `setpoint` (number), `room` (label)." in told
    assert "whether it does alike for all groups, is not measured without a label" in told
    assert (made.presence, made.labels, made.confusion, made.auroc, made.average_precision) == ({}, {}, [], None, None)
    assert (made.groups, made.robustness, made.adversarial, made.data.n) == ([], [], [], 16)
    assert made.heads["room"].presence["all"].n == 16


def test_beside_heads_the_tables_of_the_label_say_that_they_are_its_own() -> None:
    """In the report and on the card; without heads there is nothing to say."""
    findings = findings_of(config_of("calm", "urgent"))
    report = findings.report()
    assert report.index("macro avg") < report.index("All above is about the label alone") < report.index("head ")
    assert "beside its label, which all other tables are about (`heads`" in card_of(findings)
    plain = config_of("calm", "urgent")
    plain.heads = []
    without = replace(findings.measured["all"], columns=None, targets=None)
    assert "alone" not in Findings(plain, {"all": without}).report()


@pytest.mark.parametrize(
    ("given", "option"),
    [
        (("--by", "key"), "by"), (("--by", "key", "--positive", NO_LABEL), "positive"), (("--robust",), "robust"),
        (("--plots", "x"), "plots"), (("--against", "shipped:home"), "against"),
    ],
)  # fmt: skip
def test_what_is_about_the_label_is_refused_without_one(given: tuple[str, ...], option: str) -> None:
    """By its name, with the heads that there are; with a label it is not."""
    said = f"--{option}: is about the label, which this model has not; its heads are setpoint, room"
    with pytest.raises(ConfigError, match=f"^{said}$"):
        _check_label(evaluation(*given), config_of(NO_LABEL))
    _check_label(evaluation(*given), config_of("calm", "urgent"))
    _check_label(evaluation("--report", "x"), config_of(NO_LABEL))


def test_one_label_has_no_temperature() -> None:
    """Its score is 1 at any; nothing is fitted."""
    model = FusionModel(config_of(NO_LABEL))
    calibrate(model, samples_of(model.config), 8)
    assert (model.config.calibration, model.config.calibrations) == (1.0, {})


def test_a_head_that_nothing_knows_is_named() -> None:
    """In dev and test of what train has, and of what a model has that is asked."""
    rows = [Sample({}, "x", f"train.jsonl:{n}", {"room": "loft"}) for n in range(2)]
    splits = {"train": rows, "test": [*rows, Sample({}, "x", "test.jsonl:3", {"rooom": "loft"})]}
    with pytest.raises(ConfigError, match=r"^test.jsonl:3: targets.rooom: is in no row of train; did you mean 'room'"):
        check_names(splits)
    config = config_of("calm", "urgent")
    with pytest.raises(ConfigError, match=r"^test.jsonl:3: targets.rooom: is no head of the model; did you mean 'roo"):
        check_heads(config, splits["test"])
    with pytest.raises(ConfigError, match=r"^a:1: targets.alarms: is no head of the model; it has setpoint, room$"):
        check_heads(config, [Sample({}, "x", "a:1", {"alarms": ("smoke",)})])
    check_names({"train": rows, "dev": rows})
    check_heads(config, rows)
    config.heads = []
    check_heads(config, splits["test"])


def numbers(*values: float) -> list[Sample]:
    """Rows that tell them."""
    return [Sample({}, "x", f"train.jsonl:{n}", {"n": value}) for n, value in enumerate(values)]


@pytest.mark.parametrize(
    "values", [[1.7e9 + n for n in range(40)], [1e40 * (1 + n) for n in range(40)], [1e-50 * (1 + n) for n in range(9)]]
)
def test_numbers_of_any_size_are_learned(values: list[float]) -> None:
    """Epoch seconds, and what no number of 32 bits holds: as they are, in their spread from their mean."""
    rows = numbers(*values)
    (head,) = heads_of(rows, [Asked("n", "number")])
    assert head.mean == pytest.approx(np.mean(values), rel=1e-12, abs=0)
    told = encoded(Heads([head.told]), rows)[:, 0].numpy()
    assert told * head.std + head.mean == pytest.approx(values, rel=1e-12, abs=0)
    assert (told.mean(), told.std()) == (pytest.approx(0, abs=1e-6), pytest.approx(1))


def test_numbers_that_cannot_be_learned() -> None:
    """All alike, to the last digit; and a spread that is no number."""
    with pytest.raises(ConfigError, match=r"targets.n is 0.1 in all 3 rows of train; a number that is to be learned"):
        heads_of(numbers(0.1, 0.1, 0.1), [Asked("n", "number")])
    for values in ((-1e308, 1e308, 1e308), (1e-200, 2e-200)):
        with pytest.raises(ConfigError, match=r"targets.n reaches from .* give it in another unit"):
            heads_of(numbers(*values), [Asked("n", "number")])


@pytest.mark.parametrize("labels", [("calm", "urgent"), (NO_LABEL,)])
def test_the_epoch_that_is_told_is_the_one_whose_weights_are_kept(tmp_path: Path, labels: tuple[str, ...]) -> None:
    """By what dev is judged by; of heads alone nothing is told of a label."""
    model = FusionModel(config_of(*labels))
    samples = samples_of(model.config)
    seen: list[float] = []
    plan = Plan(epochs=3, batch=8, learning_rate=0.05)
    history = fit(model, samples, samples, plan, tmp_path, lambda *_: None, seen=lambda _, judged: seen.append(judged))
    assert [point["judged"] for point in history] == seen
    assert kept_of(history)["judged"] == max(seen) == judged_by(model.config, measure(model, samples, 8, ALL))
    assert ("dev macro F1" in history[0]) == (len(labels) > 1)


def test_the_sentence_of_a_run_tells_the_kept_epoch() -> None:
    """Not the one where the label did best."""
    curve = [
        {"loss": 1.0, "judged": 0.4, "dev macro F1": 0.9, "dev accuracy": 0.95},
        {"loss": 1.0, "judged": 0.6, "dev macro F1": 0.7, "dev accuracy": 0.75},
    ]
    given = arguments("--out", "out")
    both = _summary(given, config_of("calm", "urgent"), curve, 1, 1)
    told = "dev mean over label and heads of macro F1 (of numbers R2) 0.600, the label's macro F1 0.700, accuracy 0.750"
    assert both.startswith(f"{told}, after 2 epochs")
    alone = _summary(given, config_of(NO_LABEL), [{"loss": 1.0, "judged": 0.6}], 1, 1)
    assert alone.startswith("dev mean over heads of macro F1 (of numbers R2) 0.600, after 1 epochs")
    plain = config_of("calm", "urgent")
    plain.heads = []
    assert _summary(given, plain, curve[1:], 1, 1).startswith("dev macro F1 0.600, accuracy 0.750, after 1 epochs")


@pytest.mark.parametrize(("judged", "said"), [(0.7, "0.700, before 0.600"), (0.5, "fell from 0.600 to 0.500")])
def test_a_round_is_held_against_the_kept_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judged: float, said: str
) -> None:
    """By what dev is judged by, though the label's macro-F1 says the opposite."""
    model = FusionModel(config_of("calm", "urgent"))
    samples = samples_of(model.config)
    other = 1.0 if judged < 0.6 else 0.1
    curves = iter([[{"judged": 0.6, "dev macro F1": 0.5}], [{"judged": judged, "dev macro F1": other}]])
    monkeypatch.setattr(rounds, "fit", lambda *_: next(curves))
    monkeypatch.setattr(rounds, "accept", lambda *_: (samples, "made"))
    how = rounds.How(0, 1, 0.9)
    given: Any = (model, samples, samples, samples, Plan(batch=8), how, tmp_path, lambda *_: None)
    assert rounds.fit_beside(*given)[1][-1].endswith(said)


def test_the_table_of_export_has_no_accuracy_without_a_label() -> None:
    """It would be 1.000 of every kind."""
    assert _figures(findings_of(config_of(NO_LABEL)).measured) == {}
    assert list(_figures(findings_of(config_of("calm", "urgent")).measured)) == ["all", "macro F1", "ECE"]
