"""Rules beside the model: what may be written, who decides, and what is told of it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.incoming import binary, validator
from worker.errors import ConfigError
from worker.records import Aligned, Confidence, Event, Missing, Verdict
from worker.rules.judge import Rules, Written
from worker.stages.batch import SHED

MODALITIES = {"texts": "text", "smoke": "sensor", "frames": "image", "notes": "text"}
TEXT = validator().read(binary(b"all is well", b"text/plain"))
QUIET = Verdict("quiet", 0.8, {"quiet": 0.8, "fire": 0.2}, confidence=Confidence(("quiet", "fire"), 0.5))
LABELS = ("quiet", "fire")


class Head(NamedTuple):
    """What is asked of a head."""

    name: str
    labels: tuple[str, ...]
    kind: str = "label"


class Model(NamedTuple):
    """What is asked of a model."""

    labels: tuple[str, ...]
    heads: tuple[Head, ...] = ()


MODEL = Model(LABELS)


def event(body: Any, content_type: str = "application/json") -> Event:
    """A matched event with this body."""
    return replace(
        TEXT, payload=body if isinstance(body, bytes) else json.dumps(body).encode(), content_type=content_type
    )


def item(**inputs: Any) -> Aligned:
    """An anchor with the newest of each stream."""
    given = {name: (event({"ppm": 9_999, "text": "old"}), event(body)) for name, body in inputs.items()}
    return Aligned(TEXT, given, {"frames": Missing.NEVER_SEEN}, True)


def rules(*when: str, then: str = "fire", failed: Any = None) -> Rules:
    """One rule an expression."""
    written = [Written(f"r{n}", one, then, "because.") for n, one in enumerate(when, 1)]
    return Rules(written, MODALITIES, failed or (lambda *_: None))


def says(when: str, aligned: Aligned | None = None, verdict: Verdict = QUIET) -> bool:
    """Whether it holds; it must not fail."""
    failures: list[Any] = []
    ruled = rules(when, failed=lambda *told: failures.append(told)).ruled(aligned or item(smoke={"ppm": 301}), verdict)
    assert failures == []
    return ruled.rule is not None


@pytest.mark.parametrize(
    "when",
    [
        'inputs.smoke.ppm > 300 and label == "quiet"',
        "score >= 0.8 and score < 0.81",
        'scores["fire"] == 0.2',
        'key == "junction-12"',
        'missing["frames"] == "never_seen" and not ("smoke" in missing)',
        'missing&["frames"] == "never_seen" and not (missing&["smoke"] == "never_seen")',
        '"well" in inputs.texts.text',
        'label in ["quiet", "fire"]',
        '"fire" in confidence.set and confidence.familiar == 0.5',
        "inputs.smoke.ppm > 300 or inputs.smoke.nothing > 1",
        "$max([inputs.smoke.ppm, 400]) == 400",
        'inputs.smoke.ppm * 2 == 602 and (key == "x" ? false : true)',
    ],
)
def test_what_a_rule_sees(when: str) -> None:
    """Each of its names, with the newest reading."""
    assert says(when)


@pytest.mark.parametrize(
    ("body", "when"),
    [
        ({"values": {"ppm": 301}}, "inputs.smoke.ppm == 301"),
        ({"ppm": [1, None, 3]}, "inputs.smoke.ppm[-1] == 3"),
        ({"door": "OPEN"}, 'inputs.smoke.door == "OPEN"'),
        ({"at": {"lat": 1.5}}, 'inputs.smoke.at["lat"] == 1.5'),
        ({"on": True}, "inputs.smoke.on"),
        ({"ppm": None}, "inputs.smoke.ppm == null"),
        ({"length": 7, "keys": 1}, "inputs.smoke.length == 7 and inputs.smoke.keys == 1"),
    ],
)
def test_fields_of_a_reading(body: Any, when: str) -> None:
    """As the model reads them: in `values` or not, series, words, and names that the language has too."""
    assert says(when, item(smoke=body))


def test_a_text_that_came_as_json() -> None:
    """Its field text, as the model reads it."""
    assert says('inputs.notes.text == "smoke"', item(notes={"text": "smoke"}))


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ("inputs.smoke.ppm >", "syntax error"),
        ("lable == 1", "unknown name 'lable'; it may be label, score, scores, key, missing, inputs, confidence, heads"),
        ("inputs.smok.ppm > 1", "unknown stream 'smok'; streams are texts, smoke, frames, notes"),
        ('"smok" in missing', "unknown stream 'smok'; streams are texts"),
        ('not ("smok" in missing.keys)', "unknown stream 'smok'; streams are texts"),
        ('missing["smok"] == "never_seen"', "unknown stream 'smok'; streams are texts"),
        ('missing.smoke == "never_seen"', 'missing&["STREAM"]'),
        ("inputs.frames.ppm > 1", "stream 'frames' is of image"),
        ("inputs.texts.words == 1", "inputs.texts.text is all that a rule sees"),
        ("inputs == null", "inputs is asked as inputs.STREAM.FIELD"),
        ("inputs.smoke == null", "inputs is asked as inputs.STREAM.FIELD"),
        ('inputs.texts.text =~ "(a+)+$"', "no patterns"),
        ("$now == null", "unknown function $now"),
        ("$random() > 0.5", "unknown function $random; it may be $abs"),
        ("$any([one for one in [1]])", "loops"),
        ("inputs.smoke.ppm << 9 == 1", "operators on bits"),
        ('d"2020-01-01" == d"2020-01-01"', 'a rule knows no times, such as d"2020-01-01"'),
        ('score > 1 or t"P1D" == t"P1D"', "a rule knows no spans of time"),
        ('b"a" == b"a"', "a rule knows no bytes"),
        ("score < nan", "a rule knows no nan; a number is finite"),
        ("inf > score", "a rule knows no inf; a number is finite"),
        ('"aa" =~ "(a+)+$"', "no patterns"),
        ("1 << 2 == 4 and score > 0", "operators on bits"),
        ("score", "is float, and must be true or false"),
        ("scores.quiet > 1", 'scores["LABEL"]'),
        ("heads.setpoint.number > 25", 'heads["HEAD"]["number"]'),
        ("score > label", "data type mismatch"),
        ("confidence.sure > 1", "did you mean"),
        ("label.__class__ == 1", "unknown attribute: '__class__'"),
        ("inputs.smoke.__class__.__mro__[0] == 1 and $eval", "unknown function $eval"),
    ],
)
def test_what_is_refused_at_start(when: str, why: str) -> None:
    """By the number and name of the rule, with what it may be."""
    with pytest.raises(ConfigError) as told:
        rules("true", when)
    assert str(told.value).startswith(f"rule 2 'r2': when = {when!r}: ")
    assert why in str(told.value)


@pytest.mark.parametrize(
    ("when", "then", "where"),
    [
        ('label == "queit"', "fire", "when"),
        ('label in ["quiet", "queit"]', "fire", "when"),
        ('scores["queit"] > 0.5', "fire", "when"),
        ('"queit" in confidence.set', "fire", "when"),
        ("score > 0.5", "queit", "then"),
    ],
)
def test_a_label_that_the_model_has_not(when: str, then: str, where: str) -> None:
    """Where it stands, and which there are; a part of a label's word is none."""
    made = rules(when, then=then)
    with pytest.raises(
        ConfigError, match=f"rule 1 'r1': {where}: the model has no label 'queit'; its labels are quiet"
    ):
        made.ensure_told(MODEL)
    rules('"que" in label', 'inputs.smoke.door == "queit"', then="review").ensure_told(MODEL)


