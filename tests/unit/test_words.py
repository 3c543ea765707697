"""Sentences, read back, against the fields that they were made from."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.result import ResultV1
from worker.stages.words import LANGUAGES, told

REASONS = get_args(get_args(ResultV1.model_fields["missing"].annotation)[1])
LABELS = st.sampled_from(["calm", "fire", "flood"])
SCORES = st.integers(0, 100).map(lambda one: one / 100)
SAID = st.fixed_dictionaries({"label": LABELS, "score": SCORES})
PLACE = (
    st.fixed_dictionaries({"row": st.integers(0, 6), "column": st.integers(0, 6)})
    | st.fixed_dictionaries({"token": st.sampled_from(["jam", "##s"])})
    | st.fixed_dictionaries({"step": st.integers(0, 15)})
)
# What a sentence says, as a person would look for it.
ENGLISH = {
    "verdict": r"The verdict is (\w+), with a score of ([\d.]+)\.",
    "open": r"It is left open between ([\w, ]+)\.",
    "set": r"What cannot be ruled out: ([\w, ]+)\.",
    "familiar": r"Of known data ([\d.]+)% is as strange as this or stranger\.",
    "alone": r"(\w+) alone says (\w+) \(([\d.]+)\)\.",
    "agree": r"The inputs (agree|do not agree)\.",
    "without": r"Without (\w+) it (is still|would be) (\w+) \(([\d.]+)\)\.",
    "base": r"Without any input the score of (\w+) would be ([\d.]+)\.",
    "adds": r"(\w+) (adds|takes) ([\d.]+) (?:to|from) it\.",
    "places": r"In (\w+) most weight lies on (.+?)\.(?= |$)",
    "missing": r"(\w+) is missing: ",
    "incomplete": r"(The wait ended)",
}
CHINESE = {
    "verdict": r"结论是(\w+)，得分([\d.]+)。",
    "open": r"尚不能区分：([\w、]+)。",
    "set": r"不能排除：([\w、]+)。",
    "familiar": r"已知数据中有([\d.]+)%与此同样或更为陌生。",
    "alone": r"单看(\w+)，结论是(\w+)（([\d.]+)）。",
    "agree": r"各输入(一致|不一致)。",
    "without": r"去掉(\w+)，结论(仍是|会变为)([a-z]+)（([\d.]+)）。",
    "base": r"没有任何输入时，([a-z]+)的得分为([\d.]+)。",
    "adds": r"([a-z]+)使得分(增加|减少)([\d.]+)。",
    "places": r"([a-z]+)中权重最大的是(.+?)。",
    "missing": r"缺少(\w+)：",
    "incomplete": r"(等待在)",
}


@st.composite
def results(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a result, and its evidence."""
    names = draw(st.lists(st.sampled_from(["texts", "cams", "heat"]), min_size=1, max_size=3, unique=True))
    gone = draw(st.lists(st.sampled_from(["north", "south"]), unique=True))
    by_name = lambda values: st.fixed_dictionaries(dict.fromkeys(names, values))  # noqa: E731
    evidence = {
        "confidence": draw(SCORES), "undecided": draw(st.sampled_from([[], ["calm", "fire"]])), "base": draw(SCORES),
        "alone": draw(by_name(SAID)), "without": draw(by_name(SAID)) if len(names) > 1 else {},
        "agree": draw(st.booleans()), "flips": draw(st.sets(st.sampled_from(names))),
        "adds": draw(by_name(st.integers(-100, 100).map(lambda one: one / 100))),
        "places": draw(by_name(st.lists(PLACE, max_size=3))),
    }  # fmt: skip
    missing = {name: draw(st.sampled_from(REASONS)) for name in gone}
    result = {"label": draw(LABELS), "missing": missing, "complete": draw(st.booleans())}
    if draw(st.booleans()):
        labels = draw(st.lists(LABELS, min_size=1, unique=True))
        result["confidence"] = {"set": labels, "familiar": draw(st.integers(0, 1000)) / 1000}
    return result, evidence


@pytest.mark.parametrize(("language", "asked"), [("en", ENGLISH), ("zh", CHINESE)])
@given(given=results())
def test_every_sentence_says_its_field(language: str, asked: dict[str, str], given: Any) -> None:
    """Nothing is told that is not there, and all that is there is told."""
    result, evidence = given
    text = told(result, evidence, language)
    read: dict[str, Any] = {name: re.findall(one, text) for name, one in asked.items()}
    same, grows = ("is still", "adds") if language == "en" else ("仍是", "增加")
    two = lambda score: f"{score:.2f}"  # noqa: E731
    assert read["verdict"] == [(result["label"], two(evidence["confidence"]))]
    assert [re.split(", |、", one) for one in read["open"]] == [evidence["undecided"]] * bool(evidence["undecided"])
    known = [result["confidence"]] if "confidence" in result else []
    assert [re.split(", |、", one) for one in read["set"]] == [one["set"] for one in known]
    assert read["familiar"] == [f"{100 * one['familiar']:.1f}" for one in known]
    assert read["alone"] == [(name, said["label"], two(said["score"])) for name, said in evidence["alone"].items()]
    differ = {"do not agree", "不一致"}
    assert [one not in differ for one in read["agree"]] == [evidence["agree"]] * (len(evidence["alone"]) > 1)
    assert [(name, how == same, *rest) for name, how, *rest in read["without"]] == [
        (name, name not in evidence["flips"], said["label"], two(said["score"]))
        for name, said in evidence["without"].items()
    ]
    assert read["base"] == [(result["label"], two(evidence["base"]))]
    signed = {name: float(value) * (1 if how == grows else -1) for name, how, value in read["adds"]}
    assert signed == evidence["adds"]
    counted = {name: len(re.split(", (?!column)|、", places)) for name, places in read["places"]}
    assert counted == {name: len(places) for name, places in evidence["places"].items() if places}
    assert read["missing"] == list(result["missing"])
    assert bool(read["incomplete"]) == (not result["complete"])


def test_every_reason_has_its_own_sentence() -> None:
    """In every language, and no language lacks a sentence that another has."""
    english, *others = LANGUAGES.values()
    for words in (english, *others):
        assert words.keys() == english.keys()
        assert len({words[reason] for reason in REASONS}) == len(REASONS)
