"""The published schemas are current, sound, and true of what the worker writes and reads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from pydantic import BaseModel, ConfigDict, Field

from schemas import names
from schemas.__main__ import main
from schemas.dead_letter import DeadLetterHeaders
from schemas.generate import FOLDER, MODELS, stale
from schemas.result import ResultHeaders, ResultV1
from schemas.review import ReviewHeaders, ReviewV1
from tests.unit.incoming import TIME_US, binary, plain, validator
from worker.records import Aligned, Confidence, Missing, Outgoing, Rejected, Stage, Verdict
from worker.stages.publish import ResultWriter
from worker.stages.review import Reviewer, smaller

WRITER = ResultWriter(
    output_topic="fusions",
    dead_letter_topic="fusions.dead",
    source="/fusion-worker/g",
    model_name="m",
    model_version="1",
    window_streams={"sounds"},
    embedding=True,
)
ASYNCAPI: dict[str, Any] = json.loads((FOLDER / "asyncapi.json").read_text(encoding="utf-8"))
FINITE = st.floats(allow_nan=False, allow_infinity=False)
OFFSETS_US = st.integers(-(10**12), 10**12)
NAMES = st.text(min_size=1, max_size=20)


def schema(name: str) -> Draft202012Validator:
    body = json.loads((FOLDER / "json" / f"{name}.json").read_text(encoding="utf-8"))
    return Draft202012Validator(body, format_checker=FormatChecker())


def texts_of(out: Outgoing) -> dict[str, str]:
    return {name: value.decode() for name, value in out.headers}


def test_generated_files_are_current() -> None:
    """What is committed is what the models say; after a change run `python -m schemas`."""
    assert stale() == []
    assert main(["--check"]) == 0


def test_check_finds_what_is_stale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--check exits 1 for an absent, a changed and a left-over file, and writing mends all three."""
    assert main(["--check", "--folder", str(tmp_path)]) == 1
    assert main(["--folder", str(tmp_path)]) == 0
    assert main(["--check", "--folder", str(tmp_path)]) == 0
    (tmp_path / "json" / "result.v1.json").write_text("{}")
    (tmp_path / "json" / "old.json").write_text("{}")
    assert main(["--check", "--folder", str(tmp_path)]) == 1
    assert "stale: json/old.json, json/result.v1.json; run python -m schemas" in capsys.readouterr().err
    assert main(["--folder", str(tmp_path)]) == 0
    assert stale(tmp_path) == []


def test_runs_as_a_module() -> None:
    """`python -m schemas --check` is the command that CI runs."""
    done = subprocess.run([sys.executable, "-m", "schemas", "--check"], cwd=FOLDER.parent, check=False, timeout=60)
    assert done.returncode == 0


@pytest.mark.parametrize("name", sorted(MODELS))
def test_schemas_are_json_schemas(name: str) -> None:
    """Each file is a valid JSON Schema of its dialect."""
    Draft202012Validator.check_schema(schema(name).schema)


