"""A body that is never decoded costs itself alone: its item goes on without it, and other keys do not wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.test_batch import EchoModel, Silent, item
from worker.errors import Fatal
from worker.records import Aligned, Missing
from worker.stages import decode
from worker.stages.batch import Batcher, Fused

SECONDS = 0.3


class Stuck(EchoModel):
    """Decodes `stuck` only once it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.entered = threading.Semaphore(0)

    def prepare(self, aligned: Aligned, begins: Any = None) -> Any:
        for stream, events in {"texts": (aligned.anchor,), **aligned.inputs}.items():
            for number, event in enumerate(events):
                begins(stream, number)
                if event.payload == b"stuck":
                    self.entered.release()
                    assert self.go_on.wait(60)
        return super().prepare(aligned)


class Bench:
    """A batcher, and what comes out of it."""

    def __init__(self) -> None:
        self.model, self.out, self.failed = Stuck(), list[Fused](), list[BaseException]()
        self.batcher = Batcher(
            self.model, lambda aligned, event: True, self.out.extend, self.failed.append, Silent(),
            max_batch=4, max_delay_seconds=0, threads=2, decode_seconds=SECONDS,
        )  # fmt: skip

    def submit(self, aligned: Aligned, key: str) -> None:
        self.batcher.submit(replace(aligned, anchor=replace(aligned.anchor, key=key)))

    def until(self, done: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + 10
        while not done() and time.monotonic() < deadline:
            time.sleep(0.005)
        return done()

    def ids(self) -> list[str]:
        return [fused.aligned.anchor.id for fused in self.out]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.model.go_on.set()
    made.batcher.close()


def test_other_keys_go_on_while_a_body_is_stuck_and_its_own_key_keeps_its_order(bench: Bench) -> None:
    """The item has its result without the body, which is a dead letter that says how long it was given."""
    bench.submit(item(0, b"ok", b"stuck"), "a")
    bench.submit(item(1, b"ok"), "a")
    assert bench.model.entered.acquire(timeout=5)
    for number in range(2, 9):
        bench.submit(item(number, b"ok"), str(number))
    assert bench.until(lambda: len(bench.out) == 9)
    assert bench.ids() == ["2", "3", "4", "5", "6", "7", "8", "0", "1"]
    stuck = bench.out[7]
    assert stuck.verdict is not None
    assert stuck.aligned.missing == {"frames": Missing.UNDECODABLE}
    (letter,) = stuck.rejected
    assert (letter.record.topic, letter.stage, letter.reason, letter.exception) == (
        "frames", "DECODE", "too_slow", "TimeoutError",
    )  # fmt: skip
    assert letter.message == "stream 'frames': the body was not decoded within 0.3 s; send a simpler one"
    bench.model.go_on.set()
    bench.submit(item(9, b"ok"), "a")
    assert bench.until(lambda: len(bench.out) == 10)
    assert [len(fused.rejected) for fused in bench.out] == [0] * 7 + [1, 0, 0]


def test_of_a_window_only_the_stuck_body_is_lost(bench: Bench) -> None:
    """Time counts for each body by itself."""
    frames = [item(n, b"ok", body).inputs["frames"][0] for n, body in enumerate((b"ok", b"stuck", b"ok"))]
    bench.submit(replace(item(0, b"ok"), inputs={"frames": tuple(frames)}), "a")
    assert bench.until(lambda: len(bench.out) == 1)
    assert [event.id for event in bench.out[0].aligned.inputs["frames"]] == ["0", "2"]
    assert [letter.record.offset for letter in bench.out[0].rejected] == [1]


def test_an_anchor_that_is_stuck_is_the_dead_letter(bench: Bench) -> None:
    """And a batcher with a stuck thread can be closed."""
    bench.submit(item(0, b"stuck"), "a")
    assert bench.until(lambda: len(bench.out) == 1)
    assert bench.out[0].verdict is None
    assert [(letter.record.topic, letter.reason) for letter in bench.out[0].rejected] == [("texts", "too_slow")]
    closing = threading.Thread(target=bench.batcher.close)
    closing.start()
    closing.join(5)
    assert not closing.is_alive()
    assert bench.failed == []


def test_many_stuck_threads_stop_the_worker(bench: Bench) -> None:
    """A few are borne, each with a thread in its place; then the worker only seems to work."""
    for number in range(decode.MOST_STUCK):
        bench.submit(item(number, b"stuck"), str(number))
    assert bench.until(lambda: len(bench.out) == decode.MOST_STUCK)
    assert bench.failed == []
    bench.submit(item(9, b"stuck"), "9")
    assert bench.until(lambda: bool(bench.failed))
    assert isinstance(bench.failed[0], Fatal)
    assert "5 bodies have been decoded for over 0.3 s" in str(bench.failed[0])
