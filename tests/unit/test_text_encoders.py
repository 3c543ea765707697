"""Text encoders of several kinds: they work, also on a text without tokens, or are refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from tests.unit.served import TOKENIZER
from tests.unit.test_training import arguments, folder
from worker.errors import ConfigError
from worker.model.encoders import TextEncoder
from worker.model.load import load
from worker.model.preprocess import NO_TOKEN
from worker.training.build import build
from worker.training.sources import read

SMALL = {
    "vocab_size": len(TOKENIZER), "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 34,
}  # fmt: skip
T5 = {"vocab_size": len(TOKENIZER), "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2}
KINDS: dict[str, dict[str, Any]] = {
    "bert": SMALL, "roberta": SMALL, "mpnet": SMALL, "electra": {**SMALL, "embedding_size": 16}, "t5": T5, "mt5": T5,
    "distilbert": {"vocab_size": len(TOKENIZER), "dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_without_tokens_is_a_vector_too(kind: str) -> None:
    """One place, all numbers finite; what stands beside it in the batch changes no text, nor does its padding."""
    torch.manual_seed(1)
    encoder = TextEncoder({"model_type": kind, **KINDS[kind]}, 16).eval()
    ids = torch.full((3, 32), NO_TOKEN)
    ids[1] = torch.arange(4, 36)
    ids[2, :3] = torch.arange(4, 7)
    with torch.no_grad():
        features, mask = encoder(ids)
        alone, _ = encoder(ids[1:])
    assert mask.sum(dim=1).tolist() == [1, 32, 3]
    assert features.isfinite().all()
    torch.testing.assert_close(features[1:], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "t5"])
@pytest.mark.parametrize("dim", [16, 48])
def test_a_layer_before_the_last_is_the_texts_view(kind: str, dim: int) -> None:
    """The mean over its tokens, cut to D or filled up; whatever else is in the batch. The features stay as they are."""
    config = {**KINDS[kind], "num_layers" if kind == "t5" else "num_hidden_layers": 3}
    encoder = TextEncoder({"model_type": kind, **config}, dim, view=2).eval()
    ids = torch.full((3, 32), NO_TOKEN)
    ids[0, :3], ids[1, :12], ids[2, :32] = torch.arange(4, 7), torch.arange(4, 16), torch.arange(4, 36)
    with torch.no_grad():
        features, mask, views = encoder(ids)
        given = {"input_ids": ids[1:2, :12], "attention_mask": torch.ones(1, 12, dtype=torch.long)}
        mean = encoder.encoder(**given, output_hidden_states=True).hidden_states[2].mean(dim=1)[0]
        encoder.view = 0
        same, _ = encoder(ids)
    assert views.shape == (3, dim)
    torch.testing.assert_close(views[1, :32], mean[:dim], rtol=0, atol=1e-5)
    assert not views[1, 32:].any()
    torch.testing.assert_close(features, same, rtol=0, atol=0)
    assert mask.sum(dim=1).tolist() == [3, 12, 32]


def written(path: Path, kind: str) -> Path:
    """A from_pretrained directory of a text encoder."""
    torch.manual_seed(1)
    config = AutoConfig.for_model(kind, **(KINDS.get(kind) or KINDS["bert"]))
    AutoModel.from_config(config).save_pretrained(path)
    TOKENIZER.save_pretrained(path)
    return path


@pytest.mark.parametrize("kind", ["t5", "roberta"])
def test_an_encoder_with_weights_of_its_own_is_trained_and_loaded(tmp_path: Path, kind: str) -> None:
    """Its weights are the directory's, without a decoder, and the saved model is the same again."""
    data = read(str(folder(tmp_path, 4)), 0, 0).only(["text"])
    own = written(tmp_path / kind, kind)
    built = build(arguments("--out", "x", "--text", str(own), "--dim", "32", "--max-tokens", "32"), data)
    built.model.save_pretrained(tmp_path / "out")
    built.tokenizer.save_pretrained(tmp_path / "out")
    whole, again = built.model.state_dict(), load(tmp_path / "out")[0].state_dict()
    assert not [name for name in whole if "decoder" in name]
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    source = AutoModel.from_pretrained(own).get_input_embeddings().weight
    assert torch.equal(built.model.get_submodule("encoders.text.encoder").get_input_embeddings().weight, source)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("kind", "tokens", "message"),
    [
        ("bart", 8, r"--text .*bart: cannot be loaded: text = 'bart': transformers has its encoder only with its deco"),
        ("roberta", 33, r"max_tokens = 33: the text encoder has positions for 32"),
        ("vit", 8, r"--text .*vit: cannot be loaded: text = 'vit': is no encoder of texts"),
    ],
)
def test_what_is_no_encoder_of_texts_is_refused(tmp_path: Path, kind: str, tokens: int, message: str) -> None:
    """Before anything is trained, with the reason."""
    data = read(str(folder(tmp_path, 4)), 0, 0).only(["text"])
    if kind == "roberta":
        own = written(tmp_path / kind, kind)
    else:
        own = tmp_path / kind
        AutoConfig.for_model(kind).save_pretrained(own)
    with pytest.raises(ConfigError, match=message):
        build(arguments("--out", "x", "--text", str(own), "--dim", "32", "--max-tokens", str(tokens)), data)