@settings(max_examples=200, deadline=None)
@given(
    anchor_id=NAMES,
    key=NAMES,
    anchor_time=OFFSETS_US,
    deltas=st.dictionaries(st.sampled_from(["frames", "sounds"]), st.lists(OFFSETS_US, min_size=1, max_size=3)),
    missing=st.dictionaries(st.sampled_from(["maps", "radar"]), st.sampled_from(Missing)),
    scores=st.dictionaries(st.text(min_size=1, max_size=8), FINITE, min_size=1, max_size=4),
    embedding=st.none() | st.lists(FINITE, max_size=4).map(tuple),
    complete=st.booleans(),
    truncated=st.dictionaries(st.sampled_from(["frames", "maps"]), st.just("max_bytes_per_key")),
    traceparent=st.none() | st.just("00-aa-bb-01"),
    confidence=st.none() | st.builds(Confidence, st.lists(NAMES, min_size=1).map(tuple), st.floats(0, 1)),
    rule=st.none() | st.fixed_dictionaries(dict.fromkeys(("name", "reason", "label", "then"), NAMES)),
)
def test_results_are_true_to_their_schema(
    anchor_id: str,
    key: str,
    anchor_time: int,
    deltas: dict[str, list[int]],
    missing: dict[str, Missing],
    scores: dict[str, float],
    embedding: tuple[float, ...] | None,
    complete: bool,
    truncated: dict[str, str],
    traceparent: str | None,
    confidence: Confidence | None,
    rule: dict[str, str] | None,
) -> None:
    """Any result of the writer is valid for the JSON Schema and for the model, headers and value."""
    text = validator().read(binary(b"hi", b"text/plain", key=key.encode(), ce_id=anchor_id.encode()))
    anchor = replace(text, time_us=TIME_US + anchor_time, traceparent=traceparent)
    frame = validator().read(binary())
    inputs = {s: tuple(replace(frame, time_us=anchor.time_us + d) for d in found) for s, found in deltas.items()}
    label, score = next(iter(scores.items()))
    aligned = Aligned(anchor, inputs, missing, complete, truncated=truncated)
    out = WRITER.result(aligned, Verdict(label, score, scores, embedding, confidence=confidence, rule=rule))
    body = json.loads(out.value or b"")
    schema("result.v1").validate(body)
    schema("result.headers").validate(texts_of(out))
    parsed, headers = ResultV1.model_validate(body), ResultHeaders.model_validate(texts_of(out))
    assert parsed.id == headers.ce_id == body["id"]
    assert parsed.time == headers.ce_time
    assert (parsed.key, parsed.label, parsed.complete) == (key, label, complete)
    assert set(parsed.inputs) == {"texts", *deltas}
    assert (parsed.truncated or {}) == truncated
    assert (parsed.confidence is None) == (confidence is None)
    assert (parsed.rule and parsed.rule.model_dump()) == rule


@pytest.mark.parametrize("confidence", [None, Confidence(("a", "b"), 0.0)])
def test_reviews_are_true_to_their_schema(confidence: Confidence | None) -> None:
    """With its result and without, headers and value; the result is the published one, less its embedding."""
    anchor = validator().read(binary(b"hi", b"text/plain"))
    aligned, verdict = Aligned(anchor, {}, {}, True), Verdict("a", 0.4, {"a": 0.4, "b": 0.3}, (1.0,))
    verdict = replace(verdict, confidence=confidence)
    reviewer = Reviewer("reviews", below=0.5, unfamiliar=0.02, several=True)
    result = WRITER.result(aligned, verdict)
    out = reviewer.record(result, reviewer.doubts(aligned, verdict))
    bare = smaller(out)
    assert bare is not None
    assert smaller(bare) is None
    for one in (out, bare):
        body = json.loads(one.value or b"")
        schema("review.v1").validate(body)
        schema("review.headers").validate(texts_of(one))
        assert ReviewV1.model_validate(body).id == ReviewHeaders.model_validate(texts_of(one)).ce_id
        assert one.key == result.key
    published = json.loads(result.value or b"")
    assert published.pop("embedding") == [1.0]
    assert json.loads(out.value or b"")["result"] == published


def test_schema_refuses_what_is_no_result() -> None:
    """An unknown reason or id form is an error. A field that came later is none to a consumer; the worker's own model
    knows all that it writes."""
    aligned = Aligned(validator().read(binary(b"hi", b"text/plain")), {}, {}, True)
    good = json.loads(WRITER.result(aligned, Verdict("a", 1.0, {"a": 1.0})).value or b"")
    schema("result.v1").validate({**good, "extra": 1})
    with pytest.raises(ValueError, match="extra"):
        ResultV1.model_validate({**good, "extra": 1})
    for change in ({"missing": {"frames": "lost"}}, {"id": "x"}, {"complete": None}):
        with pytest.raises(ValidationError):
            schema("result.v1").validate({**good, **change})


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(Stage), st.text(), st.integers(0, 2**62))
def test_dead_letters_are_true_to_their_schema(stage: Stage, message: str, offset: int) -> None:
    """Any dead letter's headers are valid for the JSON Schema and for the model."""
    out = WRITER.dead_letter(Rejected(plain(None, offset=offset), stage, "r", message))
    schema("dead_letter.headers").validate(texts_of(out))
    assert DeadLetterHeaders.model_validate(texts_of(out)).offset == str(offset)


