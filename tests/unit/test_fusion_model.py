"""The model: missing modalities, several images, saved and loaded, and answers that do not depend on neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from schemas.result import Evidence
from tests.unit.served import aligned, event, model_of, runtime_of
from worker.errors import ConfigError, Poison
from worker.feeds.junction import LABELS, scene
from worker.model.config import FUSIONS, FusionConfig
from worker.model.evidence import MOST_INPUTS, _undecided
from worker.model.fusion_model import FusionModel
from worker.model.items import Item, collate
from worker.model.load import device_of, load, number_format
from worker.model.pictures import decode_image
from worker.model.preprocess import NO_TOKEN
from worker.model.runtime import ModelRuntime
from worker.model.served import Served
from worker.training.vocabulary import learn_vocabulary

TEXT = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
BACKBONE = "shufflenet_v2_x0_5"
DEVICES = ["cpu", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]


def settled(model: FusionModel) -> FusionModel:
    """Its batch norms know some images: else an untrained backbone gives every image nearly the same map."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    rng = np.random.default_rng(8)
    images = torch.stack([decode_image(scene(rng).image, 224, "frames") for _ in range(4)])
    with torch.no_grad():
        model.train().encoders["image"](images)
    return model.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model as `train` would leave it."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("model")
    tokenizer = learn_vocabulary((scene(np.random.default_rng(n)).text for n in range(50)), 300)
    text = {**TEXT, "intermediate_size": 64, "vocab_size": len(tokenizer)}
    model = FusionModel(
        FusionConfig(name="tiny", backbone=BACKBONE, dim=64, text=text, id2label=dict(enumerate(LABELS)))
    )
    settled(model).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def runtime(folder: Path, device: str = "cpu", *, evidence: bool = False) -> ModelRuntime:
    """The model, served."""
    modalities = {"texts": "text", "frames": "image"}
    return ModelRuntime(
        path=str(folder), device=device, precision="fp32", anchor="texts", modalities=modalities, embedding=True,
        evidence=evidence,
    )  # fmt: skip


def ids(*numbers: int) -> torch.Tensor:
    """Token ids as the preprocessor pads them."""
    padded = torch.full((32,), NO_TOKEN)
    padded[: len(numbers)] = torch.tensor(numbers, dtype=torch.long)
    return padded


def items(count: int, seed: int = 5) -> list[Item]:
    """Items with both, with either, and with several images."""
    rng = np.random.default_rng(seed)
    made = []
    for n in range(count):
        images = tuple(decode_image(scene(rng).image, 224, "frames") for _ in range((1, 0, 3, 1)[n % 4]))
        text = ids(*rng.integers(4, 200, rng.integers(1, 20)).tolist())
        made.append(Item((images, (text,) if n % 4 != 3 else ())))
    return made


@pytest.mark.parametrize("device", DEVICES)
def test_a_verdict_does_not_depend_on_its_neighbours(folder: Path, device: str) -> None:
    """In any company and any order each item gets the verdict it gets alone, to the last digit that is told."""
    served, some = runtime(folder, device), items(9)
    alone = [served.infer([item])[0] for item in some]
    assert len({verdict.embedding for verdict in alone}) == len(some)
    rng = np.random.default_rng(2)
    for count in (2, 3, 5, 9):
        order = rng.permutation(9)[:count]
        together = served.infer([some[n] for n in order])
        assert [v.scores for v in together] == [alone[n].scores for n in order]
        for verdict, n in zip(together, order, strict=True):
            np.testing.assert_allclose(verdict.embedding, alone[n].embedding, atol=2e-4)


def test_serving_computes_what_training_saved(folder: Path) -> None:
    """Folded batch norms and the padded batch change no score."""
    some = items(6)
    model, _ = load(folder)
    with torch.inference_mode():
        wanted = model.eval()(**collate(some, model.config)).logits.softmax(-1).tolist()
    for verdict, row in zip(runtime(folder).infer(some), wanted, strict=True):
        assert list(verdict.scores.values()) == pytest.approx(row, abs=1e-4)
        assert verdict.score == max(verdict.scores.values()) == verdict.scores[verdict.label]


def test_a_missing_modality_is_a_token_of_its_own(folder: Path) -> None:
    """A missing text is not an empty one."""
    served = runtime(folder)
    (both, *_) = items(1)
    without = served.infer([both.only([0])])[0]
    empty = served.infer([Item((both.bodies[0], (ids(2, 3),)))])[0]
    assert without.embedding != empty.embedding


