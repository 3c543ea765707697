"""`fusion-worker review`: what waits for a person, and the answer to one of it. No group is joined."""

from __future__ import annotations

import contextlib
import json
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from schemas import names
from worker.errors import ConfigError, Poison
from worker.numbers import count
from worker.records import Outgoing, Partition, Record
from worker.strict_json import read_json

if TYPE_CHECKING:
    from worker.broker.log import LogReader
    from worker.config import Settings
    from worker.stages.validate import Validator

Say = Callable[[str], None]

DEFAULT_LIMIT = 20
# Of a text so much is shown; `explain` shows all of it.
MOST_CHARACTERS = 200
MOST_LABELS = 3


def add_review_arguments(parser: ArgumentParser) -> None:
    """What `review` takes."""
    parser.add_argument("id", nargs="?", help="the result that is answered; without it what waits is shown")
    parser.add_argument("label", nargs="?", help="what it is")
    parser.add_argument("--limit", type=count, default=DEFAULT_LIMIT, metavar="N",
                        help=f"show so many, the newest (default {DEFAULT_LIMIT})")  # fmt: skip
    parser.add_argument("--by", metavar="NAME", help="who answers; need not be told")
    parser.add_argument("--take-back", action="store_true", help="take back what was answered")
    parser.add_argument("--new-label", action="store_true", help="the label is one that no result knows")


def review(settings: Settings, chosen: Namespace, say: Say) -> int:
    """Shows what waits, or answers; 0 when it did.

    Raises:
        ConfigError: a topic is not named or not there, or the id or the label is not known.
    """
    from worker.connect import topics_of

    if settings.review.topic is None or settings.review.labels is None:
        raise ConfigError("review.topic and review.labels: name both; there is nothing to review without them")
    if chosen.id is not None and (not chosen.label) != chosen.take_back:
        raise ConfigError("review: give an id and a label, or an id and --take-back, or neither to see what waits")
    connection = topics_of(settings, [settings.review.topic, settings.review.labels, settings.output.topic])
    if chosen.id is None:
        return _show(settings, connection, chosen.limit, say)
    return _answer(settings, connection, chosen, say)


def _read(connection: Mapping[str, Any], topics: list[str]) -> Iterable[Record]:
    """All that is committed by now."""
    from worker.broker.reader import CommittedReader

    with contextlib.closing(CommittedReader(connection, topics)) as reader:
        ends = reader.ends()
        while not reader.reached(ends):
            yield from reader.read(0.2)


def _show(settings: Settings, connection: Mapping[str, Any], limit: int, say: Say) -> int:
    from worker.broker.log import LogReader
    from worker.from_settings import masker_of, validator_of
    from worker.ops.clock import SystemClock
    from worker.recording.told import Answers

    answers, asked = Answers(), dict[tuple[str, str], Record]()
    for record in _read(connection, [str(settings.review.topic), str(settings.review.labels)]):
        if record.topic == settings.review.labels:
            answers.add(record)
        else:
            asked[_name(record)] = record
    waiting = [record for (key, id_), record in asked.items() if answers.of(key, id_) is None]
    waiting.sort(key=lambda record: (-record.timestamp_ms, record.place))
    validator = validator_of(settings, SystemClock(), masker_of(settings, before_model=True))
    with contextlib.closing(LogReader(connection)) as log:
        for record in waiting[:limit]:
            for line in _lines(settings, log, validator, record):
                say(line)
    if answers.bad:
        say(f"warning: {len(answers.bad)} records are no answers, the first: {answers.bad[0]}")
    say(f"{len(waiting)} of {len(asked)} wait for an answer; `fusion-worker review ID LABEL` gives one")
    return 0


def _name(record: Record) -> tuple[str, str]:
    """Key and id of a review: a second one of an anchor that was read again is the same."""
    own_id = next((has or b"" for name, has in record.headers if name == names.CE_ID), b"")
    return (record.key or b"").decode(errors="replace"), own_id.decode(errors="replace")


