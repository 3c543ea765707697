"""A mapping as TOML: which messages are which events, and where their id, key, time and body stand."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, ValidationError, model_validator

from worker.durations import Duration
from worker.errors import ConfigError
from worker.feeds.messages.topics import NAMES_OF_OURS, TopicPattern
from worker.feeds.messages.values import Value
from worker.feeds.messages.wrong import sentence
from worker.sections import Section
from worker.text_files import read_text

PRESETS = Path(__file__).parent / "presets"
# Attributes of CloudEvents, and those that a feed adds.
_TAKEN = frozenset(
    {"id", "source", "specversion", "type", "time", "datacontenttype", "dataschema", "subject", "data"}
    | {"clock", "clockerrorms", "joinedof", "delivery"}
)
Modality = Literal["image", "text", "sensor", "audio"]


def _value(text: str) -> str:
    Value(text)
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone such as Europe/Berlin") from error
    return name


def _base(text: str) -> str:
    if re.search(r"[+#{}\x00]", text):
        raise ValueError(f"{text!r} is no beginning of a topic: it may hold no + # {{ }} and no NUL")
    return text.removesuffix("/")


_Value = Annotated[str, AfterValidator(_value)]
_Name = Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,31}$")]
_Zone = Annotated[str, AfterValidator(_zone)]


class Count(Section):
    """How many items a list has; `containing`: those texts alone that contain it."""

    count: _Value
    containing: str | None = None


class Join(Section):
    """Another message that belongs to this: the last that `rule` took within `before`, else the next within `after`.

    `on` of this message and `equals` of the other are the same text. `distinct` tells apart what several others are
    about: the attribute `joinedof` counts them where there were more than one.
    """

    rule: _Name
    on: _Value
    equals: _Value
    before: Duration = timedelta(0)
    after: Duration = timedelta(0)
    distinct: _Value = ""


class Rule(Section):
    """Messages of one kind; of several rules that match the first is taken.

    Attributes:
        topic: below the mapping's `base`, with `{name}` and `{name*}`; not set: any.
        when: what the payload must hold: a value by pointer, or true: anything there but null.
        skip: no event is made; what the message holds may be joined to others.
        payload: what it is read as; not set: JSON for text and sensor, else bytes.
        time: the first that is there and is to be believed; none: when it arrived.
        clock: what `ce_clock` says where `time` is used.
        clock_error: by how much that may be off, where it is known.
        body: not set: the payload as it is.
        prefix: stands before the fields of a body that is one object.
        leave: fields of such a body that are left out.
        numbers: a text that is a number becomes one.
    """

    name: _Name
    topic: str | None = None
    when: Mapping[_Value, str | int | float | bool] = Field(default_factory=dict)
    skip: bool = False
    payload: Literal["json", "text", "bytes"] | None = None
    modality: Modality | None = None
    key: _Value = ""
    id: _Value = ""
    time: tuple[_Value, ...] = ()
    zone: _Zone | None = None
    clock: str = Field("device", pattern=r"^[a-z][a-z_]{0,31}$")
    clock_error: Duration | None = None
    body: _Value | Mapping[_Value, _Value | Count] | None = None
    prefix: _Value = ""
    leave: tuple[str, ...] = ()
    numbers: bool = False
    type: str = ""
    attributes: Mapping[Annotated[str, Field(pattern=r"^[a-z0-9]{1,20}$")], _Value] = Field(default_factory=dict)
    join: Join | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Rule:
        if self.skip:
            return self
        if absent := [n for n in ("modality", "key", "id", "type") if not getattr(self, n)]:
            raise ValueError(f"rule {self.name!r} needs {', '.join(absent)}, or skip = true")
        if taken := _TAKEN & self.attributes.keys():
            raise ValueError(f"rule {self.name!r}: attributes: {min(taken)!r} is said of every event already")
        if self.body is None and self.modality == "sensor":
            raise ValueError(f'rule {self.name!r}: a sensor needs a body: fields, or "" for the whole object')
        if isinstance(self.body, Mapping) and not self.body:
            raise ValueError(f'rule {self.name!r}: body: it names no field; body = "" takes the whole object')
        if isinstance(self.body, Mapping) and self.modality != "sensor":
            raise ValueError(f"rule {self.name!r}: a body of fields is a sensor's; others have one value")
        return self

    @property
    def read_as(self) -> str:
        """`json`, `text` or `bytes`."""
        raw = self.skip or (self.modality in ("image", "audio") and self.body is None)
        return self.payload or ("bytes" if raw else "json")

    def values(self) -> Iterator[tuple[str, str]]:
        """(what it becomes, as it stands in the mapping) of each value."""
        yield from ((f"when {text}", text) for text in self.when)
        if not self.skip:
            yield from (("key", self.key), ("id", self.id), *(("time", one) for one in self.time))
            yield from (("body" if field is None else f"body.{field}", text) for field, text in self.fields())
            yield from ((f"ce_{name}", text) for name, text in self.attributes.items())
        if self.join is not None:
            yield "join", self.join.on

    def fields(self) -> Iterator[tuple[str | None, str]]:
        """(field, value) of the body; the field is None where the body is one value."""
        if isinstance(self.body, Mapping):
            yield from ((n, v.count if isinstance(v, Count) else v) for n, v in self.body.items())
        elif self.body is not None:
            yield None, self.body


class MessageMapping(Section):
    """A whole mapping.

    Attributes:
        base: where its topics begin (`topic_prefix`, `base_topic` of the other program).
        not_read: what of the other program makes no event or field, in words.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    about: str = ""
    not_read: str = ""
    base: Annotated[str, AfterValidator(_base)] = ""
    rule: tuple[Rule, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_known(self) -> MessageMapping:
        names = [rule.name for rule in self.rule]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two rules are called {twice[0]!r}")
        for rule in self.rule:
            _check(rule, {one.name: one for one in self.rule})
        return self


def _check(rule: Rule, rules: Mapping[str, Rule]) -> None:
    """Raises ValueError: a value names what is not there, or what no message that it is read of can have."""
    join = rule.join
    if join is not None and join.rule not in rules:
        raise ValueError(f"rule {rule.name!r}: join: there is no rule {join.rule!r}")
    early = {*(f"when {text}" for text in rule.when), "join"}
    for what, text in [*rule.values(), ("prefix", rule.prefix), *(("body", f) for f, _ in rule.fields() if f)]:
        # What a message is, and what it is joined to, is told before its time and its partner are.
        _check_value(rule, what, text, rule, "time" if what in early | {"time"} else "")
        joined = {join.rule} if join is not None and what not in early else set()
        if absent := set(Value(text).joins) - joined:
            raise ValueError(f"rule {rule.name!r}: {what}: {min(absent)}#: no such message is joined")
    if join is None:
        return
    for what, text in (("join.equals", join.equals), ("join.distinct", join.distinct)):
        _check_value(rule, what, text, rules[join.rule], "time")
        if strange := Value(text).joins:
            raise ValueError(
                f"rule {rule.name!r}: {what}: it is read of the message of {join.rule!r}; leave {strange[0]}# out"
            )


def _check_value(rule: Rule, what: str, text: str, of: Rule, unknown: str) -> None:
    """Whether a message of the rule `of` can have it; `unknown`: a name of ours that is not known there."""
    value, whose = Value(text), "its topic" if of is rule else f"the topic of {of.name!r}"
    given = NAMES_OF_OURS - {unknown} | set(() if of.topic is None else TopicPattern(of.topic).names)
    if strange := set(value.names) - given:
        raise ValueError(f"rule {rule.name!r}: {what}: {{{min(strange)}}} is not in {whose}")
    if of.read_as != "json" and (paths := [path for path in value.pointers if path]):
        raise ValueError(
            f"rule {rule.name!r}: {what}: {paths[0]} stands in JSON, but {of.name!r} is read as {of.read_as}; "
            f'give it payload = "json"'
        )


_KEYS = {
    "": MessageMapping.model_fields,
    "rule": Rule.model_fields,
    "join": Join.model_fields,
    "body": Count.model_fields,
}


def mapping_of(file: Path, base: str | None = None) -> MessageMapping:
    """The mapping in a file; `base` stands for its own.

    Raises:
        ConfigError: one line that names the file or `--base`, the key and what is wrong.
    """
    try:
        given = {} if base is None else {"base": _base(base)}
    except ValueError as error:
        raise ConfigError(f"--base: {error}") from error
    try:
        table = tomllib.loads(read_text(file))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from error
    try:
        return MessageMapping.model_validate(table | given)
    except ValidationError as error:
        raise ConfigError(f"{file}: {sentence(error, table, _KEYS)}") from error


def preset_file(transport: str, name: str) -> Path:
    """Where a preset is; ConfigError: there is none."""
    known = presets_of(transport)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        told = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise ConfigError(f"--preset: there is no {name!r} for {transport}; {told}")
    return PRESETS / transport / f"{name}.toml"


def presets_of(transport: str) -> list[str]:
    """The names of those for `mqtt` or `kafka`."""
    return sorted(file.stem for file in (PRESETS / transport).glob("*.toml"))
