"""An unsure result goes to a person, and the answer comes back into a training folder: on the real stack."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from kafka.structs import ConsumerGroupMetadata

from tests.integration.test_explain_command import overrides
from tests.integration.test_record import SPLITS, ids, rows
from tests.integration.test_too_large import KIB, NARROW, Opened, Post, _create, post
from tests.story import Fed, echoed, inside_a_minute
from tests.town import Town, town
from worker.broker.reader import CommittedReader
from worker.cli import main
from worker.errors import StaleMember
from worker.records import Outgoing, Partition, Record
from worker.stages.review import Reviewer

__all__ = ["post"]
BELOW = 0.5


def committed(stack: Any, topic: str) -> list[Record]:
    """All that a reader of committed records finds in a topic."""
    found: list[Record] = []
    with contextlib.closing(CommittedReader({"bootstrap_servers": [stack.bootstrap_servers]}, [topic])) as reader:
        ends = reader.ends()
        while not reader.reached(ends):
            found += reader.read(0.2)
    return found


def text_of(label: str, *, sure: bool) -> bytes:
    """A text that EchoModel gives this label, with a score on this side of BELOW."""
    texts = (f"report {n}".encode() * 9 for n in range(1000))
    return next(t for t in texts if ("even", "odd")[sum(t) % 2] == label and (echoed(t, ()) > BELOW) == sure)


def reviewed(made: Town) -> list[str]:
    """Settings for a town whose review topics it has; as arguments too."""
    section = {"topic": f"{made.name}.reviews", "labels": f"{made.name}.labels", "below": BELOW}
    made.settings["review"] = section
    return [*overrides(made), *(part for key, one in section.items() for part in ("--set", f"review.{key}={one}"))]


def a_person_answers(
    made: Town, own_id: str, text: str, given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    """It is listed with its text; what is wrong is refused; it is answered, taken back, and answered again."""
    assert main(["review", *given]) == 0
    said = capsys.readouterr().out
    assert f"{own_id}  'k'" in said
    assert repr(text)[:100] in said
    assert "1 of 1 wait for an answer" in said
    for wrong, why in ((["0" * 32, "odd"], "no such result"), ([own_id, "flood"], "knows even; --new-label"),
                       ([own_id], "give an id and a label")):  # fmt: skip
        assert main(["review", *wrong, *given]) == 2
        assert why in capsys.readouterr().err
    assert main(["review", own_id, "even", *given]) == 0
    assert main(["review", own_id, "--take-back", *given]) == 0
    assert main(["review", own_id, "odd", "--new-label", *given]) == 0
    made.send("labels", "k", b"accident")
    made.flush()
    capsys.readouterr()
    assert main(["review", *given]) == 0
    assert "0 of 1 wait for an answer" in capsys.readouterr().out


def test_one_is_unsure_a_person_answers_and_the_row_has_the_answer(
    stack: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of three anchors one has a review, with its result's id; what is answered is listed, refused, taken back, and is
    the row's label; what is no answer is named; of the others those are picked that are worth it."""
    at, bodies = inside_a_minute(5), {"a": ("even", True), "b": ("odd", True), "c": ("even", False)}
    texts = {name: text_of(label, sure=sure) for name, (label, sure) in bodies.items()}
    with town(stack, tmp_path, {"reviews": 1, "labels": 1}, streams={"frames": {"max_wait": "200ms"}}) as made:
        given = reviewed(made)
        made.feed([Fed(at, "texts", "k", name, text) for name, text in texts.items()])
        made.start()
        made.read_until(lambda: len(made.results) == 3 and 'reason="low_score"} 1.0' in made.metrics())
        assert made.stop() == [0]
        (result,) = [one for one in made.results if one["inputs"]["texts"]["id"] == "c"]
        (review,) = committed(stack, f"{made.name}.reviews")
        told = json.loads(review.value or b"")
        assert (review.key, told["id"], told["result"]) == (b"k", result["id"], result)
        a_person_answers(made, result["id"], texts["c"].decode(), given, capsys)
        out = tmp_path / "out"
        assert main(["record", "--out", str(out), "--label-from", "labels", "--uncertain", "1", *given]) == 0
        said = capsys.readouterr().out
        assert f"1 records are no answers: {made.name}.labels/0/" in said
        assert "picked 1 of 2 rows that have a result and no label, by margin alone" in said
        (row,) = rows(out, *SPLITS)
        assert (ids(row, "texts"), row["label"]) == (["c"], "odd")
        (other,) = rows(out, "unlabelled")
        least = min((one for one in made.results if one is not result), key=lambda one: one["score"])
        assert other["_result"]["id"] == least["id"]


def test_an_aborted_transaction_shows_neither_result_nor_review(stack: Any, post: Opened) -> None:
    """A refused try, and one of a stale member, leave nothing for readers of committed records; the next has both."""
    made: Post = post()
    topic = f"{made.name}.reviews"
    _create(stack, {topic: NARROW})
    reviewer = Reviewer(topic, below=BELOW + 0.1, unfamiliar=0.0, several=False)
    made.outcomes._reviewer = reviewer
    made.result(50 * KIB)
    made.result()
    results, dead = made.drained()
    assert (len(results), dead) == (2, [])
    found = [json.loads(one.value or b"") for one in committed(stack, topic)]
    assert {one["id"] for one in found} == {json.loads(one.value)["id"] for one in results}
    assert {one.get("result") is None for one in found} == {True, False}
    if made.exactly_once:
        assert len(found) == 2
        fresh = made.member.group_metadata()
        stale = ConsumerGroupMetadata(fresh.group_id, fresh.generation_id - 1, fresh.member_id, None)
        both = [Outgoing(f"{made.name}.fusions", b"k", b"{}"), Outgoing(topic, b"k", b"{}")]
        with pytest.raises(StaleMember):
            made.committer._sink().publish(both, {Partition(f"{made.name}.texts", 0): (9, "")}, stale)
        assert len(committed(stack, topic)) == 2
        assert len(committed(stack, f"{made.name}.fusions")) == 2
