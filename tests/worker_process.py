"""A worker in a process of its own, as tests start it: the real one, with a model that only repeats what it was given.

`python -m tests.worker_process SETTINGS.json` runs `assemble.run`. The verdict names the anchor's text and the frame's
id, so that a neighbour's result cannot pass for one's own; `cost_ms` is how long a batch takes, null the real model.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from tests.story import echoed
from worker import assemble
from worker.config import Settings
from worker.errors import Fatal, Poison
from worker.model.sums import Sums
from worker.records import Aligned, Event, Verdict
from worker.store import lifetime


class EchoModel:
    """worker.ports.Model that needs no torch."""

    labels, heads = ("even", "odd"), ()
    lanes = 1
    drift = None
    prepares = "as it came"
    trained_on_masked, tells_confidence, sums = None, False, Sums("0" * 64, signed=False)

    def __init__(self, cost_ms: float = 1.0, decodes: bool = False) -> None:
        self._cost, self._decodes = cost_ms / 1000, decodes

    @property
    def info(self) -> Mapping[str, str]:
        """A name like any other."""
        return {"name": "echo", "version": "1", "device": "cpu", "precision": "fp32"}

    def prepare(self, aligned: Aligned, begins: Any = None) -> Any:
        """The text and the frames; a frame that says so cannot be decoded."""
        frames = aligned.inputs.get("frames", ())
        if any(event.payload.endswith(b"UNDECODABLE") for event in frames):
            raise Poison("DECODE", "undecodable", "the frame says so", "frames")
        if self._decodes:
            _decode_all(frames)
        if aligned.anchor.payload == b"UNEXPECTED":
            raise IndexError("nobody expects this one")
        return aligned.anchor.payload, [(event.id, event.payload) for event in frames]

    def infer(self, batch: Sequence[Any]) -> list[Verdict]:
        """Scores that say which item this is."""
        time.sleep(self._cost)
        return [self._verdict(text, frames) for text, frames in batch]

    def _verdict(self, text: bytes, frames: Sequence[tuple[str, bytes]]) -> Verdict:
        if text == b"POISON":
            raise Poison("MODEL", "not_finite", "the text says so")
        if text == b"NAN":
            return Verdict("even", math.nan, {"even": math.nan})
        score = echoed(text, frames)
        label = self.labels[sum(text) % 2]
        return Verdict(label, score, {label: score})


class Hanging(EchoModel):
    """One that never comes back, as a shadow."""

    def infer(self, batch: Sequence[Any]) -> list[Verdict]:
        """Stands."""
        threading.Event().wait()
        return []


class Throwing(EchoModel):
    """One that has no answer to anything, as a shadow."""

    def infer(self, batch: Sequence[Any]) -> list[Verdict]:
        """Raises what is no Poison."""
        raise RuntimeError("no kernel")


class Contrary(EchoModel):
    """One that says the other label of every text of odd length, as a shadow that prepares otherwise."""

    prepares = "otherwise"

    def infer(self, batch: Sequence[Any]) -> list[Verdict]:
        """The other label."""
        both = dict(zip(self.labels, reversed(self.labels), strict=True))
        found = super().infer(batch)
        return [
            replace(one, label=both[one.label]) if len(text) % 2 else one
            for one, (text, _) in zip(found, batch, strict=True)
        ]


SHADOWS = {"hanging": Hanging, "throwing": Throwing, "contrary": Contrary}


def _spoil(what: str, folder: Path) -> None:
    """`NAME` is a mutant's; `tests.hangs:NAME` a library's that never comes back."""
    if what.startswith("tests.hangs:"):
        sys.modules["tests.worker_process"] = sys.modules[__name__]
        importlib.import_module("tests.hangs").begin(what.partition(":")[2], folder)
    else:
        importlib.import_module("tests.chaos.mutants").mutate(what, folder)


def _decode_all(frames: Sequence[Event]) -> None:
    """As the real model does before it computes."""
    from worker.model.preprocess import decode_image

    for number, event in enumerate(frames):
        try:
            decode_image(event.payload, 224, event.stream)
        except Poison as poison:
            poison.number = number
            raise


def _live_for(milliseconds: int) -> None:
    """Silence of this length is the dark night after which Redis has let go of a key."""
    made = lifetime.Lifetime(epoch_ms=milliseconds // 3, data_ms=milliseconds)
    lifetime.Lifetime.of = classmethod(lambda cls, rules: made)  # type: ignore[method-assign,assignment]


def main() -> int:
    """Runs until a signal; the exit code is the worker's."""
    given = json.loads(Path(sys.argv[1]).read_text())
    if given["cost_ms"] is not None:
        assemble.model_of = lambda settings: SHADOWS.get(settings.model.path or "", EchoModel)(  # type: ignore[assignment,return-value]
            given["cost_ms"], given["decodes"]
        )
    if given["lifetime_ms"] is not None:
        _live_for(given["lifetime_ms"])
    if given.get("mutant") is not None:
        _spoil(given["mutant"], Path(sys.argv[1]).parent)
    structlog.contextvars.bind_contextvars(pid=os.getpid())
    try:
        return assemble.run(Settings.model_validate(given["settings"]))
    except Fatal as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
