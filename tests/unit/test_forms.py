"""A model folder that holds int8 beside its weights: which of the two a worker serves."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import write_tiny_model
from worker.cli import main
from worker.errors import ConfigError
from worker.feeds.junction import scene
from worker.model import served as room
from worker.model.folder import INT8, SHIPPED, WEIGHTS, ensure_servable
from worker.model.int8 import Int8Linear
from worker.model.items import Item
from worker.model.load import digest
from worker.model.preprocess import Body, Preprocessor
from worker.model.runtime import runtime_of
from worker.model.served import serve
from worker.model.sums import SUMS


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model to which `export` has added int8."""
    folder = write_tiny_model(tmp_path_factory.mktemp("both"))
    told = ["--model", str(folder), "--samples", "64", "--rounds", "1", "--max-drop", "0.9"]
    assert main(["export", *told]) == 0
    return folder


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model to which `export` has added int8 that is computed from its weights."""
    folder = write_tiny_model(tmp_path_factory.mktemp("computed"), dim=96)
    told = ["--model", str(folder), "--to", "int8-linear", "--samples", "64", "--rounds", "1", "--max-drop", "0.9"]
    assert main(["export", *told]) == 0
    return folder


@pytest.fixture
def vnni(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What the processor tells of itself: that it sums int8 without saturating."""
    told = tmp_path / "cpuinfo"
    told.write_text("flags : fpu avx512_vnni\n")
    monkeypatch.setattr(room, "_CPU", told)
    return told


def test_auto_is_int8_where_the_processor_computes_it_right(both: Path, vnni: Path) -> None:
    """The form's own version is told; the weights are served where they are asked for."""
    small, large = serve(both, "cpu", "auto"), serve(both, "cpu", "fp32")
    assert (small.precision, large.precision) == ("int8", "fp32")
    assert small.version.startswith(f"{large.version}+int8.")
    assert serve(both, "cpu", "int8").version == small.version


def test_auto_is_fp32_without_vnni_and_without_onnx_runtime(
    both: Path, vnni: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums that saturate would not be those that the export was judged by."""
    vnni.write_text("flags : fpu avx2\n")
    monkeypatch.setattr(room.platform, "machine", lambda: "x86_64")
    assert serve(both, "cpu", "auto").precision == "fp32"
    vnni.write_text("flags : fpu avx512_vnni\n")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "onnxruntime" else find(name, *more)
    )
    assert serve(both, "cpu", "auto").precision == "fp32"


def test_int8_of_other_weights_is_refused(both: Path, vnni: Path, tmp_path: Path) -> None:
    """Trained anew, the folder would hold two models; both versions and the remedy are told."""
    folder = tmp_path / "again"
    shutil.copytree(both, folder)
    held = load_file(folder / WEIGHTS)
    save_file(
        {name: one + 1 if name == "head.bias" else one for name, one in held.items()},
        folder / WEIGHTS,
        {"format": "pt"},
    )
    with pytest.raises(
        ConfigError, match=rf"its int8 was made from version {digest(both)}, the weights are {digest(folder)}; take"
    ):
        serve(folder, "cpu", "auto")


def test_a_form_that_is_cut_short_is_told_before_torch_is_loaded(both: Path, tmp_path: Path) -> None:
    """As the weights' own files are."""
    folder = tmp_path / "cut"
    shutil.copytree(both, folder)
    (folder / INT8 / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"int8/config.json: differs: its SHA-256 is 021fb596db81"):
        ensure_servable(str(folder))
    (folder / SUMS).unlink()
    with pytest.raises(ConfigError, match=r"int8'?: config.json: cut short or no JSON"):
        ensure_servable(str(folder))


def test_only_int8_goes_into_the_model_s_own_folder(both: Path, capsys: Any) -> None:
    """Without --out nothing else is written, nor over what is there."""
    assert main(["export", "--model", str(both), "--to", "bf16"]) == 2
    assert "--out: must be given" in capsys.readouterr().err
    assert main(["export", "--model", str(both)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_int8_is_computed_from_the_weights_where_the_processor_does_it_fast(
    computed: Path, vnni: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without ONNX Runtime, and with nothing in its folder but what it says and what it was judged by."""
    assert {file.name for file in (computed / INT8).iterdir()} == {"README.md", "config.json"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    monkeypatch.setattr(room.platform, "machine", lambda: "x86_64")
    small, large = serve(computed, "cpu", "auto"), serve(computed, "cpu", "fp32")
    assert (small.precision, small.version) == ("int8", f"{large.version}+int8-linear")
    layers = [one for one in small.ask.modules() if isinstance(one, Int8Linear)]  # type: ignore[attr-defined]
    assert len(layers) == 4  # Queries and values of two inputs; the text encoder's are too small.
    vnni.write_text("flags : fpu avx2\n")
    assert serve(computed, "cpu", "auto").precision == "fp32"
    assert serve(computed, "cpu", "int8").precision == "int8"


def test_what_is_computed_in_int8_is_near_and_depends_on_no_neighbour() -> None:
    """Each row alone is what it is among others, to the last digit; rows of zeros and of thousands too."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(384, 96)
    given = torch.randn(4, 5, 384)
    given[0, 0], given[1] = 0.0, 1_000 * given[1]
    small = Int8Linear(layer)(given)
    wanted = layer(given).detach()
    assert ((small - wanted).norm(dim=2) / wanted.norm(dim=2)).max() < 0.02
    torch.testing.assert_close(small[0, 0], layer.bias.detach(), rtol=0, atol=0)
    for n in range(4):
        torch.testing.assert_close(Int8Linear(layer)(given[n : n + 1, 2:3])[0, 0], small[n, 2], rtol=0, atol=0)


def test_what_is_computed_is_refused_beside_other_weights(computed: Path, vnni: Path, tmp_path: Path) -> None:
    """Its gate judged others; and no folder of its own is written."""
    folder = tmp_path / "again"
    shutil.copytree(computed, folder)
    held = load_file(folder / WEIGHTS)
    save_file({name: one + 1 for name, one in held.items()}, folder / WEIGHTS, {"format": "pt"})
    with pytest.raises(ConfigError, match=r"its int8 was made from version .*--to int8-linear`"):
        serve(folder, "cpu", "int8")
    assert main(["export", "--model", str(computed), "--to", "int8-linear", "--out", str(tmp_path / "out")]) == 2


def test_the_junction_s_model_ships_with_int8() -> None:
    """Of these very weights, with what is known of its own verdicts."""
    small, large = serve(SHIPPED, "cpu", "int8"), serve(SHIPPED, "cpu", "fp32")
    assert small.version == f"{large.version}+int8-linear"
    assert small.knowledge is not None
    assert small.reference is not None
    rng = np.random.default_rng(0)
    asked, texts = Preprocessor(small.config, small.tokenizer), ("Two cars have crashed.", "Nothing happens here.")
    items = [
        Item(tuple(asked.read(n, (Body(body, kind, "s"),)).tensors for n, (body, kind) in enumerate(bodies)))
        for bodies in (((scene(rng).image, "image/jpeg"), (text.encode(), "text/plain")) for text in texts)
    ]
    told = [runtime_of(one).infer(items) for one in (small, large)]
    for one, other in zip(*told, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=0.1)
