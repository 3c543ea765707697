"""A mapping as TOML: which messages are which events, and where their id, key, time and body stand."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, ValidationError, model_validator

from worker.durations import Duration
from worker.errors import ConfigError
from worker.feeds.messages.topics import NAMES_OF_OURS, TopicPattern
from worker.feeds.messages.values import Value
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
    base: str = Field("", pattern=r"^[^+#{}\x00]*$")
    rule: tuple[Rule, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_known(self) -> MessageMapping:
        names = [rule.name for rule in self.rule]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two rules are called {twice[0]!r}")
        for rule in self.rule:
            given = NAMES_OF_OURS | set(() if rule.topic is None else TopicPattern(rule.topic).names)
            self._check(rule, given, names)
        return self

    @staticmethod
    def _check(rule: Rule, given: set[str] | frozenset[str], names: list[str]) -> None:
        joined = {rule.join.rule} if rule.join else set()
        if absent := joined - set(names):
            raise ValueError(f"rule {rule.name!r}: join: there is no rule {min(absent)!r}")
        held = [*rule.values(), ("prefix", rule.prefix), *(("body", f) for f, _ in rule.fields() if f)]
        for what, text in held:
            value = Value(text)
            if strange := set(value.names) - given:
                raise ValueError(f"rule {rule.name!r}: {what}: {{{min(strange)}}} is not in its topic")
            if strange := set(value.joins) - joined:
                raise ValueError(f"rule {rule.name!r}: {what}: {min(strange)}#: no such message is joined")


def mapping_of(file: Path, base: str | None = None) -> MessageMapping:
    """The mapping in a file; `base` stands for its own.

    Raises:
        ConfigError: one line that names the file, the key and what is wrong.
    """
    try:
        table = tomllib.loads(read_text(file))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from error
    try:
        return MessageMapping.model_validate(table | ({} if base is None else {"base": base}))
    except ValidationError as error:
        raise ConfigError(f"{file}: {_sentence(error, table)}") from error


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


def _sentence(error: ValidationError, table: dict[str, Any]) -> str:
    """The first thing that is wrong, as a phrase; a rule is called by its name."""
    first: Any = error.errors()[0]
    parts = [str(part) for part in first["loc"] if not re.search(r"[\[(]", str(part))]
    said = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = Rule.model_fields if parts[0] == "rule" else MessageMapping.model_fields
        near = difflib.get_close_matches(parts[-1], known, n=1)
        said = f"there is no such key; did you mean {near[0]}?" if near else "there is no such key"
    if parts[:1] == ["rule"] and len(parts) > 1 and isinstance(own := table["rule"][int(parts[1])], dict):
        parts[1] = str(own.get("name", parts[1]))
    place = ".".join(parts)
    return f"{place}: {said}" if place else said
