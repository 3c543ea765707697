"""What goes out: results and dead letters."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.incoming import TIME_US, binary, plain, validator
from worker.records import Aligned, Confidence, Event, Missing, Rejected, Stage, Verdict
from worker.stages.publish import ResultWriter, result_id, rfc3339

VERDICT = Verdict("congestion", 0.93, {"free_flow": 0.02, "congestion": 0.93, "accident": 0.05}, (0.5, -1.0))
WRITER = ResultWriter(
    output_topic="fusions",
    dead_letter_topic="fusions.dead",
    source="/fusion-worker/g",
    model_name="traffic",
    model_version="7",
    window_streams={"sounds"},
)


def anchor(**changes: object) -> Event:
    return replace(validator().read(binary(b"a crash", b"text/plain", ce_id=b"t-1", ce_source=b"/desk")), **changes)


def frame(delta_us: int, *, name: str = "f-1", stream: str = "frames") -> Event:
    event = validator().read(binary(ce_id=name.encode(), offset=40213))
    return replace(event, time_us=TIME_US + delta_us, stream=stream)


def test_result_is_the_contracts() -> None:
    """The record, byte for byte, of an anchor with one frame."""
    aligned = Aligned(anchor(traceparent="00-aa-bb-01"), {"frames": (frame(-120_000),)}, {}, True)
    out = WRITER.result(aligned, VERDICT)
    own_id = result_id("/desk", "t-1")
    assert (out.topic, out.key) == ("fusions", b"junction-12")
    assert out.value is not None
    assert out.value.decode() == (
        f'{{"id":"{own_id}","key":"junction-12","time":"2026-01-01T00:00:03.250Z",'
        '"label":"congestion","score":0.93,"scores":{"free_flow":0.02,"congestion":0.93,"accident":0.05},'
        '"inputs":{"texts":{"id":"t-1","time":"2026-01-01T00:00:03.250Z","topic":"texts-in","partition":2,"offset":7},'
        '"frames":{"id":"f-1","time":"2026-01-01T00:00:03.130Z","topic":"frames-in","partition":2,"offset":40213,'
        '"delta_ms":-120}},"missing":{},"complete":true,"model":{"name":"traffic","version":"7"}}'
    )
    assert dict(out.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": own_id.encode(),
        "ce_source": b"/fusion-worker/g",
        "ce_type": b"fusion.result.v1",
        "ce_time": b"2026-01-01T00:00:03.250Z",
        "content-type": b"application/json",
        "traceparent": b"00-aa-bb-01",
    }
    assert len(out.headers) == 7


def test_missing_and_incomplete() -> None:
    """A stream without a match is named with its reason, in a fixed order; no traceparent is made up."""
    missing = {"sounds": Missing.SHED, "frames": Missing.NEVER_SEEN}
    out = WRITER.result(Aligned(anchor(), {}, missing, False), VERDICT)
    assert out.value is not None
    body = json.loads(out.value)
    assert list(body["missing"].items()) == [("frames", "never_seen"), ("sounds", "shed")]
    assert list(body["inputs"]) == ["texts"]
    assert body["complete"] is False
    assert "traceparent" not in dict(out.headers)


def test_a_bound_that_may_have_cost_a_match_is_told() -> None:
    """By stream, in a fixed order; absent when there is none."""
    bounds = {"sounds": "maxmemory", "frames": "max_events_per_key"}
    out = WRITER.result(Aligned(anchor(), {"frames": (frame(0),)}, {}, True, truncated=bounds), VERDICT)
    body = json.loads(out.value or b"")
    assert list(body["truncated"].items()) == [("frames", "max_events_per_key"), ("sounds", "maxmemory")]
    assert "truncated" not in json.loads(WRITER.result(Aligned(anchor(), {}, {}, True), VERDICT).value or b"")


def test_window_streams_are_lists() -> None:
    """A window stream's entry is a list, also of one event; deltas finer than a millisecond are fractions."""
    inputs = {
        "sounds": (frame(1, stream="sounds"),),
        "frames": (frame(-1_500),),
    }
    out = WRITER.result(Aligned(anchor(), inputs, {}, True), VERDICT)
    assert out.value is not None
    body = json.loads(out.value)["inputs"]
    assert list(body) == ["texts", "frames", "sounds"]
    assert body["frames"]["delta_ms"] == -1.5
    assert [one["delta_ms"] for one in body["sounds"]] == [0.001]
    assert body["sounds"][0]["time"] == "2026-01-01T00:00:03.250001Z"


def test_order_of_mappings_does_not_matter() -> None:
    """The same match gives the same bytes, in whatever order it was put together."""
    one = {"frames": (frame(5),), "sounds": (frame(6, stream="sounds"),)}
    other = dict(reversed(one.items()))
    assert WRITER.result(Aligned(anchor(), one, {}, True), VERDICT) == WRITER.result(
        Aligned(anchor(), other, {}, True), VERDICT
    )


def test_embedding_is_asked_for() -> None:
    """The embedding is in the result only when the configuration asks for it."""
    asked = ResultWriter("r", "d", source="s", model_name="m", model_version="1", embedding=True)
    aligned = Aligned(anchor(), {}, {}, True)
    assert b"embedding" not in (WRITER.result(aligned, VERDICT).value or b"")
    assert json.loads(asked.result(aligned, VERDICT).value or b"")["embedding"] == [0.5, -1.0]
    assert b"embedding" not in (asked.result(aligned, replace(VERDICT, embedding=None)).value or b"")


