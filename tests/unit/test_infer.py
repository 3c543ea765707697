"""What fails in the model costs its item alone, unless it is the model that fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.unit.test_batch import EchoModel
from worker.errors import Fatal, Poison, Retryable
from worker.records import Verdict
from worker.stages.infer import MOST_BEFORE_A_VERDICT, Asker


def items(count: int, bad: Sequence[int] = (), body: bytes = b"poison") -> list[tuple[str, bytes]]:
    return [(str(n), body if n in bad else b"ok") for n in range(count)]


def test_one_poison_item_in_32_is_found_by_halving() -> None:
    """At most 2 x log2(32) + 1 calls, and the other 31 have their verdicts."""
    model = EchoModel()
    answers = Asker(model).infer(items(32, [21]))
    assert [n for n, answer in enumerate(answers) if isinstance(answer, Poison)] == [21]
    assert model.calls <= 11


@pytest.mark.parametrize("error", [IndexError, RuntimeError, MemoryError, AssertionError, StopIteration])
def test_an_exception_that_nobody_foresaw_is_its_items(error: type[Exception]) -> None:
    """Under its own name; the neighbours have their verdicts."""

    class Rare(EchoModel):
        def infer(self, batch: Sequence[Any]) -> list[Verdict]:
            if any(payload == b"rare" for _, payload in batch):
                raise error("word 4711 is not in the table")
            return super().infer(batch)

    asker = Asker(Rare())
    for _ in range(3 * MOST_BEFORE_A_VERDICT):
        answers = asker.infer(items(8, [1, 5], b"rare"))
        assert [n for n, answer in enumerate(answers) if isinstance(answer, Poison)] == [1, 5]
        assert {one.exception for one in answers if isinstance(one, Poison)} == {error.__name__}
        assert [answers[n].label for n in (0, 7) if isinstance(answers[n], Verdict)] == ["0", "7"]


class Dying(EchoModel):
    """Answers so many calls, and none after them, as a card whose kernel has failed."""

    def __init__(self, answers: int) -> None:
        super().__init__()
        self.answers = answers

    def infer(self, batch: Sequence[Any]) -> list[Verdict]:
        if self.calls >= self.answers:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return super().infer(batch)


def test_a_model_that_fails_on_everything_stops_the_worker_and_costs_no_anchor() -> None:
    """Once it has answered, it is asked again what it has answered before."""
    asker = Asker(Dying(1))
    asker.infer(items(1))
    with pytest.raises(Fatal, match="fails on what it has answered before: RuntimeError: CUDA error") as caught:
        asker.infer(items(8))
    assert caught.value.exit_code == 1


def test_a_model_that_never_answered_stops_the_worker_after_a_few() -> None:
    """Nothing tells then whose fault it is."""
    asker = Asker(Dying(0))
    for _ in range(MOST_BEFORE_A_VERDICT - 1):
        assert len(asker.infer(items(1))) == 1
    with pytest.raises(Fatal, match=f"fails on each of the first {MOST_BEFORE_A_VERDICT} items: RuntimeError: CUDA"):
        asker.infer(items(1))


def test_what_is_said_on_purpose_is_no_failure() -> None:
    """Scores that are not finite, a hundred times, and a server that is away."""
    asker = Asker(EchoModel())
    assert all(isinstance(one, Poison) for one in asker.infer(items(100, range(100))))

    class Away(EchoModel):
        def infer(self, batch: Sequence[Any]) -> list[Verdict]:
            raise Retryable("away")

    with pytest.raises(Retryable):
        Asker(Away()).infer(items(2))
