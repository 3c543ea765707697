"""What a model knows of its verdicts: how often the right label is in the set, and what it finds strange."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.unit.served import TOKENIZER, model_of, runtime_of
from worker.errors import ConfigError
from worker.model.confidence import Knowledge
from worker.model.folder import CONFIDENCE
from worker.model.fusion_model import FusionOutput
from worker.model.items import Item
from worker.model.load import digest
from worker.model.preprocess import NO_TOKEN
from worker.model.runtime import ModelRuntime
from worker.model.served import Served, serve
from worker.training.confidence import Seen, fit_known, fit_space, least_score, look_at_items
from worker.training.evaluate import Measured, confidence_rows

CPU = torch.device("cpu")
STREAMS = {"radar": "sensor", "notes": "text"}
DIM = 32


@pytest.mark.parametrize(("count", "level"), [(19, 0.9), (60, 0.9), (60, 0.5), (500, 0.95)])
def test_the_right_label_is_in_the_set_as_often_as_promised(count: int, level: float) -> None:
    """Over many dev splits, for a model that is often wrong; and not much oftener, which all labels would be."""
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(400):
        right = rng.beta(2, 1, count + 50)
        covered.append(float((right[count:] >= least_score(right[:count], level)).mean()))
    slack = 4 * float(np.std(covered)) / math.sqrt(len(covered))
    assert level - slack <= np.mean(covered) <= level + 1 / (count + 1) + slack


def test_too_few_rule_nothing_out() -> None:
    """Nine samples can promise 0.9, eight cannot."""
    assert least_score(np.linspace(0.3, 0.9, 9), 0.9) == pytest.approx(0.3)
    assert least_score(np.linspace(0.3, 0.9, 8), 0.9) == 0.0


def seen(count: int, seed: int, *, strange: Sequence[int] = (), without: Sequence[int] = ()) -> Seen:
    """Items of three views in a few directions; the `strange` views lie in all, the `without` are not there."""
    rng = np.random.default_rng(seed)
    lies = np.linspace(3, 0.01, DIM) ** 2
    views = rng.standard_normal((3, count, DIM)) * lies + np.arange(3)[:, None, None]
    views[list(strange)] += 2 * rng.standard_normal((len(strange), count, DIM))
    there = torch.ones(3, count, dtype=torch.bool)
    there[list(without)] = False
    scores = rng.dirichlet((4, 1, 1), count)
    return Seen(torch.tensor(views).float(), there, scores, rng.integers(3, size=count))


def familiar(knowledge: Knowledge, some: Seen) -> list[float]:
    """Of each of these items."""
    sets = [sum(1 << n for n, there in enumerate(row[1:]) if there) for row in some.there.T.tolist()]
    out = FusionOutput(fused=some.views[0], views=tuple(some.views[1:]))
    return [
        knowledge.familiar(inputs, one)
        for inputs, one in zip(sets, knowledge.strangeness(out, sets)[:, 0].tolist(), strict=True)
    ]


def fitted(held: int = 400, *, fused: bool = True) -> Knowledge:
    """With and without the third view."""
    whole, sets = seen(600, 1), [-1, 1, 3]
    space = fit_space({-1: whole, 1: seen(600, 2, without=[2]), 3: whole}, sets)
    return fit_known(
        space, sets, {-1: seen(held, 3), 1: seen(held, 4, without=[2]), 3: seen(held, 5)}, 0.9, fused=fused
    )


def test_known_items_are_as_familiar_as_the_rest() -> None:
    """Of known data every share is as large as it says, also where an input is missing: a false alarm has its rate."""
    for without in ((), (2,)):
        told = [one for seed in range(8) for one in familiar(fitted(300 + seed), seen(200, 50 + seed, without=without))]
        for share in (0.05, 0.2, 0.5, 0.8):
            assert np.mean(np.array(told) <= share) == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize("view", [0, 1, 2])
def test_one_strange_input_is_enough(view: int) -> None:
    """However well the others are known; and what is missing is never strange."""
    knowledge = fitted()
    assert np.mean(np.array(familiar(knowledge, seen(200, 9, strange=[view]))) < 0.05) > 0.95
    absent = familiar(knowledge, seen(200, 9, strange=[2], without=[2]))
    assert np.mean(np.array(absent) < 0.05) < 0.12


def test_f_is_not_looked_at_where_each_input_has_a_view_of_its_own(tmp_path: Path) -> None:
    """A strange F is no more unfamiliar than known items are, a strange input is, also after saving and loading."""
    fitted(fused=False).save(tmp_path, "its digest")
    config = model_of(inputs=("sensor", "text"), channels=("speed", "count")).config
    config.dim = DIM
    knowledge = Knowledge.load(tmp_path, config, "its digest")
    assert knowledge is not None
    shares = [np.mean(np.array(familiar(knowledge, seen(400, 9, strange=[view]))) < 0.05) for view in (0, 1, 2)]
    assert shares[0] == pytest.approx(0.05, abs=0.04)
    assert min(shares[1:]) > 0.95


def test_few_samples_of_a_set_go_by_the_general_figures() -> None:
    """And a set that was never seen; F, which depends on what is missing, tells nothing then."""
    general, few = seen(200, 3), seen(20, 4, without=[2])
    knowledge = fit_known(fit_space({-1: seen(300, 1)}, [-1, 1]), [-1, 1], {-1: general, 1: few}, 0.9)
    assert list(knowledge.known) == [-1]
    assert knowledge.least(1) == knowledge.least(2) == knowledge.known[-1].least
    assert np.mean(np.array(familiar(knowledge, seen(200, 9, strange=[0], without=[2]))) < 0.05) < 0.12


def item(rng: np.random.Generator, *, reading: float = 1.0, first: int = 5) -> Item:
    """A reading of this size and a text of words from `first` on."""
    ids = torch.full((32,), NO_TOKEN)
    ids[:6] = torch.tensor(rng.integers(first, first + 12, 6))
    return Item(((torch.tensor(rng.standard_normal((16, 2)) * reading).float(),), (ids,)))


@pytest.fixture(scope="module")
def served() -> Served:
    """A model of readings and texts that knows what it knows."""
    model, rng, sets = (
        model_of(inputs=("sensor", "text"), channels=("speed", "count")),
        np.random.default_rng(1),
        [-1, 1, 3],
    )
    train, dev = ([(item(rng), int(rng.integers(3))) for _ in range(150)] for _ in range(2))
    space = fit_space(look_at_items(model, model.config, sets, train), sets)
    knowledge = fit_known(space, sets, look_at_items(model, model.config, sets, dev), 0.9)
    runtime_of(model, STREAMS, "notes")  # Its tokenizer cuts as a served one does.
    return Served(model, model.config, TOKENIZER.backend_tokenizer, CPU, "fp32", "1", knowledge=knowledge)


def worker(served: Served) -> ModelRuntime:
    """As a worker asks it."""
    return ModelRuntime(path=None, device="cpu", precision="fp32", anchor="notes", modalities=STREAMS, served=served)


def some_items() -> list[Item]:
    """Twenty known ones, one of an odd reading, one of odd words, and each known input alone."""
    rng = np.random.default_rng(7)
    known = [item(rng) for _ in range(20)]
    return [*known, item(rng, reading=30.0), item(rng, first=60), known[0].only([0]), known[0].only([1])]


def test_a_worker_tells_what_is_strange(served: Served) -> None:
    """The odd reading and the odd words, each beside a known input; a label is always in its own set."""
    verdicts = worker(served).infer(some_items())
    told = [one.confidence.familiar for one in verdicts if one.confidence is not None]
    assert len(told) == len(verdicts)
    assert max(told[20:22]) < 0.02
    assert min(told[22:]) > 0.02
    assert np.mean(np.array(told[:20]) < 0.05) <= 0.2
    assert all(one.confidence is not None and one.confidence.set[0] == one.label for one in verdicts)


def test_confidence_changes_nothing_else_and_is_told_with_evidence_too(served: Served) -> None:
    """Labels, scores and evidence are those of the model without it, which tells none."""
    without = worker(replace(served, knowledge=None)).infer(some_items())
    with_it = worker(served).infer(some_items())
    assert [replace(one, confidence=None) for one in with_it] == without
    asked = ModelRuntime(
        path=None, device="cpu", precision="fp32", anchor="notes", modalities=STREAMS, served=served, evidence=True
    )
    assert [one.confidence for one in asked.infer(some_items())] == [one.confidence for one in with_it]


def test_confidence_depends_on_its_own_item_alone(served: Served) -> None:
    """In any company."""
    asked, items = worker(served), some_items()
    together = [one.confidence for one in asked.infer(items)]
    assert [asked.infer([one])[0].confidence for one in items] == together


@pytest.fixture(scope="module")
def folder(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It, saved."""
    path = tmp_path_factory.mktemp("knows")
    served.ask.save_pretrained(path)  # type: ignore[attr-defined]
    TOKENIZER.save_pretrained(path)
    assert served.knowledge is not None
    served.knowledge.save(path, digest(path))
    return path


