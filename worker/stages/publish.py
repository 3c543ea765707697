"""Aligned and Verdict -> Outgoing result; Rejected -> Outgoing dead letter (CONTRACT sections 2 and 3)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from schemas import names
from worker.records import Aligned, Event, Outgoing, Rejected, Verdict
from worker.stages.words import told
from worker.strict_json import write_json

_EPOCH = datetime(1970, 1, 1)
# 128 bits: a trillion results meet a collision with a chance below 1e-14, and the id stays as short as a UUID.
_ID_BYTES = 16
# Kafka counts headers into the size of the record; a longer message tells an operator nothing more.
_MESSAGE_CHARACTERS = 1_000
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# An attempts header is written by this worker; more digits than this are somebody else's.
_ATTEMPTS_DIGITS = 9
_OURS = (names.ATTEMPTS, names.TIMESTAMP, names.PRIVACY, *names.OMITTED)
_UNTOLD = "not told: the model sees what is not masked ([privacy] before_model = false)"


def result_id(source: str, event_id: str) -> str:
    """The id of an anchor's result: 32 hex digits, from the anchor's source and id alone.

    The source's length goes in front, so that ("a", "bc") and ("ab", "c") differ.
    """
    first = source.encode()
    return hashlib.blake2b(b"%d:%s%s" % (len(first), first, event_id.encode()), digest_size=_ID_BYTES).hexdigest()


def rfc3339(time_us: int) -> str:
    """`2026-01-01T00:00:03.250Z`; six digits when the time is finer than a millisecond."""
    timespec = "microseconds" if time_us % 1000 else "milliseconds"
    return (_EPOCH + timedelta(microseconds=time_us)).isoformat(timespec=timespec) + "Z"


class ResultWriter:
    """Builds what is published. Pure: the same input gives the same bytes, on any worker."""

    def __init__(
        self,
        output_topic: str,
        dead_letter_topic: str,
        *,
        source: str,
        model_name: str,
        model_version: str,
        window_streams: Collection[str] = (),
        embedding: bool = False,
        language: str = "en",
        tells: bool = True,
    ) -> None:
        """`source` becomes `ce_source`; `window_streams` are those whose `inputs` entry is a list; `language` is that
        of `evidence.text`. `tells` False: what a decoder or the model says of a body is not repeated."""
        self._tells = tells
        self._output_topic, self._dead_letter_topic = output_topic, dead_letter_topic
        self._model = {"name": model_name, "version": model_version}
        self._window_streams = frozenset(window_streams)
        self._embedding, self._language = embedding, language
        self._source = source.encode()
        self._headers = (
            (names.CE_SPECVERSION, names.SPEC_VERSION.encode()),
            (names.CE_SOURCE, self._source),
            (names.CE_TYPE, names.RESULT_TYPE.encode()),
            (names.CONTENT_TYPE, names.JSON.encode()),
        )

    def result(self, aligned: Aligned, verdict: Verdict) -> Outgoing:
        """The one result of an anchor (schema `result.v1`), keyed as the anchor is.

        Raises:
            ValueError: a score is not finite; the Model port promises that none is.
        """
        anchor = aligned.anchor
        own_id, time = result_id(anchor.source, anchor.id), rfc3339(anchor.time_us)
        body: dict[str, Any] = {
            "id": own_id,
            "key": anchor.key,
            "time": time,
            "label": verdict.label,
            "score": verdict.score,
            "scores": dict(verdict.scores),
            "inputs": self._inputs(aligned, time),
            "missing": {name: str(aligned.missing[name]) for name in sorted(aligned.missing)},
            "complete": aligned.complete,
            "model": verdict.model or self._model,
        }
        # A stream that lost events before the model saw any is told by that bound.
        if truncated := {**verdict.truncated, **aligned.truncated}:
            body["truncated"] = dict(sorted(truncated.items()))
        if self._embedding and verdict.embedding is not None:
            body["embedding"] = verdict.embedding
        if verdict.confidence is not None:
            body["confidence"] = {"set": verdict.confidence.set, "familiar": verdict.confidence.familiar}
        if verdict.heads is not None:
            body["heads"] = dict(verdict.heads)
        if verdict.rule is not None:
            body["rule"] = dict(verdict.rule)
        if verdict.evidence is not None:
            body["evidence"] = {**verdict.evidence, "text": told(body, verdict.evidence, self._language)}
        headers = ((names.CE_ID, own_id.encode()), (names.CE_TIME, time.encode()), *self._headers, *_trace(anchor))
        return Outgoing(self._output_topic, anchor.record.key, write_json(body), headers)

    def disagreement(self, topic: str, anchor: Event, served: Verdict, shadow: Verdict) -> Outgoing:
        """What two models say of an anchor (schema `shadow.v1`), keyed as the anchor is."""
        own_id, time = result_id(anchor.source, anchor.id), rfc3339(anchor.time_us)
        both = {"served": self._said(served), "shadow": self._said(shadow)}
        changed = {names.CE_SOURCE: self._source + b"/shadow", names.CE_TYPE: names.SHADOW_TYPE.encode()}
        kept = ((name, changed.get(name, has)) for name, has in self._headers)
        headers = ((names.CE_ID, own_id.encode()), (names.CE_TIME, time.encode()), *kept, *_trace(anchor))
        value = write_json({"id": own_id, "key": anchor.key, "time": time, **both})
        return Outgoing(topic, anchor.record.key, value, headers)

    def _said(self, verdict: Verdict) -> dict[str, Any]:
        scores = dict(verdict.scores)
        return {"label": verdict.label, "score": verdict.score, "scores": scores, "model": verdict.model or self._model}

    def _inputs(self, aligned: Aligned, anchor_time: str) -> dict[str, Any]:
        """The anchor first, then the context streams by name."""
        anchor = aligned.anchor
        inputs: dict[str, Any] = {anchor.stream: _input(anchor, anchor_time)}
        for name in sorted(aligned.inputs):
            events = aligned.inputs[name]
            entries = [
                {**_input(one, rfc3339(one.time_us)), "delta_ms": _milliseconds(one.time_us - anchor.time_us)}
                for one in events
            ]
            if name in self._window_streams:
                inputs[name] = entries
            elif entries:
                inputs[name] = entries[0]
        return inputs

    def dead_letter(self, rejected: Rejected) -> Outgoing:
        """The record as it came, with headers that say where from, why, and how often it was tried.

        Headers of an earlier round trip are replaced; `fusion.attempts` counts on from the earlier one.
        """
        record = rejected.record
        kept = tuple(one for one in record.headers if not _is_ours(one[0]))
        attempts = rejected.attempts + _earlier_attempts(record.headers)
        new = {
            names.ERRORS_TOPIC: record.topic,
            names.ERRORS_PARTITION: str(record.partition),
            names.ERRORS_OFFSET: str(record.offset),
            names.ERRORS_STAGE: str(rejected.stage),
            names.ERRORS_CLASS: rejected.exception,
            names.ERRORS_MESSAGE: _printable(rejected.message) if self._tells else _UNTOLD,
            names.ATTEMPTS: str(attempts),
            names.TIMESTAMP: str(record.timestamp_ms),
        }
        if record.masked is not None:
            left_out = record.masked.left_out
            new[names.PRIVACY] = names.PRIVACY_LEFT_OUT if left_out else names.PRIVACY_MASKED
            new |= {names.VALUE_OMITTED: str(record.masked.came_bytes)} if left_out else {}
        headers = kept + tuple((name, value.encode()) for name, value in new.items())
        return Outgoing(self._dead_letter_topic, record.key, record.value, headers)


def _trace(anchor: Event) -> tuple[tuple[str, bytes], ...]:
    return () if anchor.traceparent is None else ((names.TRACEPARENT, anchor.traceparent.encode()),)


def _input(event: Event, time: str) -> dict[str, Any]:
    record = event.record
    return {
        "id": event.id,
        "time": time,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
    }


def _milliseconds(delta_us: int) -> int | float:
    return delta_us / 1000 if delta_us % 1000 else delta_us // 1000


def _is_ours(header: str) -> bool:
    return header.startswith(names.ERRORS_PREFIX) or header in _OURS


def _earlier_attempts(headers: tuple[tuple[str, bytes | None], ...]) -> int:
    raw = next((value for name, value in reversed(headers) if name == names.ATTEMPTS), b"") or b""
    return int(raw) if raw.isdigit() and len(raw) <= _ATTEMPTS_DIGITS else 0


def _printable(message: str) -> str:
    """One line that any terminal and any UTF-8 header can hold, at most 1,000 characters."""
    clean = _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), message[:_MESSAGE_CHARACTERS])
    return clean[:_MESSAGE_CHARACTERS]