def test_several_images_are_pooled_with_learned_weights(folder: Path) -> None:
    """The same image twice says what it says once; before training another counts as much, after it as it weighs."""
    served = runtime(folder)
    ((images, text),) = (item.bodies for item in items(1))
    night = torch.zeros(3, 224, 224, dtype=torch.uint8)
    once = served.infer([Item((images, text))])[0]
    twice = served.infer([Item((images * 2, text))])[0]
    np.testing.assert_allclose(twice.embedding, once.embedding, atol=1e-4)
    model = served._model
    both = collate([Item(((*images, night), text))], model.config)
    with torch.inference_mode():
        features, _ = model.encoders["image"](both["bodies"][0])
        weigh = lambda: model._weight("image", features, both["item_of"][0], 1).tolist()  # noqa: E731
        assert weigh() == pytest.approx([0.5, 0.5])
        model.moment["image"].weight.copy_((features[0] - features[1]).mean(0)[None] * 1e3)
        assert weigh()[0] > 0.6
        assert sum(weigh()) == pytest.approx(1.0)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_any_number_of_inputs_of_any_modality(fusion: str) -> None:
    """Two cameras, a text, a radar and a microphone: every fusion takes what is there, and each input counts."""
    torch.manual_seed(3)
    text = {**TEXT, "intermediate_size": 64, "vocab_size": 300}
    config = FusionConfig(
        inputs=("image", "image", "text", "sensor", "audio"), backbone=BACKBONE, dim=64, text=text, fusion=fusion,
        channels=("speed", "count"), num_labels=3,
    )  # fmt: skip
    model = FusionModel(config).eval()
    made = torch.Generator().manual_seed(4)
    image = lambda: torch.randint(0, 256, (3, 224, 224), dtype=torch.uint8, generator=made)  # noqa: E731
    radar = torch.full((16, 2), torch.nan)
    radar[-1] = torch.tensor([0.5, torch.nan])
    sound = torch.randn(64, 201, generator=made)
    whole = Item(((image(),), (image(),), (ids(5, 6),), (radar,), (sound,)))
    some = [whole, *(whole.only([m for m in range(5) if m != n]) for n in range(5)), Item(((), (), (), (), ()))]
    with torch.inference_mode():
        out = model(**collate(some, config), evidence=True)
        assert out.logits.isfinite().all()
        assert len({tuple(row) for row in out.logits.tolist()}) == len(some)
        # What a set of the inputs says is what the item with these alone says.
        sets = [whole.only([n for n in range(5) if chosen >> n & 1]) for chosen in range(2**5)]
        torch.testing.assert_close(out.coalitions[0], model(**collate(sets, config)).logits, rtol=0, atol=1e-4)
        # Of an item that lacks an input, sets with it and without it are the same.
        torch.testing.assert_close(out.coalitions[1, 1::2], out.coalitions[1, ::2], rtol=0, atol=1e-4)


def test_two_cameras_are_told_apart(folder: Path) -> None:
    """Swapped frames are another scene."""
    torch.manual_seed(3)
    for fusion in FUSIONS:
        config = FusionConfig(inputs=("image", "image"), backbone=BACKBONE, dim=64, fusion=fusion, num_labels=3)
        model = settled(FusionModel(config))
        one, other = (torch.full((3, 224, 224), light, dtype=torch.uint8) for light in (0, 255))
        with torch.inference_mode():
            out = model(**collate([Item(((one,), (other,))), Item(((other,), (one,)))], config)).logits
        assert not torch.allclose(out[0], out[1], atol=1e-3), fusion


def test_evidence_says_how_the_verdict_came_about(folder: Path) -> None:
    """It fits the schema; alone, without and flips are what the model says of items with less; the scores stay."""
    served, plain, some = runtime(folder, evidence=True), runtime(folder), items(4)
    for told, verdict, item in zip(served.infer(some), plain.infer(some), some, strict=True):
        assert told.scores == verdict.scores
        evidence = Evidence.model_validate(told.evidence, strict=True)
        names = {"frames": 0, "texts": 1}
        assert set(evidence.alone) == {name for name, n in names.items() if item.bodies[n]}
        for name, said in evidence.alone.items():
            (alone,) = plain.infer([item.only([names[name]])])
            assert (said.label, said.score) == (alone.label, pytest.approx(alone.score, abs=2e-4))
        others = {name: plain.infer([item.only([1 - names[name]])])[0].label for name in evidence.without}
        assert {name: said.label for name, said in evidence.without.items()} == others
        assert evidence.flips == [name for name, label in others.items() if label != told.label]
        assert evidence.agree == all(said.label == told.label for said in evidence.alone.values())
        (nothing,) = plain.infer([item.only([])])
        assert evidence.base == pytest.approx(nothing.scores[told.label], abs=2e-4)
        assert evidence.base + sum(evidence.adds.values()) == pytest.approx(evidence.confidence, abs=4e-4)
        for places in evidence.places.values():
            weights = [place.weight for place in places]
            assert weights == sorted(weights, reverse=True)
            assert not {place.token for place in places} & {"[CLS]", "[SEP]"}