def test_saved_and_served_it_is_the_same(served: Served, folder: Path) -> None:
    """In few bytes."""
    wanted = worker(served).infer(some_items())
    assert worker(serve(folder, "cpu", "fp32")).infer(some_items()) == wanted
    assert (folder / CONFIDENCE).stat().st_size < 60_000


@pytest.mark.parametrize("harm", ["no weights", "no sets", "a flat mean"])
def test_what_was_edited_by_hand_is_refused_in_one_line(folder: Path, tmp_path: Path, harm: str) -> None:
    """It names the file and the way out."""
    shutil.copytree(folder, tmp_path / "a")
    with safe_open(folder / CONFIDENCE, "pt") as file:
        told, more = {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118
    if harm == "no weights":
        del more["weights"]
    elif harm == "no sets":
        told = {name: one if name in ("mean", "basis") else one[:0] for name, one in told.items()}
    else:
        told["mean"] = told["mean"].flatten()
    save_file(told, tmp_path / "a" / CONFIDENCE, more)
    with pytest.raises(ConfigError, match=f"{CONFIDENCE} cannot be read: .*; take it out"):
        serve(tmp_path / "a", "cpu", "fp32")


def test_what_was_fitted_to_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    """And what is cut short; the message names the file and the way out."""
    shutil.copytree(folder, tmp_path / "a")
    other = model_of(inputs=("sensor", "text"), channels=("speed", "count"))
    torch.nn.init.ones_(other.head.bias)
    other.save_pretrained(tmp_path / "a")
    with pytest.raises(ConfigError, match=f"{CONFIDENCE} was fitted to another model than the one beside it; take"):
        serve(tmp_path / "a", "cpu", "fp32")
    (tmp_path / "a" / CONFIDENCE).write_bytes((folder / CONFIDENCE).read_bytes()[:-7])
    with pytest.raises(ConfigError, match=f"{CONFIDENCE} cannot be read: SafetensorError"):
        serve(tmp_path / "a", "cpu", "fp32")


def test_the_report_tells_coverage_size_and_the_share_not_familiar() -> None:
    """With intervals; nothing of a model without confidence."""
    logits = np.log([[0.6, 0.3, 0.1], [0.5, 0.45, 0.05], [0.2, 0.1, 0.7], [0.4, 0.35, 0.25]])
    measured = Measured(logits, np.array([0, 1, 1, 2]), 1.0, ("a", "b", "c"))
    assert confidence_rows({"all": measured}) == []
    told = replace(measured, least=np.full(4, 0.29), familiar=np.array([0.02, 0.05, 0.9, 1.0]))
    head, row = confidence_rows({"all": told})
    assert row.split() == ["all", "0.500,", "0.150", "to", "0.850", "1.75", "0.250,", "0.046", "to", "0.699", "4"]
    assert "familiar < 0.05" in head
