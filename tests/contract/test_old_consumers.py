"""Consumers and producers of the contract's first version go on: `first/` holds the schemas as they were published.

Results of 24 November 2026, readings and reviews of the day that each came. A consumer ignores what it does not know
(CONTRACT section 2), so what a first schema said against unknown fields is left out.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from schemas.generate import FOLDER, opened
from tests.unit.incoming import binary, plain, validator
from worker.records import Aligned, Confidence, Missing, Outgoing, Rejected, Stage, Verdict
from worker.stages.publish import ResultWriter
from worker.stages.review import Reviewer, smaller

Schema = dict[str, Any]
FIRST = Path(__file__).parent / "first"
WRITTEN = ("result.v1", "result.headers", "dead_letter.headers", "review.v1", "review.headers")
READ = ("event.headers", "event.structured", "event.text", "event.sensor", "label.v1")
EXACT = ("pattern", "format", "minLength", "maxLength", "minimum", "maximum", "minItems", "const")
WRITER = ResultWriter(
    output_topic="fusions", dead_letter_topic="dead", source="/g", model_name="m", model_version="1",
    window_streams={"sounds"}, embedding=True,
)  # fmt: skip


def first(name: str) -> Schema:
    """As it was published."""
    return dict(json.loads((FIRST / f"{name}.json").read_text()))


def today(name: str) -> Schema:
    """As it is published now."""
    return dict(json.loads((FOLDER / "json" / f"{name}.json").read_text()))


class Pair:
    """Whether a reader takes all that a writer's schema allows."""

    def __init__(self, written: Schema, read: Schema) -> None:
        self._written, self._read = written, read

    def problems(self) -> list[str]:
        """What a reader would stumble over."""
        return list(self._held(self._written, self._read, "$"))

    def _held(self, written: Schema, read: Schema, at: str) -> Iterator[str]:
        written, read = _resolved(written, self._written), _resolved(read, self._read)
        if "anyOf" in written or "anyOf" in read:
            for one in written.get("anyOf", [written]):
                if all(list(self._held(one, other, at)) for other in read.get("anyOf", [read])):
                    yield f"{at}: {one} is none of {read}"
            return
        if not _types(written) <= _types(read):
            yield f"{at}: is {written.get('type')}, was {read.get('type')}"
        if "enum" in read and not set(written.get("enum", [written.get("const")])) <= set(read["enum"]):
            yield f"{at}: may be {written.get('enum')}, was {read['enum']}"
        yield from (f"{at}: {name} differs" for name in EXACT if name in read and written.get(name) != read[name])
        yield from self._fields(written, read, at)
        for inner in ("items", "additionalProperties"):
            if isinstance(written.get(inner), dict) and isinstance(read.get(inner), dict):
                yield from self._held(written[inner], read[inner], f"{at}.{inner}")

    def _fields(self, written: Schema, read: Schema, at: str) -> Iterator[str]:
        known = written.get("properties", {})
        for name, one in read.get("properties", {}).items():
            if name not in known:
                yield f"{at}.{name}: is gone"
            else:
                yield from self._held(known[name], one, f"{at}.{name}")
        for name in set(read.get("required", ())) - set(written.get("required", ())):
            yield f"{at}.{name}: need not be there any more"