def test_confidence_is_told_where_the_model_has_it() -> None:
    """What cannot be ruled out and how familiar it is; nothing of a model without them."""
    sure = replace(VERDICT, confidence=Confidence(("congestion", "accident"), 0.03))
    told = json.loads(WRITER.result(Aligned(anchor(), {}, {}, True), sure).value or b"")
    assert told["confidence"] == {"set": ["congestion", "accident"], "familiar": 0.03}
    assert "confidence" not in json.loads(WRITER.result(Aligned(anchor(), {}, {}, True), VERDICT).value or b"")


def test_scores_are_finite() -> None:
    """A score that JSON cannot hold is never published."""
    with pytest.raises(ValueError, match="Out of range float"):
        WRITER.result(Aligned(anchor(), {}, {}, True), replace(VERDICT, score=float("nan")))


def test_key_bytes_are_the_anchors() -> None:
    """A key with NUL and control characters goes out as it came."""
    event = validator().read(binary(b"x", b"text/plain", key=b"\x00\n\xc3\xa4"))
    out = WRITER.result(Aligned(event, {}, {}, True), VERDICT)
    assert out.key == b"\x00\n\xc3\xa4"
    assert json.loads(out.value or b"")["key"] == "\x00\nä"


def test_result_id_is_pinned() -> None:
    """The id is part of the contract: a change here would publish every result anew under another id."""
    assert result_id("/desk", "t-1") == "a1958ab4d712f7b959807da4507242a5"
    assert result_id("texts", "texts/0/5") != result_id("texts", "texts/0/6")


@settings(deadline=None)
@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_result_id_is_unambiguous(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Different (source, id) have different ids, however the two run together."""
    assert (result_id(*one) == result_id(*other)) == (one == other)
    joined, cut = "".join(one), len(one[0]) // 2
    if (joined[:cut], joined[cut:]) != one:
        assert result_id(joined[:cut], joined[cut:]) != result_id(*one)


@pytest.mark.parametrize(
    ("time_us", "text"),
    [
        (TIME_US, "2026-01-01T00:00:03.250Z"),
        (1_767_225_603_000_000, "2026-01-01T00:00:03.000Z"),
        (1_767_225_603_250_001, "2026-01-01T00:00:03.250001Z"),
        (1, "1970-01-01T00:00:00.000001Z"),
        (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_times(time_us: int, text: str) -> None:
    """Three digits, or six when the time is finer than a millisecond."""
    assert rfc3339(time_us) == text


def test_dead_letter_is_the_record_and_why() -> None:
    """Key, value and headers as they came, then where from, why and how often."""
    record = plain(b"\xff", topic="frames-in", key=None, headers=(("a", b"1"), ("a", b"\xfe"), ("traceparent", b"t")))
    out = WRITER.dead_letter(Rejected(record, Stage.VALIDATE, "no_key", "the record has no key"))
    assert (out.topic, out.key, out.value) == ("fusions.dead", None, b"\xff")
    assert out.headers == (
        ("a", b"1"),
        ("a", b"\xfe"),
        ("traceparent", b"t"),
        ("__connect.errors.topic", b"frames-in"),
        ("__connect.errors.partition", b"2"),
        ("__connect.errors.offset", b"7"),
        ("__connect.errors.stage", b"VALIDATE"),
        ("__connect.errors.exception.class.name", b"Poison"),
        ("__connect.errors.exception.message", b"the record has no key"),
        ("fusion.attempts", b"1"),
        ("fusion.timestamp", str(record.timestamp_ms).encode()),
    )


def test_null_value_stays_null() -> None:
    """A tombstone's dead letter has a null value too."""
    assert WRITER.dead_letter(Rejected(plain(None), Stage.VALIDATE, "empty_value", "null")).value is None


def test_a_second_round_trip_counts_on() -> None:
    """A replayed dead letter's headers are replaced, and its attempts add up."""
    first = WRITER.dead_letter(Rejected(plain(b"x"), Stage.VALIDATE, "r", "first"))
    again = plain(b"x", offset=99, headers=first.headers)
    second = WRITER.dead_letter(Rejected(again, Stage.DECODE, "r", "second", "ValueError"))
    told = dict(second.headers)
    assert len(second.headers) == len(told) == 8
    assert (told["fusion.attempts"], told["__connect.errors.offset"]) == (b"2", b"99")
    assert (told["__connect.errors.stage"], told["__connect.errors.exception.message"]) == (b"DECODE", b"second")


@pytest.mark.parametrize("raw", [b"", b"-3", b"x", b"\xff", b"9" * 5_000, "²".encode()])
def test_foreign_attempts_count_as_none(raw: bytes) -> None:
    """An attempts header that this worker cannot have written counts as none."""
    record = plain(b"x", headers=(("fusion.attempts", raw),))
    out = WRITER.dead_letter(Rejected(record, Stage.MODEL, "r", "m"))
    assert dict(out.headers)["fusion.attempts"] == b"1"


@settings(deadline=None)
@given(st.text(st.characters(), max_size=3_000))
def test_messages_fit_a_header(message: str) -> None:
    """Any message becomes one line of at most 1,000 characters of UTF-8, without control characters."""
    out = WRITER.dead_letter(Rejected(plain(b"x"), Stage.MODEL, "r", message))
    text = dict(out.headers)["__connect.errors.exception.message"].decode()
    assert len(text) <= 1_000
    assert text.isprintable() or not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in text)
    assert len(text.splitlines()) <= 1


def test_messages_are_cut_and_escaped() -> None:
    """A long message is cut at 1,000 characters; a newline shows as an escape."""
    out = WRITER.dead_letter(Rejected(plain(b"x"), Stage.MODEL, "r", "a\nb\x00" + "é" * 2_000))
    text = dict(out.headers)["__connect.errors.exception.message"].decode()
    assert text.startswith("a\\nb\\x00é")
    assert len(text) == 1_000