def test_the_first_that_holds_decides() -> None:
    """Its label, the model's score of that, and the model's own label beside it; the scores stay."""
    ruled = rules("score > 1", "score > 0", "true").ruled(item(), QUIET)
    assert (ruled.label, ruled.score, ruled.scores) == ("fire", 0.2, QUIET.scores)
    assert ruled.rule == {"name": "r2", "reason": "because.", "label": "quiet", "then": "fire"}
    asked = rules("true", then="review").ruled(item(), QUIET)
    assert (asked.label, asked.score) == ("quiet", 0.8)
    assert rules("score > 1").ruled(item(), QUIET) is QUIET


def test_a_shed_result_is_no_verdict() -> None:
    """Nothing to hold it against."""
    assert rules("true").ruled(replace(item(), shed=True), SHED) is SHED


@pytest.mark.parametrize(
    ("when", "aligned", "why"),
    [
        ("inputs.smoke.ppm > 300", item(), "stream smoke is missing"),
        ("inputs.smoke.ppm > 300", item(smoke={"co": 1}), "the newest event of smoke has no field ppm"),
        ("inputs.smoke.ppm > 300", item(smoke={"ppm": "a secret"}), "data type mismatch"),
        ("inputs.smoke.ppm > 300", item(smoke={"ppm": None}), "data type mismatch"),
        ("inputs.smoke.ppm", item(smoke={"ppm": 3}), "it is neither true nor false"),
        ("1 / inputs.smoke.ppm > 300", item(smoke={"ppm": 0}), "arithmetic error: division by zero"),
        ("inputs.smoke.ppm > 300", item(smoke=b"\xff"), "unexpected UnicodeDecodeError"),
        ("(inputs.smoke.ppm ** 999999) ** 999999 > 1", item(smoke={"ppm": 9}), "arithmetic error"),
    ],
)
def test_a_rule_that_cannot_be_asked_is_told(when: str, aligned: Aligned, why: str) -> None:
    """It is not applied, without a word of the item's; the rules after it are asked."""
    failures: list[tuple[str, str]] = []
    ruled = rules(when, "true", failed=lambda *told: failures.append(told)).ruled(aligned, QUIET)
    assert failures == [("r1", why)]
    assert (ruled.rule or {})["name"] == "r2"


