"""A mapping of messages: pointers, times, topics, and what is wrong with one, in one line."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from worker.errors import ConfigError
from worker.feeds.messages.mapping import mapping_of, preset_file
from worker.feeds.messages.topics import TopicPattern, filters_of
from worker.feeds.messages.values import Facts, Missing, Value, number_in, time_us

PAYLOAD = {"a": {"b": 3}, "l": ["x", "y"], "a/b": 1, "m~n": 2}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("/a/b", 3), ("/l/1", "y"), ("/a~1b", 1), ("/m~0n", 2), ("", PAYLOAD),
        ("{camera}-{/a/b}", "c-3"), ("{/l}", "x,y"), ("other#/z", 9), ("{other#/z}!", "9!"), ("plain", "plain"),
    ],
)  # fmt: skip
def test_a_value_is_a_pointer_or_text_with_pointers_in_it(text: str, value: Any) -> None:
    """RFC 6901 with its two escapes; a list within a text is what is in it; another message by the name of its rule."""
    assert Value(text).of(Facts({"camera": "c"}, PAYLOAD, {"other": {"z": 9}})) == value


@pytest.mark.parametrize("text", ["/a/c", "/l/2", "/l/01", "/l/-", "{nobody}", "gone#/z", "/a/b/c"])
def test_what_is_not_there_is_missing(text: str) -> None:
    """Never an error of another kind."""
    with pytest.raises(Missing):
        Value(text).of(Facts({}, {"a": {"b": 3}, "l": ["x"]}))


@pytest.mark.parametrize(
    ("given", "zone", "us"),
    [
        ("2026-01-01T12:00:00Z", None, 1_767_268_800_000_000),
        ("2026-01-01T14:00:00+02:00", None, 1_767_268_800_000_000),
        ("2026-01-01T12:00:00.250+0000", None, 1_767_268_800_250_000),
        ("2026-01-01T13:00:00", "Europe/Berlin", 1_767_268_800_000_000),
        (1_767_268_800.25, None, 1_767_268_800_250_000),
        (1_767_268_800_250, None, 1_767_268_800_250_000),
        ("1767268800250", None, 1_767_268_800_250_000),
        (1_767_268_800_250_000, None, 1_767_268_800_250_000),
    ],
)  # fmt: skip
def test_times_of_every_form_are_read(given: Any, zone: str | None, us: int) -> None:
    """ISO 8601 with a zone, or in the zone of the mapping; seconds, milliseconds and microseconds by their size."""
    assert time_us(given, ZoneInfo(zone) if zone else None) == us


@pytest.mark.parametrize("given", ["2026-01-01T13:00:00", "yesterday", -5, 0, True, None, [1], "", float("nan")])
def test_what_is_no_time_is_refused(given: Any) -> None:
    """A time without a zone too, where the mapping names none."""
    with pytest.raises(ValueError, match=r"is no time|has no zone"):
        time_us(given, None)


def test_numbers_in_texts() -> None:
    """A number and nothing else."""
    given = ["21.5", "-3", " 7 ", "1e3", "unavailable", "0x10", "1,5", "", "nan", "inf", 4, None]
    assert [number_in(one) for one in given] == [
        21.5,
        -3,
        7,
        1000,
        "unavailable",
        "0x10",
        "1,5",
        "",
        "nan",
        "inf",
        4,
        None,
    ]


def test_topics_name_their_levels() -> None:
    """One level or several; what is subscribed to brings all, and nothing twice."""
    assert TopicPattern("f/{camera}/{label}/snapshot").match("f/front/person/snapshot") == {
        "camera": "front", "label": "person",
    }  # fmt: skip
    several = TopicPattern("z/{device*}/availability")
    assert several.match("z/kitchen/lamp/availability") == {"device": "kitchen/lamp"}
    assert several.match("z/availability") is None
    many = ("z/{a*}", "z/b/{c*}", "z/{a*}/get", "q/{x}", "q/y", "q/{x*}")
    assert filters_of([TopicPattern(one) for one in many]) == ["z/#", "q/#"]
    assert filters_of([TopicPattern(one) for one in ("a/{x}", "a/{x*}", "a/{y}/{z*}")]) == ["a/#"]
    for wrong in ("a/+/b", "a/#", "a/{B}", "a/{x}/{x}", "a/{time}", "a/x{y}"):
        with pytest.raises(ValueError, match=r"level|named twice"):
            TopicPattern(wrong)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('key = ""', "needs key"), ('colour = "red"', "rule.r.colour: there is no such key"),
        ('tiem = ["/x"]', "rule.r.tiem: there is no such key; did you mean time?"),
        ('id = "{camera"', "a brace that is not closed"), ('id = "{device}"', "{device} is not in its topic"),
        ('id = "event#/x"', "event#: no such message is joined"), ('modality = "smell"', "rule.r.modality"),
        ('zone = "Middle/Earth"', "no time zone"), ('topic = "a/+"', "neither plain text"),
        ('join = { rule = "x", on = "", equals = "" }', "there is no rule 'x'"),
        ("when = [1]", "rule.r.when: must be a table"),
        ('attributes = { time = "/x" }', "'time' is said of every event"),
        ('when = { "/x" = [1] }', "rule.r.when./x: must be a text, a number, true or false"),
        ('time = ["{time}"]', "time: {time} is not in its topic"),
        ("body = {}", "body: it names no field"), ("body = { a = 3 }", "rule.r.body.a: must be a text"),
        ('body = { a = { cuont = "/x" } }', "rule.r.body.a.count: Field required"),
        ("time = 3", "rule.r.time: must be a list"),
        ('body = { a = { count = "/x", contains = "y" } }', "body.a.contains: there is no such key; did you"),
        ('when = { "{time}" = "1" }', "when {time}: {time} is not in its topic"),
        ('join = { rule = "r", on = "/x", equals = "{nonsense}/x" }', "join.equals: {nonsense} is not in its topic"),
        ('join = { rule = "r", on = "/x", equals = "/x", distinct = "{y}" }', "join.distinct: {y} is not in"),
        ('join = { rule = "r", on = "/x", equals = "/x", distinct = "r#/y" }', "join.distinct: it is read of"),
        ('join = { rule = "r", on = "r#/x", equals = "/x" }', "join: r#: no such message is joined"),
        ('id = "{digest}"\npayload = "text"\nattributes = { a = "/x" }', "ce_a: /x stands in JSON, but 'r' is"),
        ('body = { a = "/a" }\nmodality = "text"', "a sensor's"),
    ],
)  # fmt: skip
def test_a_wrong_mapping_is_one_line(tmp_path: Path, change: str, said: str) -> None:
    """That names the file and the key."""
    right = {"name": '"r"', "topic": '"a/{camera}"', "modality": '"sensor"', "key": '"{camera}"', "id": '"/id"'}
    right |= {"type": '"t"', "body": '""'}
    for line in change.splitlines():
        right[line.partition(" = ")[0]] = line.partition(" = ")[2]
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\n[[rule]]\n' + "\n".join(f"{name} = {value}" for name, value in right.items()))
    with pytest.raises(ConfigError) as error:
        mapping_of(file)
    assert said in str(error.value)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["rule = 3", "rule = [3]", "rule = []", '[rule]\nname = "r"'])
def test_rules_are_a_list_of_tables(tmp_path: Path, text: str) -> None:
    """Said so in the words of TOML."""
    file = tmp_path / "mine.toml"
    file.write_text(f'name = "mine"\n{text}\n')
    with pytest.raises(ConfigError, match=r"mine\.toml: rule(\.0)?: must be rules, each under \[\[rule\]\]$"):
        mapping_of(file)


COUNTED = """
name = "mine"
[[rule]]
name = "counter"
topic = "{gate}/count"
skip = true
%s
[[rule]]
name = "r"
topic = "{camera}/seen"
modality = "sensor"
type = "t"
key = "{camera}"
id = "/id"
body = ""
join = { rule = "counter", on = "{camera}", equals = "%s", after = "1s" }
"""


def test_what_a_join_is_compared_with_is_of_the_other_message(tmp_path: Path) -> None:
    """Its topic, not this rule's; and of JSON alone where it is read as such."""
    file = tmp_path / "mine.toml"
    for payload, equals, said in (
        ("", "{gate}", ""),
        ('payload = "json"', "/camera", ""),
        ("", "{camera}", "join.equals: {camera} is not in the topic of 'counter'"),
        ("", "/camera", "join.equals: /camera stands in JSON, but 'counter' is read as bytes"),
    ):
        file.write_text(COUNTED % (payload, equals))
        with pytest.raises(ConfigError) if said else contextlib.nullcontext() as caught:
            mapping_of(file)
        assert caught is None or said in str(caught.value)


def test_a_base_is_given_with_a_slash_or_without() -> None:
    """One that is none is not the file's fault."""
    file = preset_file("mqtt", "frigate")
    assert [mapping_of(file, base).base for base in ("house/frigate/", "house/frigate", "", None)] == [
        "house/frigate", "house/frigate", "", "frigate",
    ]  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        mapping_of(file, "a+b")
    assert str(caught.value) == "--base: 'a+b' is no beginning of a topic: it may hold no + # { } and no NUL"