def test_events_of_the_tests_are_true_to_their_schema() -> None:
    """The headers that the validator takes are those that the schema describes."""
    record = binary()
    validator().read(record)
    headers = {name: value.decode() for name, value in record.headers}
    schema("event.headers").validate(headers)
    for name in ("ce_id", "ce_source", "ce_type", "ce_specversion"):
        with pytest.raises(ValidationError):
            schema("event.headers").validate({k: v for k, v in headers.items() if k != name})


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Ref(Strict):
    ref: str = Field(alias="$ref")


class Channel(Strict):
    """A channel object of AsyncAPI 3.0."""

    address: str
    description: str
    messages: dict[str, Ref]
    bindings: dict[str, dict[str, Any]]


class Operation(Strict):
    """An operation object of AsyncAPI 3.0."""

    action: str = Field(pattern="^(send|receive)$")
    channel: Ref
    messages: list[Ref]


class Message(Strict):
    """A message object of AsyncAPI 3.0."""

    title: str
    summary: str = ""
    contentType: str
    headers: dict[str, Any]
    payload: dict[str, Any]
    bindings: dict[str, dict[str, Any]] = {}


class Components(Strict):
    """The components object, as far as it is used."""

    messages: dict[str, Message]
    schemas: dict[str, dict[str, Any]]


class AsyncApi(Strict):
    """The root object of AsyncAPI 3.0, with the members that the specification has."""

    asyncapi: str = Field(pattern=r"^3\.0\.0$")
    info: dict[str, Any]
    defaultContentType: str
    servers: dict[str, dict[str, Any]]
    channels: dict[str, Channel]
    operations: dict[str, Operation]
    components: Components


def references(node: object) -> Iterator[str]:
    """Every `$ref` in a document."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for inner in node.values():
            yield from references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from references(inner)


def resolve(reference: str) -> Any:
    """What a local reference points at; KeyError when there is nothing."""
    node: Any = ASYNCAPI
    assert reference.startswith("#/")
    for part in reference[2:].split("/"):
        node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


def test_asyncapi_document_is_sound() -> None:
    """It has the members of AsyncAPI 3.0, every reference resolves, and operations name their channel's messages."""
    document = AsyncApi.model_validate(ASYNCAPI)
    assert {"title", "version"} <= set(document.info)
    assert all({"host", "protocol"} <= set(server) for server in document.servers.values())
    found = list(references(ASYNCAPI))
    assert len(found) > 10
    for reference in found:
        assert resolve(reference)
    for operation in document.operations.values():
        assert all(one.ref.startswith(operation.channel.ref + "/messages/") for one in operation.messages)
    for body in document.components.schemas.values():
        Draft202012Validator.check_schema(body)


def test_asyncapi_names_what_crosses_the_wire() -> None:
    """Every input and output is a channel; the result and the dead letter carry their schemas."""
    assert {channel["address"] for channel in ASYNCAPI["channels"].values()} == {
        "frames",
        "texts",
        "readings",
        "sounds",
        "fusions",
        "fusions.dead",
        "fusions.review",
        "fusions.shadow",
        "labels",
    }
    messages = ASYNCAPI["components"]["messages"]
    assert resolve(messages["result"]["payload"]["$ref"])["title"] == "ResultV1"
    assert names.ERRORS_MESSAGE in resolve(messages["deadLetter"]["headers"]["$ref"])["properties"]
