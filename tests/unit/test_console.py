"""worker/console: what a worker's page is told of its metrics and of its last verdicts."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from tests.shown import MODEL, Played, dead_letter, event, verdict
from tests.unit.test_batch import item
from worker.console import state
from worker.console.seen import LastSeen
from worker.console.state import StreamOf
from worker.console.totals import Between, Totals
from worker.console.verdicts import PICTURE_SIDE, Teller
from worker.ops.metrics import PrometheusObserver
from worker.records import Aligned, Outcome, Outgoing, Rejected, Stage, Verdict
from worker.stages.batch import Fused

TEXTS = StreamOf("texts", "texts-in", "text", "anchor")
FRAMES = StreamOf("frames", "frames-in", "image", "context")
TELLER = Teller("fusions", {"texts": "text", "frames": "image"}, "en")


def between(seconds: float, *tells: Callable[[PrometheusObserver], object]) -> Between:
    """Two looks at a registry: before and after all but the first of these."""
    observer = PrometheusObserver()
    tells[0](observer)
    first = Totals.of(observer.registry.collect(), 100.0)
    for tell in tells[1:]:
        tell(observer)
    return Between(first, Totals.of(observer.registry.collect(), 100.0 + seconds))


class Body(bytes):
    """Of so many bytes; it is known how many are held by anybody."""

    held = 0

    def __init__(self, size: int) -> None:
        Body.held += size

    def __del__(self) -> None:
        Body.held -= len(self)


def nothing(_: PrometheusObserver) -> None:
    """Nothing is told."""


def seen_of(fused: Fused) -> Any:
    """It, as a page is told it."""
    made = Played()
    made.says(fused)
    return made.pages._live._teller.told(made.pages._live._last.now()[-1])


def test_rates_are_of_what_came_in_between() -> None:
    """What was counted before the first look is no rate; a gauge is as it is now."""

    def before(observer: PrometheusObserver) -> None:
        observer.count("results_total", 1000, label="a", complete="true")
        observer.gauge("consumer_lag_records", 7, topic="texts-in", partition="0")

    def after(observer: PrometheusObserver) -> None:
        observer.count("results_total", 30, label="b", complete="false")
        observer.count("results_total", 10, label="a", complete="true")
        observer.gauge("consumer_lag_records", 5, topic="texts-in", partition="0")
        observer.gauge("consumer_lag_records", 6, topic="frames-in", partition="0")

    told = state.figures(between(8.0, before, after))
    assert (told["results"], told["results_rate"], told["lag"], told["behind"]) == (1040, 5.0, 11, False)
    assert told["end_to_end"] == [None, None]


def test_at_the_first_look_there_is_no_rate() -> None:
    """None, not nought and not a division by it."""
    told = state.figures(between(0.0, nothing))
    assert told["results_rate"] is None
    assert told["window"] == 0


@pytest.mark.parametrize("values", [[0.03], [0.004, 0.2, 3.0], list(np.linspace(0.001, 20, 500)), [99.0]])
def test_quantiles_are_those_of_prometheus(values: list[float]) -> None:
    """Within the bucket of the true one; what lies above all bounds is told as the highest."""
    seen = between(
        5.0,
        lambda observer: observer.observe("alignment_wait_seconds", 40.0, stream="frames"),
        lambda observer: [observer.observe("alignment_wait_seconds", one, stream="frames") for one in values],
    )
    bounds = [0.0, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0]
    for share in (0.5, 0.95):
        found = seen.quantile(share, "alignment_wait_seconds")
        true = sorted(values)[max(0, int(np.ceil(share * len(values))) - 1)]
        low, high = next(((a, b) for a, b in itertools.pairwise(bounds) if true <= b), (60.0, 60.0))
        assert found is not None
        assert low <= found <= high, (share, found, true)
    assert seen.quantile(0.5, "alignment_wait_seconds", stream="texts") is None


def test_a_stream_says_what_is_wrong_with_it() -> None:
    """Each trouble is a sentence; a stream that is well has none."""

    def tell(observer: PrometheusObserver) -> None:
        observer.count("events_total", 40, stream="texts", outcome="accepted")
        observer.count("events_total", 20, stream="frames", outcome="accepted")
        observer.count("events_total", 3, stream="frames", outcome="rejected")
        observer.count("late_events_total", 2, stream="frames")
        observer.count("inputs_present_total", 30, pattern="frames+texts")
        observer.count("inputs_present_total", 10, pattern="texts")
        observer.gauge("source_offset_seconds", -0.02, stream="frames", source="cam-1")
        observer.gauge("source_offset_seconds", -4.25, stream="frames", source="cam-2")

    texts, frames = state.streams(between(10.0, nothing, tell), [TEXTS, FRAMES])
    assert texts["troubles"] == []
    assert (texts["rate"], texts["present"]) == (4.0, None)
    assert (frames["present"], frames["offset"]) == (0.75, ("cam-2", -4.25))
    assert frames["troubles"] == ["3 refused", "2 late", "missing in 25% of results", "cam-2 is -4.2 s off"]


def test_a_stream_that_is_silent_or_behind_says_so() -> None:
    """Nothing yet, nothing any more, and too much are three things."""

    def came(observer: PrometheusObserver) -> None:
        observer.count("events_total", 40, stream="texts", outcome="accepted")

    texts, frames = state.streams(between(10.0, came), [TEXTS, FRAMES])
    assert (texts["troubles"], frames["troubles"]) == (["nothing came for 10 s"], ["nothing has come yet"])
    much = between(1.0, lambda o: o.gauge("consumer_lag_records", 12_345, topic="texts-in", partition="0"))
    assert state.streams(much, [TEXTS])[0]["troubles"] == ["12,345 records behind"]
    assert state.figures(much)["behind"]


def test_what_to_do_first_follows_what_has_come() -> None:
    """Not ready, nothing, context alone, anchors that wait: each has its own next step."""

    def steps(*tells: Callable[[PrometheusObserver], object], reasons: tuple[str, ...] = ()) -> str:
        return str(state.first_steps(between(1.0, *(tells or (nothing,))), [TEXTS, FRAMES], reasons))

    assert "fusion-worker check" in steps(reasons=("redis: away",))
    assert all(word in steps() for word in ("fusion-worker topics", "feed --config FILE video", "topic texts-in"))
    frames = steps(lambda o: o.count("events_total", stream="frames", outcome="accepted"))
    assert "frames came, but no event of the anchor stream 'texts' (topic texts-in)" in frames
    assert "at most max_wait" in steps(lambda o: o.count("events_total", stream="texts", outcome="accepted"))


def test_the_model_in_use_is_told() -> None:
    """After another is taken over, that one."""
    old = {**MODEL, "version": "6"}
    seen = between(
        1.0, lambda o: (o.gauge("model_info", 1, **old), o.gauge("model_info", float("nan"), **old)), nothing
    )
    assert state.model(seen.last) == ""
    assert state.model(between(1.0, lambda o: o.gauge("model_info", 1, **MODEL)).last) == "junction 7, cpu fp32"


def test_what_is_kept_is_bounded_in_number_and_bytes() -> None:
    """The newest stay; an item larger than all that may be kept leaves its bodies behind."""
    last = LastSeen(most=3, kept_bytes=3000)

    def hear(*bodies: bytes) -> None:
        batch = [Fused(item(n, body), Verdict("a", 1.0, {"a": 1.0})) for n, body in enumerate(bodies)]
        last.hear(batch, [Outcome(one.aligned.anchor.record, ()) for one in batch])

    hear(*[b"x"] * 10)
    assert [one.number for one in last.now()] == [1, 2, 3]
    hear(b"y" * 1450, b"y" * 1450)
    assert [one.number for one in last.now()] == [3, 4, 5]
    hear(b"z" * 2000)
    assert [one.number for one in last.now()] == [6]
    hear(b"z" * 3001)
    assert [(one.number, one.aligned is None) for one in last.now()] == [(6, False), (7, True)]
    assert sum(one.bytes for one in last.now()) <= 3000


@pytest.mark.parametrize(
    ("anchor", "matched", "refused"), [(600, 500, 0), (50, 0, 300), (50, 900, 300), (900, 0, 900), (600, 600, -600)]
)
def test_what_is_kept_is_bounded_whoever_holds_a_body(anchor: int, matched: int, refused: int) -> None:
    """The anchor's record, a matched frame, a refused one and its dead letter; below 0 the anchor itself is refused."""
    last = LastSeen(kept_bytes=1000)
    for number in range(12):
        last.hear(*made_of(number, anchor, matched, refused))
    assert Body.held <= 1000
    assert [one.outcome.record.offset for one in last.now()][-1] == 11
    assert [value for out in last.now()[-1].outcome.outgoing if (value := out.value)][-1] == b"{}"
    del last
    assert Body.held == 0


