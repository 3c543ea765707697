"""The batcher: one outcome per item, at its own place, whatever fails beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.errors import Poison, Retryable
from worker.records import Aligned, Event, Missing, Record, Verdict
from worker.stages.batch import Batcher, Fused


class Silent:
    """An observer that hears nothing."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Nothing."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Nothing."""

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Nothing."""


class EchoModel:
    """Says each item's own id; bodies choose a failure."""

    info: Mapping[str, str] = {"name": "echo", "version": "1", "device": "cpu", "precision": "fp32"}

    def __init__(self, lanes: int = 1) -> None:
        self.lanes = lanes
        self.calls = 0

    def prepare(self, aligned: Aligned, begins: Any = None) -> Any:
        """The anchor's id, unless some body cannot be decoded."""
        for stream, events in aligned.inputs.items():
            for number, event in enumerate(events):
                if event.payload == b"broken":
                    poison = Poison("DECODE", "undecodable", f"{stream} is broken", stream)
                    poison.number = number
                    raise poison
        if aligned.anchor.payload == b"broken":
            raise Poison("DECODE", "undecodable", "the anchor is broken", aligned.anchor.stream)
        return aligned.anchor.id, aligned.anchor.payload

    def infer(self, batch: Sequence[Any]) -> list[Verdict]:
        """The ids, unless a poison item is among them."""
        self.calls += 1
        if any(payload == b"crash" for _, payload in batch):
            raise ZeroDivisionError("a bug")
        if any(payload == b"poison" for _, payload in batch):
            raise Poison("MODEL", "not_finite", "no finite scores")
        return [Verdict(name, 1.0, {name: 1.0}) for name, _ in batch]


def item(number: int, body: bytes, frame: bytes = b"ok") -> Aligned:
    """An aligned anchor with one frame."""

    def event(stream: str, payload: bytes) -> Event:
        record = Record(stream, 0, number, 0, b"k", payload)
        return Event(stream, "k", str(number), "s", number, "text/plain", payload, record)

    return Aligned(event("texts", body), {"frames": (event("frames", frame),)}, {}, True)


def fuse(items: Sequence[Aligned], model: EchoModel, max_batch: int = 8, required: Sequence[str] = ()) -> list[Fused]:
    """Runs items through a batcher and returns their outcomes in the order in which they came out."""
    out: list[Fused] = []
    failed: list[BaseException] = []
    batcher = Batcher(
        model, lambda aligned, event: True, out.extend, failed.append, Silent(),
        max_batch=max_batch, max_delay_seconds=0.001, threads=2, required=required,
    )  # fmt: skip
    for one in items:
        batcher.submit(one)
    batcher.close()
    assert batcher.inside == 0
    assert failed == []
    return out


@pytest.mark.parametrize(
    ("aligned", "reason"),
    [
        (replace(item(1, b"ok"), inputs={}, missing={"frames": Missing.NEVER_SEEN}), "never_seen"),
        (replace(item(1, b"ok"), inputs={}, missing={"frames": Missing.OUT_OF_TOLERANCE}), "out_of_tolerance"),
        (replace(item(1, b"ok"), inputs={}, missing={"frames": Missing.PAYLOAD_EXPIRED}), "payload_expired"),
        (replace(item(1, b"ok"), inputs={}, missing={"frames": Missing.SHED}, shed=True), "shed"),
        (item(1, b"ok", frame=b"broken"), "undecodable"),
    ],
    ids=["never seen", "out of tolerance", "expired", "shed", "undecodable"],
)
def test_without_a_required_stream_there_is_no_result(aligned: Aligned, reason: str) -> None:
    """Whatever keeps a match from being used; the anchor is a dead letter in its place between its neighbours."""
    before, fused, after = fuse([item(0, b"ok"), aligned, item(2, b"ok")], EchoModel(), required=("frames",))
    assert fused.verdict is None
    anchors = [one for one in fused.rejected if one.record.topic == "texts"]
    assert [(one.stage.value, one.reason, one.exception) for one in anchors] == [
        ("ALIGN", reason, "RequiredStreamMissing")
    ]
    assert anchors[0].message == f"stream 'frames' is required and has no match: {reason}"
    assert before.verdict is not None
    assert after.verdict is not None
    assert len(fused.rejected) == (2 if reason == "undecodable" else 1)


def test_a_window_that_lost_one_of_its_frames_is_still_a_match() -> None:
    """Only a stream of which nothing is left is missing."""
    whole = item(1, b"ok")
    pair = (whole.inputs["frames"][0], replace(whole.inputs["frames"][0], id="2", payload=b"broken"))
    (fused,) = fuse([replace(whole, inputs={"frames": pair})], EchoModel(), required=("frames",))
    assert fused.verdict is not None


KINDS = st.sampled_from([b"ok", b"ok", b"poison", b"broken", b"crash"])
BODIES = st.lists(KINDS, min_size=1, max_size=40).filter(lambda bodies: bodies.count(b"crash") < 10)


