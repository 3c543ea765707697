"""What people answer, and what is worth asking them: the newest answer counts, nothing bad ends the recording."""

from __future__ import annotations

import json
import random
from argparse import Namespace
from typing import Any, cast

import numpy as np
import pytest

from tests.unit.incoming import plain, validator
from worker.config import Settings
from worker.errors import ConfigError
from worker.recording.command import _check_arguments
from worker.recording.gather import Anchor, Place
from worker.recording.review import _lines, review
from worker.recording.told import Answers, Published, Told
from worker.recording.uncertain import POOL, pick
from worker.records import Record

ID, OTHER = "0" * 32, "f" * 32


def answer(label: str | None, at_ms: int, result_id: str = ID, key: str = "k", **fields: Any) -> Record:
    """A record of the labels' topic."""
    body = {"id": result_id, "key": key, "label": label, **fields}
    return plain(json.dumps(body).encode(), topic="labels", key=key.encode(), timestamp_ms=at_ms)


def anchor(number: int, result_id: str = ID, key: str = "k") -> Anchor:
    return Anchor(key, f"a{number}", number, Place("texts", 0, number), (result_id, 0, number))


def test_the_newest_answer_counts_whatever_came_first() -> None:
    """By the records' times, in any order of reading, also across partitions; null takes one back."""
    said = [answer("fire", 1), answer("calm", 3), answer("siren", 2), answer("fire", 1, OTHER)]
    for seed in range(4):
        answers = Answers()
        for record in random.Random(seed).sample(said, len(said)):
            answers.add(record)
        assert (answers.of("k", ID), answers.of("k", OTHER), answers.of("other", ID)) == ("calm", "fire", None)
    answers.add(answer(None, 4))
    assert (answers.of("k", ID), answers.of("k", OTHER)) == (None, "fire")


def test_a_record_without_a_value_takes_back_its_keys_answers() -> None:
    """As Kafka's tombstone does; what is said after it counts, whichever is read first."""
    for turned in (False, True):
        answers = Answers()
        records = [answer("fire", 1), plain(None, topic="labels", key=b"k", timestamp_ms=2), answer("calm", 3, OTHER)]
        for record in reversed(records) if turned else records:
            answers.add(record)
        assert (answers.of("k", ID), answers.of("k", OTHER)) == (None, "calm")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (b"k", b"accident", "Expecting value"),
        (b"k", b"[]", "valid dictionary"),
        (b"k", b'{"id": "7", "key": "k", "label": "a"}', "id: "),
        (b"k", json.dumps({"id": ID, "key": "k"}).encode(), "label: Field required"),
        (b"k", json.dumps({"id": ID, "key": "k", "label": ""}).encode(), "label: "),
        (b"k", json.dumps({"id": ID, "key": "k", "label": 3}).encode(), "label: "),
        (b"j", json.dumps({"id": ID, "key": "k", "label": "a"}).encode(), "its key is 'k', that of the record 'j'"),
        (None, json.dumps({"id": ID, "key": "k", "label": "a"}).encode(), "its key is 'k', that of the record ''"),
        (b"\xff", b"{}", "can't decode"),
        (b"k", b"\xff", "can't decode"),
        (b"k", b"[" * 90 + b"]" * 90, "nested deeper"),
    ],
)
def test_what_is_no_answer_is_named(key: bytes | None, value: bytes, said: str) -> None:
    """By its place and why; the others count."""
    answers = Answers()
    answers.add(plain(value, topic="labels", key=key, partition=1, offset=9))
    answers.add(answer("fire", 1))
    (bad,) = answers.bad
    assert bad.startswith("labels/1/9: ")
    assert said in bad
    assert answers.of("k", ID) == "fire"


def told(label_from: str, *new: str) -> Told:
    """With a result of ID that knows calm and fire."""
    made = Told("texts", "fusions", "labels", label_from=label_from, whole=True, new=frozenset(new))
    body = {"id": ID, "label": "calm", "scores": {"calm": 0.6, "fire": 0.4}, "inputs": {"texts": PLACE}}
    made.topics["fusions"](plain(json.dumps(body).encode(), topic="fusions"))
    return made


PLACE = {"partition": 0, "offset": 7}


@pytest.mark.parametrize(
    ("said", "new", "label", "unknown"),
    [("fire", (), "fire", {}), ("flood", (), None, {"flood": 1}), ("flood", ("flood",), "flood", {})],
)
def test_an_answer_that_no_result_knows_is_told(
    said: str, new: tuple[str, ...], label: str | None, unknown: dict[str, int]
) -> None:
    """And not used, unless it was named on purpose: a slip of the pen is no class."""
    made = told("labels", *new)
    made.topics["labels"](answer(said, 1))
    assert made.label(anchor(7)) == said
    assert made.usable_label(anchor(7)) == label
    assert dict(made.unknown) == unknown


