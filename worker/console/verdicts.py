"""Seen -> what a page tells of it: the verdict in words, what is missing and why, texts, small pictures."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from worker.console.seen import Seen
from worker.errors import Poison
from worker.model.pictures import decode_whole
from worker.model.preprocess import text_of
from worker.records import Event
from worker.stages.cloudevents import open_envelope
from worker.stages.publish import rfc3339
from worker.stages.words import LANGUAGES, sentences
from worker.wav import read_wav

# Pixels: twice what the page shows, for screens with two of them to each of its own.
PICTURE_SIDE = 224
_QUALITY = 70
_CHARACTERS = 1_000
_MOST_SCORES = 5
_GONE = "not kept any longer"
_UNREADABLE = "cannot be shown"


class Teller:
    """Tells verdicts; a body is opened here for the first time, and only what is masked where anything is."""

    def __init__(self, output_topic: str, modalities: Mapping[str, str], language: str) -> None:
        """`modalities`: by stream; `language`: of the sentences."""
        self._output_topic, self._modalities, self._language = output_topic, dict(modalities), language

    def told(self, seen: Seen) -> dict[str, Any]:
        """What JSON can hold; made once."""
        if seen.shown is None:
            seen.shown = self._told(seen)
        return seen.shown

    def _told(self, seen: Seen) -> dict[str, Any]:
        outcome = seen.outcome
        result = next((one.value for one in outcome.outgoing if one.topic == self._output_topic), None)
        told = _dead(seen) if outcome.labels is None or result is None else self._verdict(json.loads(result))
        return {
            **told,
            "number": seen.number,
            "place": outcome.record.place,
            "inputs": self._inputs(seen),
            "dead": [f"{one.stage} {one.reason}" for one in outcome.rejected],
        }

    def _verdict(self, result: Mapping[str, Any]) -> dict[str, Any]:
        evidence, gaps = result.get("evidence"), LANGUAGES[self._language]
        ranked = sorted(result["scores"].items(), key=lambda one: -one[1])
        return {
            "id": result["id"],
            "key": result["key"],
            "time": result["time"],
            "label": result["label"],
            "score": result["score"],
            "scores": ranked[:_MOST_SCORES],
            "words": sentences(result, evidence, self._language),
            "evidence": evidence is not None,
            "missing": [[name, why, gaps[why].format(name=name)] for name, why in result["missing"].items()],
            "complete": result["complete"],
            "truncated": sorted(result.get("truncated", {}).items()),
        }

    def _inputs(self, seen: Seen) -> list[dict[str, Any]]:
        """The anchor first; of a stream with several events the nearest."""
        if seen.aligned is None:
            return []
        anchor = seen.aligned.anchor
        told = [self._input(anchor, (anchor,), anchor)]
        for name in sorted(seen.aligned.inputs):
            if events := seen.aligned.inputs[name]:
                nearest = min(events, key=lambda one: abs(one.time_us - anchor.time_us))
                told.append(self._input(nearest, events, anchor))
        return told

    def _input(self, event: Event, events: Sequence[Event], anchor: Event) -> dict[str, Any]:
        modality = self._modalities[event.stream]
        told: dict[str, Any] = {
            "stream": event.stream,
            "modality": modality,
            "id": event.id,
            "delta_ms": (event.time_us - anchor.time_us) / 1000,
            "events": len(events),
        }
        if event.fault is not None:
            return {**told, "text": _GONE}
        try:
            return {**told, **_shown(body_of(event, modality), event, modality)}
        except (Poison, ValueError):
            return {**told, "text": _UNREADABLE}


def body_of(event: Event, modality: str) -> bytes:
    """The body as everybody but the model may see it: of a masked event the masked one."""
    masked = event.record.masked
    return event.payload if masked is None or masked.raw is None else open_envelope(event.record, modality).payload


def _shown(body: bytes, event: Event, modality: str) -> dict[str, str]:
    if modality == "image":
        return {"picture": picture(body, event.stream)}
    if modality == "audio":
        return {"text": f"{read_wav(body).seconds:.1f} s of sound"}
    text = text_of(body, event.content_type, event.stream) if modality == "text" else body.decode(errors="replace")
    return {"text": text[:_CHARACTERS]}


def picture(body: bytes, stream: str) -> str:
    """A JPEG or PNG, made small, as an address that holds it.

    Raises:
        Poison: it cannot be decoded.
    """
    pixels = decode_whole(body, stream, PICTURE_SIDE)  # [3, H, W]
    small = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    small.thumbnail((2 * PICTURE_SIDE, PICTURE_SIDE))
    written = io.BytesIO()
    small.save(written, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(written.getvalue()).decode()


def _dead(seen: Seen) -> dict[str, Any]:
    """There is no verdict: the record became a dead letter."""
    anchor = seen.aligned.anchor if seen.aligned is not None else None
    return {
        "id": anchor.id if anchor else "",
        "key": anchor.key if anchor else (seen.outcome.record.key or b"").decode(errors="replace"),
        "time": rfc3339(anchor.time_us) if anchor else "",
        "label": None, "score": None, "scores": [], "words": [], "evidence": False, "missing": [], "complete": True,
        "truncated": [],
    }  # fmt: skip
