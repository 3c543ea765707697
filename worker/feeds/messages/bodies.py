"""The body of an event: a text, the bytes of a picture or a sound, or the fields of a reading."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from worker.errors import FusionError
from worker.feeds.messages.mapping import Count, Rule
from worker.feeds.messages.values import Facts, Missing, number_in, value_of, written
from worker.strict_json import write_json

_CONTENT = {"text": "text/plain", "sensor": "application/json", "audio": "audio/wav"}
_PNG, _JPEG = b"\x89PNG", b"\xff\xd8"

_Made = TypeVar("_Made")


class Unusable(FusionError):
    """The message makes no event.

    Attributes:
        reason: a word for the metric: `malformed`, `empty` or `unmapped`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def bounded(make: Callable[[], _Made]) -> _Made:
    """What it makes; a fault of ours in one message is that message's, or it would come again at every start.

    Raises:
        Unusable: it failed with anything but an error of ours.
    """
    try:
        return make()
    except FusionError:
        raise
    except Exception as error:
        raise Unusable("malformed", f"{type(error).__name__}: {error}") from error


def body_of(rule: Rule, facts: Facts, payload: bytes) -> tuple[str, bytes]:
    """Content type and body. Raises Unusable: there is none."""
    if rule.modality == "sensor":
        return _CONTENT["sensor"], write_json(dict(_reading(rule, facts)))
    body = payload if rule.body is None else _one(rule, facts)
    if not body.strip():
        raise Unusable("empty", f"{rule.name}: there is no {rule.modality} in it")
    if rule.modality == "image":
        if not body.startswith((_PNG, _JPEG)):
            raise Unusable("malformed", f"{rule.name}: body: {len(body)} bytes that are no JPEG and no PNG")
        return "image/png" if body.startswith(_PNG) else "image/jpeg", body
    return _CONTENT[str(rule.modality)], body


def _one(rule: Rule, facts: Facts) -> bytes:
    try:
        found = value_of(str(rule.body)).of(facts)
    except Missing as error:
        raise Unusable("empty", f"{rule.name}: body: the message has no {error}") from None
    if found is None or isinstance(found, bytes):
        return found or b""
    text = written(found)
    if rule.modality == "text":
        return text.encode()
    try:
        return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unusable("malformed", f"{rule.name}: body: no base64 ({error})") from None


def _reading(rule: Rule, facts: Facts) -> Iterator[tuple[str, Any]]:
    """The fields of a sensor's body. Raises Unusable: it holds none."""
    if isinstance(rule.body, Mapping):
        found = list(_fields(rule, facts))
    else:
        whole = _whole(rule, facts)
        prefix = _prefix(rule, facts)
        found = [(prefix + name, value) for name, value in _flat(whole, rule.leave)]
    if not found:
        raise Unusable("empty", f"{rule.name}: no field of its body is there")
    yield from ((name, number_in(value) if rule.numbers else value) for name, value in found)


def _prefix(rule: Rule, facts: Facts) -> str:
    if not rule.prefix:
        return ""
    try:
        found = value_of(rule.prefix).of(facts)
    except Missing as error:
        raise Unusable("malformed", f"{rule.name}: prefix: the message has no {error}") from None
    if found is None:
        raise Unusable("malformed", f"{rule.name}: prefix: {rule.prefix} is empty")
    return written(found)


def _fields(rule: Rule, facts: Facts) -> Iterator[tuple[str, Any]]:
    assert isinstance(rule.body, Mapping)
    for name, value in rule.body.items():
        text = value.count if isinstance(value, Count) else value
        try:
            found = value_of(text).of(facts)
            field = written(value_of(name).of(facts)) if "{" in name else name
        except Missing:
            continue
        yield field, _counted(found, value) if isinstance(value, Count) else _plain(found)


def _whole(rule: Rule, facts: Facts) -> dict[str, Any]:
    try:
        found = value_of(str(rule.body)).of(facts)
    except Missing:
        found = None
    if not isinstance(found, dict):
        raise Unusable("malformed", f"{rule.name}: body: {rule.body or 'the payload'} is no JSON object")
    return found


def _counted(found: Any, wanted: Count) -> int | None:
    if not isinstance(found, list):
        return None
    return sum(wanted.containing is None or wanted.containing in written(one) for one in found)


def _plain(value: Any) -> Any:
    """What a reading may hold: a number, a word, null, or a list of numbers; anything else as a word, an empty list as
    null."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list) and value and all(isinstance(one, int | float) for one in value):
        return value
    return written(value) or None


def _flat(table: Mapping[str, Any], leave: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if name in leave:
            continue
        if isinstance(value, dict):
            yield from ((f"{name}_{inner}", one) for inner, one in _flat(value, ()))
        else:
            yield name, _plain(value)
