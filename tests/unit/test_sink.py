"""A step without an answer in time is left behind: whenever it goes on, it touches its own producer alone."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes.context_store import FakeContextStore, FakeServer
from worker.broker import sink
from worker.broker.slots import SlotSink
from worker.broker.steps import NoAnswerError, Steps
from worker.errors import Retryable, Uncertain
from worker.records import Outgoing, Partition

MEMBERSHIP = SimpleNamespace(generation_id=1)
OFFSETS = {Partition("texts", 0): (7, "")}


class Scripted:
    """A producer that notes what it is asked, and hangs where it is told to until it is let go."""

    def __init__(self, hang: str | None) -> None:
        self.calls: list[str] = []
        self.hang, self.held, self.let_go, self.done = hang, threading.Event(), threading.Event(), threading.Event()
        self._sender = SimpleNamespace(force_close=lambda: self.calls.append("force_close"), join=lambda timeout: None)

    def __getattr__(self, name: str) -> Any:
        def call(*_: object, **__: object) -> Any:
            self.calls.append(name)
            if name == self.hang:
                self.held.set()
                assert self.let_go.wait(30)
            if name in ("commit_transaction", "close"):
                self.done.set()
            return SimpleNamespace(get=self.get, add_errback=lambda heard: None)

        return call


@pytest.mark.parametrize("hang", ["begin_transaction", "send", "send_offsets_to_transaction", "get"])
def test_a_step_left_behind_touches_its_own_producer_alone(monkeypatch: pytest.MonkeyPatch, hang: str) -> None:
    """Else its offsets would be committed by its successor's transaction, without their results."""
    first, second = Scripted(hang), Scripted("send")
    made = iter((first, second))
    monkeypatch.setattr(sink, "plain_producer", lambda *_, **__: next(made))
    tried = sink.TransactionalSink({}, "slot", 5.0, -0.8)  # 0.2 s of patience
    with pytest.raises(Uncertain, match="no answer"):
        tried.publish([Outgoing("out", b"k", b"1")], OFFSETS, MEMBERSHIP)
    monkeypatch.setattr(tried, "_timeout", 20.0)
    again = threading.Thread(target=tried.publish, args=([Outgoing("out", b"k", b"2")], OFFSETS, MEMBERSHIP))
    again.start()
    assert second.held.wait(30)
    first.let_go.set()
    assert first.done.wait(30)
    assert second.calls == ["init_transactions", "begin_transaction", "send"]
    second.let_go.set()
    again.join(30)
    tried.close()
    assert second.calls.count("send_offsets_to_transaction") == second.calls.count("commit_transaction") == 1


def test_a_producer_that_comes_too_late_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would ever end it."""
    late, next_one = Scripted("init_transactions"), Scripted(None)
    made = iter((late, next_one))
    monkeypatch.setattr(sink, "plain_producer", lambda *_, **__: next(made))
    tried = sink.TransactionalSink({}, "slot", 5.0, -0.8)
    with pytest.raises(Uncertain, match="no answer"):
        tried.publish([], OFFSETS, MEMBERSHIP)
    late.let_go.set()
    monkeypatch.setattr(tried, "_timeout", 20.0)
    tried.publish([Outgoing("out", b"k", b"1")], OFFSETS, MEMBERSHIP)
    tried.close()
    assert late.done.wait(30)
    assert "close" in late.calls
    assert next_one.calls[-3:] == ["commit_transaction", "force_close", "close"]
    assert "begin_transaction" not in late.calls


def test_one_thread_takes_all_steps_until_one_hangs() -> None:
    """A thread for each step cost a tenth of a pair; one that hangs is left to its step, and ends after it."""
    threads: list[threading.Thread] = []
    hangs = threading.Event()

    def step() -> str:
        threads.append(threading.current_thread())
        return "done"

    def hang() -> None:
        threads.append(threading.current_thread())
        assert hangs.wait(30)

    steps = Steps("transaction")
    assert [steps.run(step, lambda found: None, 5.0) for _ in range(9)] == ["done"] * 9
    with pytest.raises(NoAnswerError):
        steps.run(hang, lambda found: None, 0.01)
    assert steps.run(step, lambda found: None, 5.0) == "done"
    first, last = threads[0], threads[-1]
    assert threads == [first] * 10 + [last]
    assert first is not last
    hangs.set()
    steps.end()
    for thread in (first, last):
        thread.join(30)
        assert not thread.is_alive()


def test_a_step_s_own_timeout_is_its_answer() -> None:
    """Not the sign of one that hangs: its producer may be asked to abort."""

    def fails() -> None:
        raise TimeoutError("the step's own")

    with pytest.raises(TimeoutError, match="the step's own"):
        Steps("transaction").run(fails, lambda found: None, 5.0)


class Away(FakeContextStore):
    """A store that leased a slot and then went away."""

    def release_slot(self) -> None:
        raise Retryable("Redis is away")


def test_a_worker_stops_cleanly_while_redis_is_away() -> None:
    """Its lease runs out by itself; an error would give a drained worker another exit status than 0."""
    closed: list[str] = []
    producer: Any = SimpleNamespace(publish=lambda *_: None, close=lambda: closed.append("producer"))
    slots = SlotSink(Away(FakeServer(), "w1", {}, {}), lambda slot: producer, lambda error: None)
    slots.publish([], {}, MEMBERSHIP)
    slots.close()
    assert closed == ["producer"]