def test_near_labels_are_left_open(folder: Path) -> None:
    """All whose score is within the margin of the highest, and none where one is clear."""
    labels = ["a", "b", "c"]
    assert _undecided([0.34, 0.36, 0.30], labels) == ["b", "a"]
    assert _undecided([0.32, 0.34, 0.34], labels) == ["b", "c", "a"]
    assert _undecided([0.2, 0.7, 0.1], labels) == []


def test_evidence_of_too_many_inputs_is_refused() -> None:
    """Every further input doubles the sets that are asked."""
    config = FusionConfig(inputs=("image",) * (MOST_INPUTS + 1), dim=32, num_labels=2)
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    served = Served(FusionModel(config), config, tokenizer, torch.device("cpu"), "fp32", "1")
    given = {"path": None, "device": "cpu", "precision": "fp32", "anchor": "image_1", "served": served}
    streams = {f"image_{n + 1}": "image" for n in range(MOST_INPUTS + 1)}
    assert len(ModelRuntime(**given, modalities=streams).names) == MOST_INPUTS + 1
    with pytest.raises(ConfigError, match=r"output.evidence: the model has 9 inputs"):
        ModelRuntime(**given, modalities=streams, evidence=True)


def test_scores_that_are_not_finite_are_poison(folder: Path) -> None:
    """A model that gives no number gives no verdict."""
    served = runtime(folder)
    with torch.no_grad():
        served._model.head.bias[0] = float("nan")
    with pytest.raises(Poison, match="not finite"):
        served.infer(items(2))


def test_a_directory_that_does_not_fit_is_told_apart(folder: Path, tmp_path: Path) -> None:
    """Missing files, weights of another shape and code instead of weights are each one clear line."""
    with pytest.raises(ConfigError, match=r"no config.json, model.safetensors, tokenizer.json there"):
        load(tmp_path)
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert load(tmp_path)[0].config.name == "tiny"
    config = (folder / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"dim": 64', '"dim": 32'))
    with pytest.raises(ConfigError, match=r"model.path"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(config.replace(BACKBONE, "vit_b_16"))
    with pytest.raises(ConfigError, match=r"model.path"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.safetensors").write_bytes(b"pickle")
    with pytest.raises(ConfigError, match=r"model.path = .*: model.safetensors: it has 6 bytes"):
        load(tmp_path)


def test_devices_and_number_formats() -> None:
    """A device that is not there and a format without weights are named."""
    with pytest.raises(ConfigError, match=r"model.device = 'cuda:99': torch sees \d+ GPUs"):
        device_of("cuda:99")
    with pytest.raises(ConfigError, match=r"no int8 weights"):
        number_format("int8", torch.device("cpu"))
    assert number_format("auto", torch.device("cpu")) == torch.float32


def test_config_refuses_what_it_cannot_build() -> None:
    """Each wrong value is named with what it may be."""
    with pytest.raises(ValueError, match="fusion = 'sum': must be one of"):
        FusionConfig(fusion="sum")
    with pytest.raises(ValueError, match="dim = 30: must be a multiple of glimpses = 4"):
        FusionConfig(dim=30)
    with pytest.raises(ValueError, match="rank = 6: must be a multiple of glimpses = 4"):
        FusionConfig(rank=6)
    with pytest.raises(ValueError, match="inputs: 'smell': must be one of image, text, sensor, audio"):
        FusionConfig(inputs=("smell",))
    with pytest.raises(ValueError, match="a sensor input needs the names of its numbers"):
        FusionConfig(inputs=("sensor",))
    with pytest.raises(ValueError, match="gives a map of 4x4 for 128 pixels, not 7x7"):
        FusionModel(FusionConfig(image_size=128))


def test_verdict_and_evidence_come_from_the_same_unrounded_scores() -> None:
    """Two labels whose scores are equal when rounded: the higher is the label of both; embeddings have four places."""
    model = model_of(inputs=["sensor"], channels=["heat"])
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.tensor([0.0, 1e-5, -1.0]))
    served = runtime_of(model, {"oven": "sensor"}, "oven", evidence=True)
    (verdict,) = served.infer([served.prepare(aligned(event("oven", '{"heat": 1}')))])
    assert verdict.scores["LABEL_0"] == verdict.scores["LABEL_1"]
    assert verdict.evidence
    assert verdict.label == verdict.evidence["alone"]["oven"]["label"] == "LABEL_1"
    assert verdict.evidence["agree"]
    assert verdict.embedding
    assert all(number == round(number, 4) for number in verdict.embedding)
    assert any(number != round(number, 3) for number in verdict.embedding)
