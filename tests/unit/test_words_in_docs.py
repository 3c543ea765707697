"""docs/explain.md shows what the model that ships says in words, in both languages; nobody wrote it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from worker.feeds.junction import scene
from worker.model.runtime import ModelRuntime
from worker.records import Aligned, Event, Record
from worker.stages.publish import ResultWriter

PAGE = Path(__file__).parents[2] / "docs/explain.md"
REPORT = "two cars have run into each other at the crossing, an ambulance is on its way"
SEED = 12
# Another processor rounds the last digit another way.
LAST_DIGIT = 0.011
ENDS = {"en": r"(?<=\.) (?=[A-Za-z])", "zh": r"(?<=。)"}


def event(stream: str, payload: bytes, kind: str, delta_ms: int = 0) -> Event:
    """An event of a junction."""
    at_ms = 1_767_225_603_250 + delta_ms
    record = Record(stream, 0, 0, at_ms, b"junction-12", payload)
    return Event(stream, "junction-12", stream, "/docs", at_ms * 1000, kind, payload, record)


def said(language: str) -> list[str]:
    """The sentences of `evidence.text` of a drawn accident and REPORT, as a worker publishes them."""
    streams = {"texts": "text", "frames": "image"}
    model = ModelRuntime(path=None, device="cpu", precision="fp32", anchor="texts", modalities=streams, evidence=True)
    frame = event("frames", scene(np.random.default_rng(SEED), "accident").image, "image/jpeg", -120)
    aligned = Aligned(event("texts", REPORT.encode(), "text/plain"), {"frames": (frame,)}, {}, True)
    (verdict,) = model.infer([model.prepare(aligned)])
    writer = ResultWriter(
        "fusions", "fusions.dead", source="/docs", model_name="junction", model_version="1", language=language
    )
    body = json.loads(writer.result(aligned, verdict).value or b"")
    return re.split(ENDS[language], body["evidence"]["text"])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_shows_what_is_published(language: str) -> None:
    """Sentence by sentence; numbers to the last digit; which pieces weigh most in any order."""
    page = PAGE.read_text()
    assert REPORT in page
    made = [sentence for sentence in said(language) if sentence]
    shown = page.split(f'`language = "{language}"`:\n\n')[1].split("\n\n")[0].splitlines()
    lines = [line.removeprefix("    ") for line in shown]
    assert len(lines) == len(made), "\n".join(made)
    for line, sentence in zip(lines, made, strict=True):
        one, other = (re.findall(r"\d+(?:\.\d+)?", text) for text in (line, sentence))
        if "most weight" in line or "权重" in line:
            assert sorted(re.split(r"[ ,、是。.]+", line)) == sorted(re.split(r"[ ,、是。.]+", sentence))
            continue
        assert re.sub(r"[\d.]+", "#", line) == re.sub(r"[\d.]+", "#", sentence)
        assert [float(n) for n in one] == pytest.approx(
            [float(n) for n in other], abs=LAST_DIGIT * (10 if "%" in line else 1)
        )
