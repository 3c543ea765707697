"""The text of a rule -> what an item is held against, by rule-engine; a small part of its language, checked at start.

Refused, because the same item must give the same answer, and soon: the clock, chance, patterns (one may take minutes
on a text that somebody sends), loops and shifts. Nothing of Python can be reached.
"""

from __future__ import annotations

import decimal
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import rule_engine
from rule_engine import DataType, ast

ROOTS = ("label", "score", "scores", "key", "missing", "inputs", "confidence", "heads")
FUNCTIONS = ("abs", "all", "any", "max", "min", "sum")
_KNOWN: Mapping[str, Any] = {
    "label": DataType.STRING,
    "score": DataType.FLOAT,
    "scores": DataType.MAPPING(DataType.STRING, DataType.FLOAT),
    "key": DataType.STRING,
    "missing": DataType.MAPPING(DataType.STRING, DataType.STRING),
    "heads": DataType.MAPPING(DataType.STRING, DataType.UNDEFINED),
}
_LEAVES = (ast.BooleanExpression, ast.FloatExpression, ast.NullExpression, ast.StringExpression)
# What an expression may be made of, and the parts of each.
_PARTS: Mapping[type, tuple[str, ...]] = {
    ast.AddExpression: ("left", "right"),
    ast.SubtractExpression: ("left", "right"),
    ast.ArithmeticExpression: ("left", "right"),
    ast.ArithmeticComparisonExpression: ("left", "right"),
    ast.ComparisonExpression: ("left", "right"),
    ast.LogicExpression: ("left", "right"),
    ast.CoalesceExpression: ("left", "right"),
    ast.ContainsExpression: ("container", "member"),
    ast.GetAttributeExpression: ("object",),
    ast.GetItemExpression: ("container", "item"),
    ast.TernaryExpression: ("condition", "case_true", "case_false"),
    ast.UnaryExpression: ("right",),
    ast.FunctionCallExpression: ("function", "arguments"),
    ast.ArrayExpression: ("value",),
    ast.SetExpression: ("value",),
    ast.SymbolExpression: (),
    **dict.fromkeys(_LEAVES, ()),
}
_REFUSED: Mapping[type, str] = {
    ast.FuzzyComparisonExpression: 'patterns; look for a word with "word" in inputs.STREAM.text',
    ast.ComprehensionExpression: "loops",
    ast.BitwiseExpression: "operators on bits",
    ast.BitwiseShiftExpression: "operators on bits",
    ast.GetSliceExpression: "slices",
}
# Refused by the word too: the library computes what stands between constants as it parses, and nothing of it is left.
_PATTERNS, _BITS = _REFUSED[ast.FuzzyComparisonExpression], _REFUSED[ast.BitwiseExpression]
_REFUSED_WORDS: Mapping[str, str] = {
    "DATETIME": 'times, such as d"2020-01-01"',
    "TIMEDELTA": 'spans of time, such as t"P1D"',
    "BYTES": 'bytes, such as b"a"',
    "FLOAT_INF": "inf; a number is finite",
    "FLOAT_NAN": "nan; a number is finite",
    "FOR": _REFUSED[ast.ComprehensionExpression],
    **dict.fromkeys(("EQ_FZM", "EQ_FZS", "NE_FZM", "NE_FZS"), _PATTERNS),
    **dict.fromkeys(("BWAND", "BWOR", "BWXOR", "BWLSH", "BWRSH"), _BITS),
}


class UntoldError(Exception):
    """An item does not say what a rule asks for; the message has nothing of the item's own words."""