def made_of(number: int, anchor: int, matched: int, refused: int) -> tuple[list[Fused], list[Outcome]]:
    """A batch of one, whose bodies have so many bytes."""
    text = event("texts", "k", number, Body(anchor), "text/plain")
    frames = (event("frames", "k", number, Body(matched), "image/jpeg"),) if matched else ()
    bad = text if refused < 0 else event("frames", "k", 99, Body(refused), "image/jpeg")
    rejected = (Rejected(bad.record, Stage.DECODE, "undecodable", "no picture"),) if refused else ()
    outgoing = (*(Outgoing("dead", b"k", one.record.value) for one in rejected), Outgoing("fusions", b"k", b"{}"))
    aligned = Aligned(text, {"frames": frames}, {}, True)
    return [Fused(aligned, None, rejected)], [Outcome(text.record, outgoing, rejected)]


def test_hearing_copies_nothing_and_opens_nothing() -> None:
    """The bodies are the events' own, and no picture is made before somebody looks."""
    made = Played()
    fused = verdict(0)
    made.says(fused)
    (kept,) = made.pages._live._last.now()
    assert kept.aligned is fused.aligned
    assert kept.shown is None


def test_a_verdict_is_told_in_words() -> None:
    """The label, what cannot be ruled out, what is missing and why, and where the anchor lies."""
    told = seen_of(verdict(3, "siren at the north arm"))
    assert told["words"][0].startswith("What cannot be ruled out: ")
    assert told["words"][-2:] == [
        "frames is missing: no event of this key lies within the bounds.",
        "The wait ended before all that could match had come.",
    ]
    assert told["missing"] == [["frames", "out_of_tolerance", told["words"][-2]]]
    assert (told["place"], told["key"], told["complete"]) == ("texts-in/0/3", "junction-4", False)
    assert told["inputs"][0]["text"] == "siren at the north arm"
    assert seen_of(dead_letter(4))["dead"] == ["DECODE undecodable"]


