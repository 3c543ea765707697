"""Aligned and Verdict -> the verdict as the first rule that holds leaves it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rule_engine.errors import EngineError

from schemas.names import ASKS, JSON
from worker.errors import ConfigError
from worker.readings import fields_of
from worker.records import Aligned, Event, Verdict
from worker.rules.expression import Expression, UntoldError
from worker.strict_json import read_json

# What results tell of a head, by its kind.
_PARTS = {
    "label": ("label", "score", "scores"), "labels": ("labels", "scores"), "number": ("number", "low", "high", "unit"),
}  # fmt: skip
# Of a library's sentence; it may repeat the rule's own text.
_SHOWN_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Written:
    """A rule as it stands in the configuration; `then`: a label, or ASKS."""

    name: str
    when: str
    then: str
    reason: str


class Head(Protocol):
    """What a model says beside its label."""

    @property
    def name(self) -> str:
        """Under which results tell it."""

    @property
    def kind(self) -> str:
        """`label`, `labels` or `number`."""

    @property
    def labels(self) -> Sequence[str]:
        """Which it may say; of a number none."""


class Says(Protocol):
    """What a model may say."""

    @property
    def labels(self) -> Sequence[str]:
        """Its labels."""

    @property
    def heads(self) -> Sequence[Head]:
        """Its further heads."""


class Rules:
    """Holds verdicts against rules, the first that holds decides. Pure: the same item has the same answer anywhere."""

    def __init__(
        self, rules: Sequence[Written], modalities: Mapping[str, str], failed: Callable[[str, str], object]
    ) -> None:
        """`modalities`: by stream; `failed(name, why)` hears of each rule that an item could not be held against.

        Raises:
            ConfigError: a rule cannot be parsed, or names what no item tells.
        """
        self._modalities, self._failed = modalities, failed
        self._rules = [(one, _parsed(number, one, modalities)) for number, one in enumerate(rules, 1)]

    @property
    def told(self) -> list[str]:
        """Each with what it says, in their order."""
        return [f"{rule.name} -> {rule.then}" for rule, _ in self._rules]

    def ensure_told(self, model: Says) -> None:
        """Whether this model can serve.

        Raises:
            ConfigError: a rule names a label or a head that it has not, or what its head does not tell.
        """
        heads = {one.name: one for one in model.heads}
        for number, (rule, expression) in enumerate(self._rules, 1):
            where = f"rule {number} {rule.name!r}"
            if rule.then != ASKS:
                _ensure([rule.then], model.labels, f"{where}: then: the model has no label", "labels", f', or "{ASKS}"')
            _ensure(expression.labels, model.labels, f"{where}: when: the model has no label", "labels")
            _ensure(expression.heads, heads, f"{where}: when: the model has no head", "heads")
            for name, labels in expression.heads.items():
                head, of = heads[name], f"{where}: when: head {name!r} of kind {heads[name].kind}"
                _ensure(expression.parts[name], _PARTS[head.kind], f"{of} has no", "parts")
                _ensure(labels, head.labels, f"{of} has no label", "labels")

    def ruled(self, aligned: Aligned, verdict: Verdict) -> Verdict:
        """The verdict with what the first rule that holds says; as it was where none does, or where it was shed."""
        if aligned.shed:
            return verdict
        item = self._item(aligned, verdict)
        for rule, expression in self._rules:
            try:
                holds = expression.holds(item)
            except Exception as error:  # noqa: BLE001  the boundary of one rule on one item
                self._failed(rule.name, _why(error))
                continue
            if holds:
                return _decided(rule, verdict)
        return verdict

    def _item(self, aligned: Aligned, verdict: Verdict) -> Mapping[str, Any]:
        return {
            "label": verdict.label,
            "score": verdict.score,
            "scores": dict(verdict.scores),
            "key": aligned.anchor.key,
            "missing": {name: str(reason) for name, reason in aligned.missing.items()},
            "inputs": _Inputs(aligned, self._modalities),
            "confidence": verdict.confidence,
            "heads": verdict.heads or {},
        }


class _Newest:
    """The fields of a stream's newest event."""

    __slots__ = ("fields",)

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.fields = fields


class _Inputs:
    """Reads a stream's newest event when a rule asks for it, once an item."""

    def __init__(self, aligned: Aligned, modalities: Mapping[str, str]) -> None:
        self._aligned, self._modalities = aligned, modalities
        self._read: dict[str, _Newest] = {}

    def of(self, stream: str) -> _Newest:
        """Raises UntoldError where nothing is matched."""
        if stream not in self._read:
            anchor = self._aligned.anchor
            events = (anchor,) if stream == anchor.stream else self._aligned.inputs.get(stream, ())
            if not events:
                raise UntoldError(f"stream {stream} is missing")
            self._read[stream] = _Newest(_fields(events[-1], self._modalities[stream]))
        return self._read[stream]


def _fields(event: Event, modality: str) -> Mapping[str, Any]:
    """As the model reads them: a sensor's may lie in an object `values`, a text's is `text`."""
    if modality == "text" and event.content_type != JSON:
        return {"text": event.payload.decode()}
    body = read_json(event.payload)
    fields: Mapping[str, Any] = fields_of(body) if modality == "sensor" else body
    return fields


def _parsed(number: int, rule: Written, modalities: Mapping[str, str]) -> Expression:
    try:
        return Expression(rule.when, modalities)
    except ValueError as error:
        raise ConfigError(f"rule {number} {rule.name!r}: when = {rule.when!r:.200}: {error}") from error


def _ensure(wanted: Collection[str], known: Collection[str], where: str, what: str, also: str = "") -> None:
    if absent := sorted(set(wanted) - set(known)):
        there = f"its {what} are {', '.join(known)}" if known else f"it has no {what}"
        raise ConfigError(f"{where} {absent[0]!r}; {there}{also}")


def _decided(rule: Written, verdict: Verdict) -> Verdict:
    """The label is the rule's, its score the model's of that label; the scores stay the model's."""
    said = {"name": rule.name, "reason": rule.reason, "label": verdict.label, "then": rule.then}
    label = verdict.label if rule.then == ASKS else rule.then
    score = verdict.score if label == verdict.label else verdict.scores.get(label, 0.0)
    return replace(verdict, label=label, score=score, rule=said)


def _why(error: Exception) -> str:
    """Without the item's own words: it goes to the log."""
    if isinstance(error, UntoldError):
        return str(error)
    if isinstance(error, EngineError):
        return (error.message or type(error).__name__)[:_SHOWN_CHARACTERS]
    return f"unexpected {type(error).__name__}"
