"""`feed mqtt --check FILE`: a sample of messages, and what each field becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_messages import STREAMS, preset
from tests.unit.test_messages_intake import Odd
from worker.errors import ConfigError
from worker.feeds.messages.check import check, messages_in
from worker.feeds.messages.mapping import mapping_of
from worker.feeds.messages.translate import Translator


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_ends_at_its_line_end_alone(tmp_path: Path, end: str) -> None:
    """Not at a separator that splitlines knows beside it; an editor's byte order mark is no part of a topic."""
    file = tmp_path / "sample"
    file.write_bytes(f"\ufefft/a help\u2028at once\x0b{end}{end}t/b x{end}".encode())
    assert [(one.topic, one.payload.decode()) for one in messages_in(file)] == [
        ("t/a", "help\u2028at once\x0b"),
        ("t/b", "x"),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"topic": "a", "payload_base64": 5}', "line 1: "),
        (b'{"topic": "a", "payload_base64": null}', "line 1: "),
        (b'{"topic": "a", "payload": "x"}\n{"topic"', "line 2: "),
        (b'{"topic": "a\\ud800", "payload": "x"}', "line 1: "),
        (b"a \xff", ": is not UTF-8 (byte 2)"),
        (b"f/door/car/snapshot \xff\xd8\xff\xe0\0\x10JFIF", "; a picture is in it: leave such topics out, as by "),
        (b"\xff\xfea\0", ": is UTF-16 or no text; save it as UTF-8"),
        (b"\n \n", ": holds no message"),
        (None, ": no such file"),
    ],
)
def test_a_sample_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None, said: str) -> None:
    """It names the file, and the line."""
    file = tmp_path / "sample"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        list(messages_in(file))
    assert str(caught.value).startswith(f"--check {file}")
    assert said in str(caught.value)


@pytest.mark.parametrize("line", ["[1, 2]", '"hot"', "21.5", "null"])
def test_a_record_may_be_any_json_value(tmp_path: Path, line: str) -> None:
    """It is no topic without a payload, and is told as the feed tells it."""
    sample, lines = tmp_path / "sample", list[str]()
    sample.write_text(line)
    assert [(one.topic, one.payload.decode()) for one in messages_in(sample)] == [("", line)]
    mapping = preset("kafka", "deepstream")
    assert check(mapping, Translator(mapping, STREAMS, "/test"), sample, lines.append) == 1
    assert lines == ["a record: left out: no rule of deepstream knows it"]


def test_an_object_without_fields_is_told_as_any_other(tmp_path: Path) -> None:
    """It has no field that could be named."""
    mapping_file, sample, lines = tmp_path / "mine.toml", tmp_path / "sample", list[str]()
    mapping_file.write_text(
        'name = "mine"\n[[rule]]\nname = "all"\ntopic = "{device}"\nmodality = "sensor"\ntype = "t"\n'
        'key = "{device}"\nid = "{digest}"\nbody = { of = "{device}" }\n'
    )
    sample.write_text("pump {}\n")
    mapping = mapping_of(mapping_file)
    assert check(mapping, Translator(mapping, STREAMS, "/test"), sample, lines.append) == 0
    assert [line.split() for line in lines[-2:]] == [["fields:"], ["{}", "not", "used"]]


PREFIXED = """
name = "mine"
[[rule]]
name = "all"
modality = "sensor"
type = "t"
key = "home"
id = "{digest}"
body = "/data"
prefix = "%s"
"""


@pytest.mark.parametrize("prefix", ["{/where}_", "/where"])
def test_a_prefix_that_is_not_there_costs_that_message_alone(tmp_path: Path, prefix: str) -> None:
    """Missing or null: the check says so in the words of the feed, and goes on."""
    mapping_file, sample, lines = tmp_path / "mine.toml", tmp_path / "sample", list[str]()
    mapping_file.write_text(PREFIXED % prefix)
    sample.write_text('{"data": {"t": 1}}\n{"data": {"t": 1}, "where": null}\n{"data": {"t": 1}, "where": "attic"}\n')
    mapping = mapping_of(mapping_file)
    assert check(mapping, Translator(mapping, STREAMS, "/test"), sample, lines.append) == 1
    assert [line for line in lines if "left out, malformed: all: prefix: " in line] == lines[:2]
    assert any(line.split()[:2] == [f"body.attic{prefix[8:]}t", "1"] for line in lines[2:])


def test_a_fault_of_ours_is_told_as_the_feed_tells_it(tmp_path: Path) -> None:
    """While reading and while making the event, and the next message is looked at all the same."""
    mapping, sample, lines = preset("mqtt", "zigbee2mqtt"), tmp_path / "sample", list[str]()
    sample.write_text("".join(f'zigbee2mqtt/{name} {{"power": 1.5}}\n' for name in ("unread", "unmade", "plug")))
    assert check(mapping, Odd(mapping, STREAMS, "/test"), sample, lines.append) == 1
    assert lines[0] == "zigbee2mqtt/unread: left out, malformed: KeyError: 'unread'"
    assert lines[1] == "zigbee2mqtt/unmade: rule reading: left out, malformed: ZeroDivisionError: unmade"
    assert lines[2].startswith("zigbee2mqtt/plug: rule reading -> ")


def test_null_is_not_the_text_null(tmp_path: Path) -> None:
    """Where a mapping wants a text of a message: an attribute, or what a join goes by."""
    sample = tmp_path / "sample"
    sample.write_text('{"topic": "frigate/events", "payload": {"type": "new", "after": {"id": null}}}\n')
    mapping = preset("mqtt", "frigate")
    translator = Translator(mapping, STREAMS, "/test")
    [message] = messages_in(sample)
    read = translator.read(message)
    assert read is not None
    assert read.value("/after/id") is read.value("/after/nothing") is None
    assert read.value("/type") == "new"