@settings(max_examples=40, deadline=None)
@given(BODIES, st.integers(1, 16), st.integers(1, 3))
def test_every_item_gets_its_own_outcome_in_order(bodies: list[bytes], max_batch: int, lanes: int) -> None:
    """Never a neighbour's result, never none, never two, on however many lanes."""
    out = fuse([item(n, body) for n, body in enumerate(bodies)], EchoModel(lanes), max_batch)
    assert [fused.aligned.anchor.id for fused in out] == [str(n) for n in range(len(bodies))]
    for fused, body in zip(out, bodies, strict=True):
        if body == b"ok":
            assert fused.verdict is not None
            assert fused.verdict.label == fused.aligned.anchor.id
            assert fused.rejected == ()
        else:
            stage = {b"poison": "MODEL", b"crash": "MODEL", b"broken": "DECODE"}[body]
            assert fused.verdict is None
            assert [(r.stage.value, r.record.offset) for r in fused.rejected] == [(stage, int(fused.aligned.anchor.id))]


def test_a_lane_that_is_done_early_waits_for_its_turn_and_works_on() -> None:
    """The first batch is held in the model while the other lane finishes all others; nothing leaves before it."""

    class Held(EchoModel):
        def infer(self, batch: Sequence[Any]) -> list[Verdict]:
            if batch[0][0] == "0":
                assert others_done.wait(5)
            verdicts = super().infer(batch)
            if batch[-1][0] == "9":
                others_done.set()
            return verdicts

    others_done = threading.Event()
    out = fuse([item(n, b"ok") for n in range(10)], Held(lanes=2), max_batch=1)
    assert [fused.aligned.anchor.id for fused in out] == [str(n) for n in range(10)]


def test_an_undecodable_context_leaves_the_anchor_its_verdict() -> None:
    """The stream is named missing as undecodable, and its record is rejected by the one who claims it."""
    (fused,) = fuse([item(0, b"ok", frame=b"broken")], EchoModel())
    assert fused.verdict is not None
    assert fused.aligned.inputs == {}
    assert fused.aligned.missing == {"frames": Missing.UNDECODABLE}
    assert [(r.record.topic, r.reason) for r in fused.rejected] == [("frames", "undecodable")]


def test_of_a_window_only_the_undecodable_events_are_lost() -> None:
    """Each of them is rejected once, by the anchor that claims it; the others stay, and the stream is not missing."""
    claimed = [item(n, b"ok", frame).inputs["frames"][0] for n, frame in enumerate((b"ok", b"broken", b"x", b"broken"))]
    window = replace(item(0, b"ok"), inputs={"frames": tuple(claimed)})
    out: list[Fused] = []
    batcher = Batcher(
        EchoModel(), lambda aligned, event: event.id != "3", out.extend, lambda error: None, Silent(),
        max_batch=4, max_delay_seconds=0, threads=1,
    )  # fmt: skip
    batcher.submit(window)
    batcher.close()
    assert [event.id for event in out[0].aligned.inputs["frames"]] == ["0", "2"]
    assert out[0].aligned.missing == {}
    assert [rejected.record.offset for rejected in out[0].rejected] == [1]


def test_a_claim_waits_while_redis_is_away() -> None:
    """Nobody knows whose dead letter it is until Redis answers; the lane lives on, and every item has its outcome."""
    out: list[Fused] = []
    failed: list[BaseException] = []
    away = [Retryable("Redis is away"), Retryable("Redis is away")]

    def claim(aligned: Aligned, event: Event) -> bool:
        if away:
            raise away.pop()
        return True

    batcher = Batcher(
        EchoModel(), claim, out.extend, failed.append, Silent(), max_batch=1, max_delay_seconds=0, threads=1
    )
    for number, frame in enumerate((b"broken", b"ok")):
        batcher.submit(item(number, b"ok", frame))
    deadline = time.monotonic() + 5
    while batcher.inside and not failed and time.monotonic() < deadline:
        time.sleep(0.005)
    batcher.close()
    assert failed == []
    assert [fused.aligned.anchor.id for fused in out] == ["0", "1"]
    assert [len(fused.rejected) for fused in out] == [1, 0]


def test_a_batcher_that_waits_for_redis_can_be_closed() -> None:
    """A worker that stops while Redis is away does not wait for it."""

    def claim(aligned: Aligned, event: Event) -> bool:
        raise Retryable("Redis is away")

    batcher = Batcher(
        EchoModel(), claim, lambda fused: None, lambda error: None, Silent(),
        max_batch=1, max_delay_seconds=0, threads=1,
    )  # fmt: skip
    batcher.submit(item(0, b"ok", b"broken"))
    closing = threading.Thread(target=batcher.close)
    closing.start()
    closing.join(5)
    assert not closing.is_alive()
