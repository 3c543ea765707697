"""The two jobs that every contender does on a text and its frame: the model that ships, or next to nothing."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from worker.records import Aligned, Event, Record, Verdict

BATCH = 16


def no_op_score(text: bytes, frame_id: str, frame: bytes) -> float:
    """A number that only who had this text, this frame's id and its body can know."""
    return zlib.crc32(frame[-24:], zlib.crc32(text + frame_id.encode())) % 1000 / 1000


class NoOp:
    """worker.ports.Model that computes nothing worth naming."""

    labels = ("seen",)
    lanes = 1
    drift = sums = None
    prepares = "as it came"

    @property
    def info(self) -> Mapping[str, str]:
        """A name like any other."""
        return {"name": "no-op", "version": "1", "device": "cpu", "precision": "fp32"}

    def prepare(self, aligned: Aligned, begins: Any = None) -> Any:
        """The text, and the frame with its id."""
        frames = aligned.inputs.get("frames", ())
        return aligned.anchor.payload, *((frames[0].id, frames[0].payload) if frames else ("", b""))

    def infer(self, batch: Sequence[Any]) -> list[Verdict]:
        """Scores that say which item this is."""
        scores = [no_op_score(*one) for one in batch]
        return [Verdict("seen", score, {"seen": score}) for score in scores]


def shipped(evidence: bool = False) -> Any:
    """The model that ships, as the worker loads it."""
    from worker.model.runtime import ModelRuntime

    modalities = {"texts": "text", "frames": "image"}
    return ModelRuntime(
        path=None, device="auto", precision="auto", anchor="texts", modalities=modalities, evidence=evidence
    )


MODELS: Mapping[str, Callable[[], Any]] = {"noop": NoOp, "shipped": shipped}


def aligned(text: bytes, frame: bytes | None, frame_id: str = "") -> Aligned:
    """A text with its frame."""
    record = Record("texts", 0, 0, 0, b"", text)
    anchor = Event("texts", "", "", "", 0, "text/plain", text, record)
    frames = (Event("frames", "", frame_id, "", 0, "image/jpeg", frame, record),) if frame is not None else ()
    return Aligned(anchor, {"frames": frames} if frames else {}, {}, True)
