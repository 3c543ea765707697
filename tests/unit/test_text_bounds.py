"""Texts of a window that are too long together: the newest stay, the result says so, and it is counted."""

from __future__ import annotations

import json

from schemas.result import ResultV1
from tests.unit.served import aligned, event, model_of, runtime_of
from tests.unit.test_batch import EchoModel, Silent, item
from worker.records import Verdict
from worker.stages.batch import Batcher, Fused
from worker.stages.publish import ResultWriter

LINE = "word{n} lane is blocked"
MODEL = model_of(inputs=["text", "text"], input_names=["calls", "texts"], max_tokens=12)
STREAMS = {"texts": "text", "calls": "text"}


def words(count: int, *, long: bool = False) -> list[str]:
    """The words of this name that the model is shown of so many calls, the newest last."""
    served = runtime_of(MODEL, STREAMS, "texts")
    events = [event("calls", LINE.format(n=n) * (9 if long else 1), -float(count - n)) for n in range(count)]
    item = served.prepare(aligned(event("texts", "word1"), calls=events))
    assert item.truncated == ({"calls": "max_tokens"} if count > 2 or long else {})
    return [word for word, _ in served._preprocessor.words(item.bodies[0][0]) if word.startswith("word")]


def test_the_newest_texts_survive_the_cut() -> None:
    """Whole texts, as many of the newest as fit, in their order; of one that is too long alone its beginning."""
    assert words(1) == ["word0"]
    assert words(2) == ["word0", "word1"]
    assert words(7) == ["word5", "word6"]
    assert words(3, long=True)[0] == "word2"


def test_the_result_says_what_was_cut() -> None:
    """By stream and bound, beside what alignment lost, which is worse; it fits the schema."""
    served = runtime_of(MODEL, STREAMS, "texts")
    some = aligned(event("texts", "word1"), calls=[event("calls", LINE * 5, -1.0)])
    (verdict,) = served.infer([served.prepare(some)])
    writer = ResultWriter("out", "dead", source="s", model_name="m", model_version="1")
    body = json.loads(writer.result(some, verdict).value or b"")
    assert ResultV1.model_validate(body).truncated == {"calls": "max_tokens"}
    verdict = Verdict("a", 1.0, {"a": 1.0}, truncated={"calls": "max_tokens", "texts": "max_tokens"})
    lost = some.__class__(some.anchor, some.inputs, {}, True, truncated={"calls": "max_events_per_key"})
    assert json.loads(writer.result(lost, verdict).value or b"")["truncated"] == {
        "calls": "max_events_per_key", "texts": "max_tokens",
    }  # fmt: skip


def test_each_cut_is_counted() -> None:
    """bound_hits_total{bound="max_tokens"}, once for each stream of a verdict."""

    class Cutting(EchoModel):
        def infer(self, batch: list[tuple[str, bytes]]) -> list[Verdict]:
            return [Verdict(n, 1.0, {n: 1.0}, truncated={"calls": "max_tokens"} if n == "1" else {}) for n, _ in batch]

    class Counting(Silent):
        told: list[tuple[str, dict[str, str]]] = []  # noqa: RUF012

        def count(self, name: str, amount: float = 1, **labels: str) -> None:
            self.told.append((name, labels))

    done: list[Fused] = []
    batcher = Batcher(
        Cutting(), lambda *_: True, done.extend, done.append, Counting(),
        max_batch=8, max_delay_seconds=0.001, threads=2,
    )  # fmt: skip
    for number in range(3):
        batcher.submit(item(number, b"ok"))
    batcher.close()
    assert len(done) == 3
    assert Counting.told == [("bound_hits_total", {"bound": "max_tokens"})]
