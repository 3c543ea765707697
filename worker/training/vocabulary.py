"""Texts -> a WordPiece tokenizer of their own, for a text encoder that starts from nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"

# Any printable ASCII character is a piece, so that a word never seen is spelled rather than unknown.
_CHARACTERS = [chr(code) for code in range(33, 127) if not chr(code).isupper()]


def learn_vocabulary(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """A lower-casing tokenizer of at most `size` pieces, [PAD] first: the commonest words, and characters for the rest.

    The same texts give the same pieces in the same order; the trainer of `tokenizers` breaks its ties by chance.
    """
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    common = sorted(words, key=lambda word: (-words[word], word))
    pieces = [PAD, UNKNOWN, START, END, *_CHARACTERS, *(f"##{c}" for c in _CHARACTERS), *common]
    unique = list(dict.fromkeys(pieces))[:size]
    vocabulary = {piece: number for number, piece in enumerate(unique)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    special = [(name, vocabulary[name]) for name in (START, END)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, unk_token=UNKNOWN, cls_token=START, sep_token=END
    )
