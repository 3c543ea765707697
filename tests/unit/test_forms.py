"""A model folder that holds int8 beside its weights: which of the two a worker serves."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.tiny import write_tiny_model
from worker.cli import main
from worker.errors import ConfigError
from worker.model import served as room
from worker.model.folder import INT8, WEIGHTS, ensure_servable
from worker.model.load import digest
from worker.model.served import serve


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model to which `export` has added int8."""
    folder = write_tiny_model(tmp_path_factory.mktemp("both"))
    told = ["--model", str(folder), "--samples", "64", "--rounds", "1", "--max-drop", "0.9"]
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
    with pytest.raises(ConfigError, match=r"int8'?: config.json: cut short or no JSON"):
        ensure_servable(str(folder))


def test_only_int8_goes_into_the_model_s_own_folder(both: Path, capsys: Any) -> None:
    """Without --out nothing else is written, nor over what is there."""
    assert main(["export", "--model", str(both), "--to", "bf16"]) == 2
    assert "--out: must be given" in capsys.readouterr().err
    assert main(["export", "--model", str(both)]) == 2
    assert "is there already" in capsys.readouterr().err
