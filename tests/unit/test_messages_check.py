"""`feed mqtt --check FILE`: a sample of messages, and what each field becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_messages import STREAMS, preset
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
        (b"a \xff", ": is not UTF-8 (byte 2)"),
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
