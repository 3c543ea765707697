"""Reports in many wordings, and training on an encoder that stays as it is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import torch

from tests.bench.wordings import sentences
from tests.tiny import write_tiny_model
from worker.feeds import wordings
from worker.feeds.junction import LABELS, junction_events
from worker.feeds.wordings import KINDS, _read, hands, wording, wording_of
from worker.model.encoders import TextEncoder
from worker.model.load import load
from worker.model.preprocess import Preprocessor
from worker.training.data import Samples
from worker.training.evaluate import labels_of, measure
from worker.training.presence import ALL
from worker.training.sources import junction_samples

NAMES = ["image", "text"]


def test_every_slot_has_phrases_and_every_phrase_a_use() -> None:
    """A slot misspelt would be a crash in one draw of a thousand."""
    told = tomllib.loads(Path(wordings.__file__).with_suffix(".toml").read_text("utf-8"))
    used = set(re.findall(r"\{(\w+)\}", str(told)))
    assert used == set(told["slots"])
    assert all(told["slots"].values())
    assert set(told["kinds"]) == set(KINDS)
    assert all(hand.keys() <= set(KINDS) for hand in hands())
    assert not {"{", "}"} & set("".join(text for hand in hands() for texts in hand.values() for text in texts))


def test_no_sentence_of_the_test_is_trained_on() -> None:
    """They are other people's."""
    written = {text.lower() for hand in hands() for texts in hand.values() for text in texts}
    assert not [text for _, text in sentences() if text.lower() in written]


def test_splits_share_no_written_sentence() -> None:
    """What dev and test draw, and the feed tells, training never reads: else its figures would be of what it knows."""
    splits = {split: {text for kind in KINDS for text in _read()[2][split, kind]} for split in ("train", "dev", "test")}
    assert not splits["train"] & splits["dev"] | splits["train"] & splits["test"] | splits["dev"] & splits["test"]
    assert min(len(some) for some in splits.values()) > 100
    assert sum(len(some) for some in splits.values()) == sum(len(texts) for hand in hands() for texts in hand.values())


def test_the_feed_tells_sentences_of_the_test_split() -> None:
    """A worker is shown in the demo what its model was not trained on."""
    known = {text.lower() for kind in KINDS for text in _read()[2]["train", kind]}
    told = [one.body.decode().lower() for one in junction_events(3, 2, 20.0, 1.0, 2.0) if one.stream == "texts"]
    assert len(told) > 20
    assert not known & set(told)


def test_a_wording_is_filled_and_seldom_said_twice() -> None:
    """Beyond the feed's twelve patterns by far; the same for the same seed."""
    rng = np.random.default_rng(3)
    drawn = [wording_of(rng, LABELS[n % 4]) for n in range(1000)]
    assert len(set(drawn)) > 900
    assert not [text for text in drawn if "{" in text or not text.strip()]
    assert wording(np.random.default_rng(5), "denied") == wording(np.random.default_rng(5), "denied")


def test_states_that_were_kept_are_those_of_the_encoder(tmp_path: Path) -> None:
    """Texts of any length give the logits that the encoder's own states give, to the digits that bf16 has."""
    model, tokenizer = load(write_tiny_model(tmp_path / "tiny"))
    rows = [*junction_samples("test", 12, 1, many=True)]
    samples = Samples(rows, NAMES, labels_of(model.config), model.config, Preprocessor(model.config, tokenizer))
    before = measure(model, samples, 4, ALL)
    text = model.encoders["text"]
    assert isinstance(text, TextEncoder)
    samples.keep_states(text)
    text.encoder.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(AssertionError("asked again")))
    after = measure(model, samples, 4, ALL)
    np.testing.assert_allclose(after.logits, before.logits, atol=0.02)
    assert float(torch.tensor(before.logits).std(dim=0).max()) > 0.05