def _resolved(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def _types(schema: Schema) -> set[str]:
    kinds = schema.get("type", [])
    found = {kinds} if isinstance(kinds, str) else set(kinds)
    if "number" in found:
        found.add("integer")
    return found or {"object", "array", "string", "number", "integer", "boolean", "null"}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_today_is_read_by_the_first_consumers(name: str) -> None:
    """No field is gone, has another type or form, or may be left out that was always there. Of a review the reason
    `rule` came later: it is written only where somebody has set a rule that asks for it."""
    found = Pair(today(name), first(name)).problems()
    assert [one.partition(": may be")[0] for one in found] == (
        ["$.reasons.items.reason"] if name == "review.v1" else []
    )
    assert all("rule" in one for one in found)


@pytest.mark.parametrize("name", READ)
def test_what_the_first_producers_write_is_read_today(name: str) -> None:
    """Nothing more is asked of them, and the other way round: today's producers may write to a worker of then, but for
    the readings of sensors, which it had none of."""
    assert Pair(first(name), today(name)).problems() == []
    found = {problem.partition(":")[0] for problem in Pair(today(name), first(name)).problems()}
    assert found == ({"$.data"} if name == "event.structured" else set())


@pytest.mark.parametrize("name", sorted(path.stem for path in (FOLDER / "json").glob("*.json")))
def test_no_published_schema_forbids_what_comes_later(name: str) -> None:
    """A consumer that validates by today's schema takes tomorrow's optional fields."""
    assert opened(today(name)) == today(name)


def gone(schema: Schema) -> None:
    del schema["properties"]["missing"]


def optional(schema: Schema) -> None:
    schema["required"].remove("complete")


def retyped(schema: Schema) -> None:
    schema["properties"]["score"] = {"type": "string"}


def more_values(schema: Schema) -> None:
    schema["properties"]["missing"]["additionalProperties"]["enum"].append("lost")


def deeper(schema: Schema) -> None:
    schema["$defs"]["Input"]["properties"]["offset"] = {"type": "string"}


def another_form(schema: Schema) -> None:
    schema["properties"]["id"]["pattern"] = "^.*$"


@pytest.mark.parametrize("change", [gone, optional, retyped, more_values, deeper, another_form])
def test_a_change_that_breaks_them_is_found(change: Callable[[Schema], None]) -> None:
    """Each kind by itself."""
    changed = copy.deepcopy(today("result.v1"))
    change(changed)
    assert Pair(changed, first("result.v1")).problems()


def results() -> Iterator[Outgoing]:
    """Bare, and with all that has been added since."""
    text, frame = validator().read(binary(b"hi", b"text/plain")), validator().read(binary())
    yield WRITER.result(Aligned(text, {}, {"frames": Missing.SHED}, False), Verdict("a", 1.0, {"a": 1.0}))
    inputs = {"frames": (frame,), "sounds": (frame, frame)}
    full = Verdict(
        "a", 0.4, {"a": 0.4, "b": 0.3}, embedding=(1.0, 2.0), truncated={"texts": "max_tokens"},
        confidence=Confidence(("a", "b"), 0.01), model={"name": "n", "version": "2"},
        rule={"name": "r", "reason": "smoke", "label": "b", "then": "a"},
    )  # fmt: skip
    yield WRITER.result(Aligned(text, inputs, {"maps": Missing.NEVER_SEEN}, True, truncated={"frames": "x"}), full)


def held(name: str, body: Any) -> None:
    """Against the first schema."""
    Draft202012Validator(opened(first(name)), format_checker=FormatChecker()).validate(body)


def headers(out: Outgoing) -> dict[str, str]:
    return {name: (value or b"").decode() for name, value in out.headers}


def test_todays_records_against_the_first_validators() -> None:
    """Results, reviews and dead letters as the worker writes them now."""
    reviewer = Reviewer("reviews", below=1.1, unfamiliar=0.5, several=True)
    text = validator().read(binary(b"hi", b"text/plain"))
    for out in results():
        held("result.v1", json.loads(out.value or b""))
        held("result.headers", headers(out))
        verdict = Verdict("a", 0.4, {"a": 0.4}, confidence=Confidence(("a", "b"), 0.01))
        review = reviewer.record(out, reviewer.doubts(Aligned(text, {}, {}, True), verdict))
        for one in filter(None, (review, smaller(review))):
            held("review.v1", json.loads(one.value or b""))
            held("review.headers", headers(one))
    for stage in Stage:
        held("dead_letter.headers", headers(WRITER.dead_letter(Rejected(plain(None), stage, "r", "no"))))
    with pytest.raises(ValidationError):
        held("result.v1", {})