def _doubt(doubt: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    if doubt["reason"] == "rule" and "rule" in result:
        return f"rule {result['rule']['name']}: {result['rule']['reason']!r}"
    return f"{doubt['reason']} {doubt['value']:g} (limit {doubt['limit']:g})"


def _lines(settings: Settings, log: LogReader, validator: Validator, record: Record) -> list[str]:
    """One review: what it is about, why, and its texts; other bodies by their places."""
    try:
        body = read_json(record.value or b"")
        result = body.get("result")
        why = ", ".join(_doubt(one, result or {}) for one in body["reasons"])
        if result is None:
            return [f"{body['id']}  {body['key']!r}  {why}; the result is on {settings.output.topic} alone"]
        ranked = sorted(dict(result["scores"]).items(), key=lambda one: -one[1])[:MOST_LABELS]
        lines = [f"{body['id']}  {body['key']!r}  {result['time']}  {why}",
                 "  " + ", ".join(f"{label!r} {score:.2f}" for label, score in ranked)]  # fmt: skip
        for name, told in result["inputs"].items():
            for one in told if isinstance(told, list) else [told]:
                is_text = name in settings.streams and settings.streams[name].modality == "text"
                shown = f"  {_text(log, validator, one)}" if is_text else ""
                lines.append(f"  {name}  {one['topic']}/{one['partition']}/{one['offset']}{shown}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{record.place}: is no review ({type(error).__name__}: {error})"]
    return lines


def _text(log: LogReader, validator: Validator, told: Mapping[str, Any]) -> str:
    """The text of an input, or that it is gone."""
    partition = Partition(str(told["topic"]), int(told["partition"]))
    first, end = log.bounds(partition.topic).get(partition, (0, 0))
    record = log.record_at(partition, told["offset"]) if first <= told["offset"] < end else None
    if record is None:
        return "(no longer there)"
    try:
        event = validator.reread(record)
    except Poison as poison:
        return f"({poison})"
    text = event.payload.decode()
    return repr((read_json(event.payload)["text"] if event.content_type == names.JSON else text)[:MOST_CHARACTERS])


def _answer(settings: Settings, connection: Mapping[str, Any], chosen: Namespace, say: Say) -> int:
    from worker.broker.producer import record_producer

    found, labels = None, set[str]()
    for record in _read(connection, [str(settings.review.topic), settings.output.topic]):
        if (names.CE_ID, str(chosen.id).encode()) in record.headers:
            body = read_json(record.value or b"{}")
            found = record
            labels.update((body.get("result") or body).get("scores", ()))
    if found is None:
        raise ConfigError(f"id {chosen.id!r}: no such result on {settings.review.topic} or {settings.output.topic}")
    if chosen.label is not None and chosen.label not in labels and labels and not chosen.new_label:
        raise ConfigError(f"label {chosen.label!r}: the result knows {', '.join(sorted(labels))}; --new-label takes it")
    now_ms = time.time_ns() // 1_000_000
    with record_producer(connection) as producer:
        producer.send(_label(settings, chosen, found, now_ms), now_ms)
        producer.flush()
    say(f"{chosen.id}: {'taken back' if chosen.take_back else chosen.label}")
    return 0


def _label(settings: Settings, chosen: Namespace, asked: Record, now_ms: int) -> Outgoing:
    """The answer (schema `label.v1`)."""
    from worker.stages.publish import rfc3339

    key = (asked.key or b"").decode()
    body = {"id": chosen.id, "key": key, "label": chosen.label, "time": rfc3339(now_ms * 1000)}
    if chosen.by is not None:
        body["by"] = chosen.by
    headers = (
        (names.CE_SPECVERSION, names.SPEC_VERSION.encode()), (names.CE_ID, f"{chosen.id}-{now_ms}".encode()),
        (names.CE_SOURCE, b"/fusion-worker/review"), (names.CE_TYPE, names.LABEL_TYPE.encode()),
        (names.CONTENT_TYPE, names.JSON.encode()),
    )  # fmt: skip
    return Outgoing(str(settings.review.labels), asked.key, json.dumps(body, ensure_ascii=False).encode(), headers)
