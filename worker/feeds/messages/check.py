"""A sample of messages -> what each field of each became (`feed mqtt --check FILE`)."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from worker.errors import ConfigError
from worker.feeds.messages.bodies import Unusable, bounded
from worker.feeds.messages.joins import NEVER_US, Joined, Joiner
from worker.feeds.messages.mapping import MessageMapping, Rule
from worker.feeds.messages.translate import Message, Read, Translator
from worker.feeds.messages.values import Value, written
from worker.feeds.outlet import LiveEvent
from worker.strict_json import read_json, write_json
from worker.text_files import read_text

_WIDE, _SHOWN = 34, 60
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG")
_RECORD = "a record"


def check(mapping: MessageMapping, translator: Translator, file: Path, say: Callable[[str], None]) -> int:
    """Says it all; the exit code: 0, or 1 where a message was of no use.

    Raises:
        ConfigError: the file cannot be read, or holds no message.
    """
    joins = [rule.join for rule in mapping.rule if rule.join]
    joiner = Joiner({j.rule: [one for one in joins if one.rule == j.rule] for j in joins}, _Quiet())
    bad = 0
    for message in messages_in(file):
        try:
            read = bounded(partial(translator.read, message))
        except Unusable as error:
            say(f"{message.topic or _RECORD}: left out, {error.reason}: {error}")
            bad += 1
            continue
        if read is None:
            say(f"{message.topic or _RECORD}: left out: no rule of {mapping.name} knows it")
            bad += 1
            continue
        for joined in joiner.take(read):
            bad += _tell(joined, translator, say)
    for joined in joiner.due(NEVER_US):
        bad += _tell(joined, translator, say)
    return 1 if bad else 0


def messages_in(file: Path) -> Iterator[Message]:
    """Messages of a file: a line each, JSON with `topic` and `payload` (as `mosquitto_sub -F %J` writes it; bytes as
    `payload_base64`), `TOPIC PAYLOAD` (as `mosquitto_sub -v` does), or a JSON value of a Kafka topic.

    Raises:
        ConfigError: it cannot be read, or holds none.
    """
    try:
        lines = read_text(file).split("\n")
    except ValueError as error:
        raise ConfigError(f"--check {file}: {error}{_picture_in(file)}") from error
    numbered = [(n, line.removesuffix("\r")) for n, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise ConfigError(f"--check {file}: holds no message; a line each: TOPIC PAYLOAD, or JSON")
    for number, line in numbered:
        now_us = time.time_ns() // 1000
        try:
            topic, payload = _line(line)
        except ValueError as error:
            raise ConfigError(f"--check {file}, line {number}: {error}") from error
        yield Message(topic, payload, now_us, place=f"{file.name}/0/{number - 1}")


def _picture_in(file: Path) -> str:
    if not file.is_file() or not any(begin in file.read_bytes() for begin in _PICTURES):
        return ""
    return "; a picture is in it: leave such topics out, as by mosquitto_sub -T 'frigate/+/+/snapshot'"


def _line(line: str) -> tuple[str, bytes]:
    if not line.startswith("{"):
        topic, _, payload = line.partition(" ")
        return ("", line.encode()) if _is_json(line) else (topic, payload.encode())
    found = read_json(line.encode())
    if not isinstance(found.get("topic"), str) or not ({"payload", "payload_base64"} & found.keys()):
        return "", line.encode()
    # Half a surrogate pair is in no topic.
    found["topic"].encode()
    if "payload_base64" in found:
        if not isinstance(found["payload_base64"], str):
            raise ValueError("payload_base64 is no text")
        return found["topic"], base64.b64decode(found["payload_base64"], validate=True)
    payload = found["payload"]
    return found["topic"], payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()


def _is_json(line: str) -> bool:
    """A record of Kafka may be any JSON value; no topic with a payload behind it is one."""
    try:
        read_json(line.encode())
    except ValueError:
        return False
    return True


def _tell(joined: Joined, translator: Translator, say: Callable[[str], None]) -> int:
    read, rule = joined.read, joined.read.rule
    head = f"{read.message.topic or _RECORD}: rule {rule.name}"
    if rule.skip:
        say(f"{head}: makes no event")
        return 0
    if not translator.has_stream(rule):
        say(f"{head}: makes no event: there is no stream of modality {rule.modality}")
        return 0
    try:
        event, doubt = bounded(partial(translator.event, read, joined.payloads, joined.of))
    except Unusable as error:
        say(f"{head}: left out, {error.reason}: {error}")
        return 1
    say(f"{head} -> {event.stream} ({rule.modality})")
    _row(say, "key", event.key, translator.key_text(rule))
    _row(say, "id", event.id, rule.id)
    at = datetime.fromtimestamp(event.time_us / 1e6, UTC).isoformat()
    _row(say, "time", at, f"ce_clock {event.attributes['clock']}" + (f": {doubt}" if doubt else ""))
    _tell_body(event, rule, say)
    for name, value in event.attributes.items():
        if name != "clock":
            _row(say, f"ce_{name}", value, rule.attributes.get(name, ""))
    _tell_fields(read, rule, say)
    return 0


def _tell_body(event: LiveEvent, rule: Rule, say: Callable[[str], None]) -> None:
    if rule.modality == "sensor":
        for name, value in read_json(event.body).items():
            _row(say, f"body.{name}", write_json(value).decode(), "")
    elif rule.modality == "text":
        _row(say, "body", event.body.decode(), "")
    else:
        _row(say, "body", f"{len(event.body)} bytes of {event.content_type}", "")


def _tell_fields(read: Read, rule: Rule, say: Callable[[str], None]) -> None:
    """Each field of the payload, and what it became."""
    if not isinstance(read.facts.payload, dict | list):
        return
    became: dict[str, list[str]] = {}
    for what, text in rule.values():
        for path in Value(text).pointers:
            became.setdefault(path, []).append(what)
    say("  fields:")
    for path, value in _leaves(read.facts.payload, ""):
        roles = [what for at, told in became.items() if path == at or path.startswith(f"{at}/") for what in told]
        if rule.body == "" and path.split("/")[1:2] in [[name] for name in rule.leave]:
            roles = [role for role in roles if role != "body"]
        _row(say, f"  {path}", written(value) if value is not None else "null", ", ".join(roles) or "not used")


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not isinstance(value, dict | list) or not value:
        yield path, value
    for name, inner in pairs:
        yield from _leaves(inner, f"{path}/{str(name).replace('~', '~0').replace('/', '~1')}")


def _row(say: Callable[[str], None], what: str, value: str, source: str) -> None:
    shown = value if len(value) <= _SHOWN else f"{value[: _SHOWN - 1]}…"
    say(f"  {what:<{_WIDE}} {shown:<{_SHOWN if source else 0}} {source}".rstrip())


class _Quiet:
    """A log of which nothing is told."""

    def info(self, event: str, **_: Any) -> None:
        """Nothing."""

    warning = error = info