def test_results_and_answers_are_two_sources() -> None:
    """Of an anchor that nobody answered for there is no label but with results."""
    assert told("labels").usable_label(anchor(7)) is None
    assert told("results").usable_label(anchor(7)) == "calm"
    assert told("results").usable_label(anchor(8)) is None


@pytest.mark.parametrize("scores", [[0.5], {"a": "x"}, {"a": None}, None])
def test_a_record_that_is_no_result_is_refused(scores: Any) -> None:
    """With an error that the recording counts."""
    made = Told("texts", "fusions", None, label_from="results", whole=True, new=frozenset())
    body = {"id": ID, "label": "a", "scores": scores, "inputs": {"texts": PLACE}}
    with pytest.raises((ValueError, KeyError, TypeError)):
        made.results.add(plain(json.dumps(body).encode()))


def published(margin: float, embedding: list[float] | None = None) -> Published:
    scores = {"a": 0.5 + margin / 2, "b": 0.5 - margin / 2}
    return Published("a", scores, None if embedding is None else np.asarray(embedding, np.float32))


def test_without_embeddings_the_least_margins_are_picked() -> None:
    """In their order; equal ones by time, whatever order they were read in; some embeddings are none."""
    candidates = [(anchor(n), published(margin)) for n, margin in enumerate((0.9, 0.1, 0.5, 0.1, 0.0))]
    candidates.append((anchor(9), published(0.8, [1.0])))
    for seed in range(3):
        picked, by_distance = pick(random.Random(seed).sample(candidates, len(candidates)), [], 3)
        assert [one.id for one in picked] == ["a4", "a1", "a3"]
        assert not by_distance
    assert len(pick(candidates, [], 100)[0]) == len(candidates)
    assert pick([], [], 3)[0] == []


def test_of_the_unsure_those_are_picked_that_are_unlike_each_other() -> None:
    """Three heaps: one of each comes before a second of any, and of a heap that is labelled none does; what is sure is
    not asked, however far away it lies."""
    heaps = [(0.0, 0.0), (10.0, 0.0), (0.0, 20.0)]
    near = [(anchor(n), published(0.01 * n, [x + n / 100, y])) for n, (x, y) in enumerate(heaps * 5)]
    far = [(anchor(100 + n), published(0.99, [500.0 + n, 0.0])) for n in range(9)]
    picked, by_distance = pick(near + far, [], 3)
    assert by_distance
    assert len(near) == POOL * 3
    assert picked[0].id == "a0"
    assert {int(one.id[1:]) % 3 for one in picked} == {0, 1, 2}
    picked, _ = pick(near + far, [published(0.5, [0.0, 20.0])], 2)
    assert {int(one.id[1:]) % 3 for one in picked} == {0, 1}
    assert len({one.id for one in pick(near[:2], [], 5)[0]}) == 2


def test_a_twin_is_picked_once() -> None:
    """Points at one place are still different rows."""
    same = [(anchor(n), published(0.1, [1.0, 1.0])) for n in range(4)]
    assert len({one.id for one in pick(same, [], 3)[0]}) == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"label_from": "labels"}, "name the topic of the answers in review.labels"),
        ({"new_label": ["x"]}, "--new-label: has an effect with --label-from labels alone"),
        ({"uncertain": 3, "limit": 5}, "--uncertain: goes alone"),
        ({"uncertain": 3, "label_from": "results"}, "--uncertain: goes alone"),
        ({"uncertain": 3, "label_attribute": "x"}, "--uncertain: goes alone"),
    ],
)
def test_arguments_that_do_not_go_together(given: dict[str, Any], said: str) -> None:
    """Before anything is read."""
    none = {"label_from": None, "label_attribute": None, "new_label": [], "uncertain": None, "limit": None}
    with pytest.raises(ConfigError, match=said):
        _check_arguments(Settings(), Namespace(**{**none, **given}))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "is no review"),
        (b"[]", "is no review"),
        (b'{"reasons": 3}', "is no review"),
        (b'{"id": "1", "key": "k", "reasons": [], "result": {"scores": {"a": "x", "b": 1}}}', "is no review"),
        (b'{"id": "1", "key": "k\\u001b", "reasons": []}', "1  'k\\x1b'  ; the result is on fusions alone"),
    ],
)
def test_a_record_of_the_review_topic_is_told_in_a_line(value: bytes | None, said: str) -> None:
    """One that is no review by its place; one without its result by where that is; no escape reaches the terminal."""
    (line,) = _lines(Settings(), cast(Any, None), validator(), plain(value, topic="reviews", partition=1, offset=9))
    assert said in line
    assert (line.startswith("reviews/1/9: ")) == ("no review" in said)


def test_reviewing_needs_its_topics() -> None:
    """Both are named before anything is asked of Kafka."""
    with pytest.raises(ConfigError, match=r"review\.topic and review\.labels: name both"):
        review(Settings(), Namespace(id=None), print)