class Expression:
    """What a rule is asked about: `holds`.

    Attributes:
        labels: the labels that it names.
        heads: the further heads that it names, each with the labels of it that are named.
        parts: of these heads what is asked, such as `number`.
    """

    def __init__(self, text: str, modalities: Mapping[str, str]) -> None:
        """`modalities`: by stream.

        Raises:
            ValueError: it cannot be parsed, or names what an item does not tell; the sentence says what it may.
        """
        self.labels: set[str] = set()
        self.heads: dict[str, set[str]] = {}
        self.parts: defaultdict[str, set[str]] = defaultdict(set)
        try:
            _ensure_words(text)
            first = rule_engine.Rule(text, _context({"inputs": DataType.UNDEFINED, "confidence": DataType.UNDEFINED}))
            fields = self._fields(first.statement.expression, modalities)
            self._rule = rule_engine.Rule(text, _context({"inputs": _inputs(fields), "confidence": _CONFIDENCE}))
        except rule_engine.errors.EngineError as error:
            raise ValueError(_told(error)) from error
        except RecursionError as error:
            raise ValueError("is nested too deeply") from error
        kind = self._rule.statement.expression.result_type
        if kind not in (DataType.BOOLEAN, DataType.UNDEFINED):
            raise ValueError(f"is {kind.name.lower()}, and must be true or false, as a comparison is")

    def holds(self, item: Mapping[str, Any]) -> bool:
        """Whether it is true of an item, whose `inputs` answers `of(stream)` with the fields of its newest event.

        Raises:
            UntoldError: the item does not tell what is asked.
            rule_engine.errors.EngineError: its values are of another kind.
        """
        found = self._rule.evaluate(item)
        if not isinstance(found, bool):
            raise UntoldError("it is neither true nor false")
        return found

    def _name(self, path: Sequence[str], word: str, modalities: Mapping[str, str]) -> None:
        match path:
            case ["label" | "scores" | "confidence"]:
                self.labels.add(word)
            case ["missing"]:
                _ensure_stream(word, modalities)
            case ["heads"]:
                self.heads.setdefault(word, set())
            case ["heads", name]:
                self.parts[name].add(word)
            case ["heads", name, "label" | "labels" | "scores"]:
                self.heads.setdefault(name, set()).add(word)

    def _fields(self, root: Any, modalities: Mapping[str, str]) -> Mapping[str, set[str]]:
        """The fields that are asked for, by stream; and gathers labels and heads."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        whole = [root]
        while whole:
            node = whole.pop()
            _ensure_allowed(node)
            for path, word in _held_against(node):
                self._name(path, word, modalities)
            if (place := _place(node)) is None:
                whole += _parts(node)
                continue
            _ensure_told(*place, modalities)
            found[place[0]].add(place[1])
        return found


def _context(types: Mapping[str, Any]) -> rule_engine.Context:
    known = {**_KNOWN, **types}

    def kind_of(name: str) -> Any:
        if name not in known:
            raise ValueError(f"unknown name {name!r}; it may be {', '.join(ROOTS)}")
        return known[name]

    # Numbers as everywhere: 28 digits, whatever the thread.
    return rule_engine.Context(
        type_resolver=kind_of, default_timezone="utc", decimal_context=decimal.Context(prec=28),
        mapping_attribute_lookup=False,
    )  # fmt: skip


def _inputs(fields: Mapping[str, set[str]]) -> Any:
    streams = {
        stream: DataType.OBJECT(stream, dict.fromkeys(names, DataType.UNDEFINED), _field_of(stream))
        for stream, names in fields.items()
    }
    return DataType.OBJECT("inputs", streams, lambda inputs, stream: inputs.of(stream))


def _field_of(stream: str) -> Callable[[Any, str], Any]:
    def get(newest: Any, name: str) -> Any:
        if name not in newest.fields:
            raise UntoldError(f"the newest event of {stream} has no field {name}")
        return newest.fields[name]

    return get


def _confidence(known: Any, name: str) -> Any:
    if known is None:
        raise UntoldError("the model tells no confidence")
    return getattr(known, name)


_CONFIDENCE = DataType.OBJECT(
    "confidence", {"set": DataType.ARRAY(DataType.STRING), "familiar": DataType.FLOAT}, _confidence
)


def _parts(node: Any) -> Iterator[Any]:
    for name in _PARTS[type(node)]:
        part = getattr(node, name)
        yield from part if isinstance(part, list | tuple | set | frozenset) else (part,)


def _ensure_words(text: str) -> None:
    words = rule_engine.Rule.parser._lexer.clone()
    words.input(text)
    for word in words:
        if word.type in _REFUSED_WORDS:
            raise ValueError(f"a rule knows no {_REFUSED_WORDS[word.type]}")


def _ensure_allowed(node: Any) -> None:
    if type(node) in _REFUSED:
        raise ValueError(f"a rule knows no {_REFUSED[type(node)]}")
    if type(node) not in _PARTS:
        raise ValueError(f"a rule knows no {type(node).__name__.removesuffix('Expression').lower()}")
    if isinstance(node, ast.SymbolExpression):
        if node.scope is not None and node.name not in FUNCTIONS:
            raise ValueError(f"unknown function ${node.name}; it may be {', '.join(f'${one}' for one in FUNCTIONS)}")
        if node.scope is None and node.name == "inputs":
            raise ValueError("inputs is asked as inputs.STREAM.FIELD")


def _place(node: Any) -> tuple[str, str] | None:
    """The stream and the field that this node asks for: inputs.STREAM.FIELD."""
    inner = node.object if isinstance(node, ast.GetAttributeExpression) else None
    root = inner.object if isinstance(inner, ast.GetAttributeExpression) else None
    if inner is not None and isinstance(root, ast.SymbolExpression) and root.scope is None and root.name == "inputs":
        return inner.name, node.name
    return None


def _ensure_stream(stream: str, modalities: Mapping[str, str]) -> None:
    if stream not in modalities:
        raise ValueError(f"unknown stream {stream!r}; streams are {', '.join(modalities)}")


def _ensure_told(stream: str, field: str, modalities: Mapping[str, str]) -> None:
    _ensure_stream(stream, modalities)
    kind = modalities[stream]
    if kind not in ("text", "sensor"):
        raise ValueError(f"stream {stream!r} is of {kind}: a rule sees fields of sensors, and texts")
    if kind == "text" and field != "text":
        raise ValueError(f"stream {stream!r} has texts: inputs.{stream}.text is all that a rule sees of it")


def _held_against(node: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """Words, each with the `_path` of what it is held against: label == "a", label in ["a", "b"], scores["a"],
    "a" in confidence.set, "b" in missing, "b" in missing.keys, "a" in heads["h"]["labels"]."""
    if isinstance(node, ast.ComparisonExpression):
        pairs = [(node.left, node.right), (node.right, node.left)]
    elif isinstance(node, ast.ContainsExpression):
        pairs = [(node.member, node.container), (node.container, node.member)]
    elif isinstance(node, ast.GetItemExpression):
        pairs = [(node.container, node.item)]
    else:
        return
    for asked, words in pairs:
        if path := _path(asked):
            literals = _parts(words) if isinstance(words, ast.ArrayExpression | ast.SetExpression) else (words,)
            whole = not (path[-1] == "label" and isinstance(node, ast.ContainsExpression) and asked is node.container)
            yield from ((path, one.value) for one in literals if whole and isinstance(one, ast.StringExpression))


def _path(node: Any) -> tuple[str, ...]:
    """The name that is asked and the words in brackets behind it; nothing where it is anything else."""
    if isinstance(node, ast.GetAttributeExpression) and node.name in ("set", "keys"):
        node = node.object
    behind: list[str] = []
    while isinstance(node, ast.GetItemExpression) and isinstance(node.item, ast.StringExpression):
        behind, node = [node.item.value, *behind], node.container
    return (node.name, *behind) if isinstance(node, ast.SymbolExpression) else ()


def _told(error: rule_engine.errors.EngineError) -> str:
    hint = getattr(error, "suggestion", None)
    if (error.message or "").startswith("attribute access on a MAPPING"):
        return (
            'scores, missing and heads are asked as scores["LABEL"], missing&["STREAM"] and heads["HEAD"]["number"], '
            "with brackets"
        )
    said = error.message or f"{type(error).__name__} {getattr(error, 'name', getattr(error, 'attribute_name', ''))}"
    return f"cannot be parsed: {said}" + (f"; did you mean {hint}?" if hint else "")
