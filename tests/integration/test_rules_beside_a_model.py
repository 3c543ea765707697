"""Rules through a real worker: one overrides, one sends to a person, one cannot be asked, and wrong ones at start."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_explain_command import overrides
from tests.integration.test_review_topics import committed, text_of
from tests.story import Fed, inside_a_minute
from tests.town import LIVELINESS_SECONDS, Town, town
from worker.cli import main
from worker.stages.publish import rfc3339

RULES = [
    {"name": "broken", "when": "inputs.smoke.co > 1", "then": "odd", "reason": "no sensor tells co"},
    {"name": "smoke", "when": 'inputs.smoke.ppm > 300 and label == "even"', "then": "odd", "reason": "smoke"},
    {"when": '"look at this" in inputs.texts.text', "then": "review", "reason": "somebody asks"},
]
SENSOR = {"modality": "sensor", "role": "context", "match": "latest", "max_wait": "200ms", "horizon": "60s"}


def ruled(made: Town, *rules: dict[str, str]) -> None:
    """Settings for a town with a smoke sensor, and with reviews of what rules send there alone."""
    made.settings["review"] = {"topic": f"{made.name}.reviews", "below": 0.0, "unfamiliar": 0.0}
    made.settings["rules"] = list(rules)
    made.settings["streams"] = {
        "texts": made.settings["streams"]["texts"],
        "smoke": {"topic": f"{made.name}.smoke", **SENSOR},
    }


def read(made: Town, ppm: dict[str, int], at: int) -> None:
    """A reading a key, a moment before `at`."""
    for key, value in ppm.items():
        headers = [("ce_specversion", b"1.0"), ("ce_id", key.encode()), ("ce_source", b"/s"), ("ce_type", b"t"),
                   ("ce_time", rfc3339(at - 100_000).encode()), ("content-type", b"application/json")]  # fmt: skip
        made.send("smoke", key, json.dumps({"ppm": value}).encode(), headers)


def test_rules_decide_ask_and_fail(stack: Any, tmp_path: Path) -> None:
    """Each result says which rule spoke and what the model says; what cannot be asked costs nothing but a count and a
    line."""
    at, even, asking = inside_a_minute(5), text_of("even", sure=True), b"look at this"
    with town(stack, tmp_path, {"reviews": 1, "smoke": 1}) as made:
        ruled(made, *RULES)
        read(made, {"fire": 301, "calm": 12}, at)
        made.feed([Fed(at, "texts", key, f"t-{key}", even) for key in ("fire", "calm")])
        made.feed([Fed(at + 1, "texts", key, f"a-{key}", asking) for key in ("calm",)])
        made.start()
        applied = 'fusion_rules_total{outcome="applied",rule="rule-3"} 1.0'
        made.read_until(lambda: len(made.results) == 3 and applied in made.metrics())
        metrics, log = made.metrics(), made.log()
        assert made.stop() == [0]
        by_id = {one["inputs"]["texts"]["id"]: one for one in made.results}
        fire, calm, asked = by_id["t-fire"], by_id["t-calm"], by_id["a-calm"]
        assert (fire["label"], fire["score"]) == ("odd", 0.0)
        assert fire["rule"] == {"name": "smoke", "reason": "smoke", "label": "even", "then": "odd"}
        assert (calm["label"], "rule" in calm) == ("even", False)
        assert asked["rule"]["name"] == "rule-3"
        assert asked["label"] == asked["rule"]["label"]
        (review,) = committed(stack, f"{made.name}.reviews")
        told = json.loads(review.value or b"")
        assert (told["id"], [one["reason"] for one in told["reasons"]]) == (asked["id"], ["rule"])
        assert told["result"] == asked
        assert 'fusion_rules_total{outcome="applied",rule="smoke"} 1.0' in metrics
        assert 'fusion_rules_total{outcome="failed",rule="broken"} 3.0' in metrics
        assert 'fusion_review_total{reason="rule"} 1.0' in metrics
        lines = Counter(line["reason"] for line in map(json.loads, log.splitlines()) if line.get("rule") == "broken")
        assert lines == {"the newest event of smoke has no field co": 1}


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (
            {"when": "inputs.smoke.ppm >"},
            "rule 2 'rule-2': when = 'inputs.smoke.ppm >': cannot be parsed",
        ),
        ({"when": "inputs.smok.ppm > 3"}, "unknown stream 'smok'; streams are texts, smoke"),
        ({"then": "queer"}, "rule 2 'rule-2': then: the model has no label 'queer'; its labels are even, odd"),
    ],
)
def test_a_wrong_rule_ends_the_worker_at_start(stack: Any, tmp_path: Path, rule: dict[str, str], why: str) -> None:
    """Exit 2, one line with its number, its name, and what it may be; nothing was published."""
    with town(stack, tmp_path, {"reviews": 1, "smoke": 1}) as made:
        ruled(made, RULES[1], {**RULES[2], **rule})
        (worker,) = made.start()
        assert worker.wait(LIVELINESS_SECONDS) == 2
        made.workers.clear()
        assert why in made.log()
        assert "Traceback" not in made.log()


def test_what_check_tells(stack: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rules that are in force, in their order; one that the model does not fit is exit 2."""
    with town(stack, tmp_path, {"reviews": 1}) as made:
        given = [*overrides(made), "--set", f"review.topic={made.name}.reviews"]
        for when, then, code, why in (
            ("score < 0.1", "review", 0, "rules: r -> review"),
            ("score < 0.1", "queer", 2, "rule 1 'r': then: the model has no label 'queer'"),
            ("'room' in heads", "review", 2, "rule 1 'r': when: the model has no head 'room'; it has no heads"),
        ):
            rule = f'rules=[{{name="r", when="{when}", then="{then}", reason="low"}}]'
            assert main(["check", *given, "--set", rule]) == code
            said = capsys.readouterr().out
            assert f'rules = [{{"name": "r", "when": "{when}"' in said
            assert why in said