def test_pictures_are_small_and_those_that_cannot_be_read_say_so() -> None:
    """Of a large frame some kilobytes; a damaged one, and one that is gone, is a sentence."""
    large = simplejpeg.encode_jpeg(np.random.default_rng(0).integers(0, 255, (1080, 1920, 3), np.uint8))
    told = {}
    for name, body in {"large": large, "cut": large[:5000]}.items():
        anchor = event("texts", "k", 1, b"text", "text/plain")
        aligned = Aligned(anchor, {"frames": (event("frames", "k", 1, body, "image/jpeg"),)}, {}, True)
        told[name] = seen_of(Fused(aligned, Verdict("a", 1.0, {"a": 1.0})))["inputs"][1]
    head, _, coded = told["large"]["picture"].partition(",")
    small = Image.open(io.BytesIO(base64.b64decode(coded)))
    assert head == "data:image/jpeg;base64"
    assert max(small.size) <= 2 * PICTURE_SIDE
    assert min(small.size) <= PICTURE_SIDE
    assert len(coded) < 120_000
    assert told["cut"]["text"] == "cannot be shown"


def test_what_the_model_alone_may_see_is_not_shown() -> None:
    """With before_model = false the bodies as they came are at hand; the page has the masked ones."""
    grey = simplejpeg.encode_jpeg(np.full((64, 64, 3), 128, np.uint8))
    red = simplejpeg.encode_jpeg(np.full((64, 64, 3), (255, 0, 0), np.uint8))
    anchor = event("texts", "k", 1, b"call [phone]", "text/plain", raw=b"call +49 151 2345 6789")
    frame = event("frames", "k", 1, grey, "image/jpeg", raw=red)
    assert (anchor.payload, frame.payload) == (b"call +49 151 2345 6789", red)
    told = seen_of(Fused(Aligned(anchor, {"frames": (frame,)}, {}, True), Verdict("a", 1.0, {"a": 1.0})))
    assert told["inputs"][0]["text"] == "call [phone]"
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(told["inputs"][1]["picture"].partition(",")[2]))))
    assert np.abs(pixels.astype(int) - 128).max() < 10
    assert "2345" not in str(told)