def test_without_rules_nothing_is_made() -> None:
    """No object, and the library is not even loaded."""
    code = (
        "import sys, worker.assemble; from worker.config import Settings; from worker.ruling import rules_beside; "
        "assert rules_beside(Settings()) is None; assert 'rule_engine' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
ASKED = (
    "inputs.smoke.ppm > 300", "inputs.smoke.ppm == 1", "inputs.smoke.ppm[0] < score", '"a" in inputs.smoke.ppm',
    "$max(inputs.smoke.ppm) > 1", "inputs.smoke.ppm ?? 0 > 3", "-inputs.smoke.ppm < 3 or inputs.smoke.ppm.length > 1",
)  # fmt: skip


@given(value=JSON, when=st.sampled_from(ASKED))
def test_whatever_a_sensor_says(value: Any, when: str) -> None:
    """The verdict is the model's or the rule's, the same each time, and nothing is raised."""
    seen = []
    for _ in range(2):
        failures: list[Any] = []
        made = rules(when, failed=lambda *told, into=failures: into.append(told))
        seen.append((made.ruled(item(smoke={"ppm": value}), QUIET), failures))
    assert seen[0] == seen[1]
    assert seen[0][0] is QUIET or seen[0][0].label == "fire"


@given(
    text=st.text(max_size=60)
    | st.lists(st.sampled_from([*"()[]<>=!&|?.:\"'$", "inputs", "smoke", "label", " ", "1"])).map("".join)
)
def test_whatever_is_written(text: str) -> None:
    """It is a rule, or is refused with one error."""
    try:
        rules(text)
    except ConfigError as error:
        assert str(error).startswith("rule 1 'r1': when = ")  # noqa: PT017
