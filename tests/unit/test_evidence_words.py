"""What weighed most in a text is told in whole words, not in the pieces that the tokenizer cuts them to."""

from __future__ import annotations

import re

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from tests.unit.served import aligned, event, model_of, runtime_of
from worker.model.config import FusionConfig
from worker.model.items import collate
from worker.model.preprocess import Body, Preprocessor

MODEL = model_of(inputs=["text"], input_names=["texts"], max_tokens=40)
STREAMS = {"texts": "text"}
TEXT = "word1 lorry lorry, is 's blocked-off again"


def test_a_word_is_its_pieces_and_the_frame_is_none() -> None:
    """In the text's order, each with the places of all its tokens; the same word twice is two."""
    served = runtime_of(MODEL, STREAMS, "texts")
    (ids,) = served._preprocessor.tensors("text", [Body(TEXT.encode(), "text/plain", "texts")])
    words = served._preprocessor.words(ids)
    assert [word for word, _ in words] == re.findall(r"\w+|[^\w\s]", TEXT)
    assert [place for _, places in words for place in places] == list(range(1, int((ids >= 0).sum()) - 1))
    assert max(len(places) for _, places in words) > 1


def test_a_tokenizer_of_no_word_pieces_has_words_of_one_token() -> None:
    """Whatever they begin with."""
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "a": 1, "##b": 2}, unk_token="[UNK]"))
    made = Preprocessor(FusionConfig(inputs=("text",), dim=32, num_labels=2), tokenizer)
    assert made.words(torch.tensor([1, 2, -1])) == [("a", [0]), ("##b", [1])]


def test_the_three_heaviest_words_are_told_with_the_weight_of_all_their_pieces() -> None:
    """However many pieces a word has: none that is told is left out of its sum."""
    served = runtime_of(MODEL, STREAMS, "texts", evidence=True)
    item = served.prepare(aligned(event("texts", TEXT)))
    (verdict,) = served.infer([item])
    with torch.inference_mode():
        out = MODEL(**collate([item, item], MODEL.config), evidence=True)
    weights = out.weights[0][0].tolist()
    sums = sorted(
        ((sum(weights[n] for n in places), word) for word, places in served._preprocessor.words(item.bodies[0][0])),
        reverse=True,
    )
    assert verdict.evidence is not None
    told = verdict.evidence["places"]["texts"]
    assert [one["weight"] for one in told] == pytest.approx([weight for weight, _ in sums[:3]], abs=2e-4)
    assert {one["token"] for one in told} <= set(re.findall(r"\w+|[^\w\s]", TEXT))
