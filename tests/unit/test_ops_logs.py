"""worker/ops/logs.py: one line an event, nothing that forges a line, never a secret."""

from __future__ import annotations

import json
import logging
import time
import warnings
from typing import Any

import pytest

from worker.ops.logs import adopt_libraries, configure, get_logger
from worker.redaction import REDACTED, remember, without_secrets


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was written to stderr; nothing may go to stdout."""
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def one(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The only line, as JSON."""
    (line,) = lines(capsys)
    fields: dict[str, Any] = json.loads(line)
    return fields


def test_json_lines_carry_time_level_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """An event is one JSON object with its fields, its level and the time in UTC."""
    configure("json", "info")
    get_logger().info("batch", items=32, seconds=float("nan"), streams=("texts", "frames"))
    fields = one(capsys)
    assert fields.pop("time").endswith("Z")
    expected = {"event": "batch", "level": "info", "items": 32, "seconds": "nan", "streams": ["texts", "frames"]}
    assert fields == expected


@pytest.mark.parametrize("form", ["json", "console"])
def test_nothing_forges_a_line(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Newlines, ANSI colours, bidirectional overrides and NUL come out escaped, in keys, values and nested values."""
    configure(form)
    evil = 'junction\n{"event":"forged"}\r\x1b[31mred\x00\u202e\u2028\x85'
    get_logger().warning(evil, key=evil, nested={evil: [evil]}, raw=b"\x1b[0m")
    (line,) = lines(capsys)
    assert line.isprintable()


def test_an_error_with_its_traceback_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback stays inside its event's line, in both forms."""
    for form in ("json", "console"):
        configure(form)
        try:
            raise ValueError("first\nsecond")
        except ValueError:
            get_logger().error("failed", exc_info=True)
        (line,) = lines(capsys)
        assert "ValueError: first" in line
        assert "second" in line


def test_a_connection_that_a_library_lost_is_told_without_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """Where in the library it was helps nobody whose broker is away; what else it stumbles over keeps it."""
    configure("json")
    for error in (ConnectionResetError(104, "Connection reset by peer"), KeyError("slot")):
        try:
            raise error
        except (OSError, KeyError):
            logging.getLogger("a.library").exception("closing socket")
    lost, odd = map(json.loads, lines(capsys))
    assert (lost["reason"], "exception" in lost) == (
        "ConnectionResetError: [Errno 104] Connection reset by peer",
        False,
    )
    assert "Traceback" in odd["exception"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_secrets_never_leave(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Values of secret keys, URL credentials and assigned passwords are replaced, however deep they lie."""
    configure(form)
    try:
        raise ConnectionError("redis://user:hunter2@host:6379 refused")
    except ConnectionError as error:
        get_logger().error(
            "cannot reach redis://user:hunter2@host/0",
            url="rediss://:hunter2@host",
            sasl_plain_password="hunter2",
            headers={"Authorization": "hunter2", "x": ["api_key=hunter2"]},
            cause=error,
            settings='{"ssl_password": "hunter2"}',
            exc_info=True,
        )
    (line,) = lines(capsys)
    assert "hunter2" not in line
    assert "host:6379 refused" in line
    assert REDACTED in line


def test_credentials_with_odd_characters_go_whole() -> None:
    """A password that holds a slash, a colon or an @ is replaced whole; the host stays."""
    assert without_secrets("redis://u:a/b@c:d@host/0 away") == f"redis://{REDACTED}@host/0 away"
    assert without_secrets("http://host/livez and mail@host") == "http://host/livez and mail@host"


def test_long_values_cost_little() -> None:
    """Searching a hostile text of a megabyte for secrets takes time in proportion to its length."""
    started = time.monotonic()
    without_secrets("://" * 350_000)
    without_secrets("passwor" * 150_000)
    assert time.monotonic() - started < 2


def test_levels(capsys: pytest.CaptureFixture[str]) -> None:
    """What lies below the level is not written; an unknown level or format is refused."""
    configure("json", "warning")
    get_logger().info("quiet")
    get_logger().error("loud")
    assert one(capsys)["event"] == "loud"
    with pytest.raises(KeyError, match="loud"):
        configure("json", "loud")
    with pytest.raises(ValueError, match=r"log\.format: 'xml' is not one of auto, json, console"):
        configure("xml")


def test_auto_is_json_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal `auto` writes JSON."""
    configure("auto")
    get_logger().info("listening", port=9108)
    assert one(capsys)["port"] == 9108


def test_libraries_speak_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    """The standard library's logging comes out once, from WARNING up, whatever handlers a library hung up itself."""
    library = logging.getLogger("a_library")
    library.addHandler(logging.StreamHandler())
    library.propagate = False
    configure("json", "debug")
    library.info("chatter")
    library.warning("bootstrap %s\nfailed", "redis://u:hunter2@host")
    fields = one(capsys)
    assert (fields["logger"], fields["level"]) == ("a_library", "warning")
    assert fields["event"] == f"bootstrap redis://{REDACTED}@host\nfailed"


def test_a_library_imported_late_is_adopted(capsys: pytest.CaptureFixture[str]) -> None:
    """adopt_libraries() takes over a logger that came after configure()."""
    configure("json")
    late = logging.getLogger("late_library")
    late.addHandler(logging.StreamHandler())
    adopt_libraries()
    late.error("once")
    assert one(capsys)["event"] == "once"


def test_a_librarys_wrong_format_string_is_still_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A log call whose arguments do not fit its text is written, and does not fail the caller."""
    configure("json")
    logging.getLogger("a_library").warning("%d records", "many")
    assert "many" in one(capsys)["event"]


def test_python_warnings_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A Python warning is a line like any other."""
    configure("json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("an old way", UserWarning, stacklevel=1)
    fields = one(capsys)
    assert fields["logger"] == "py.warnings"
    assert "an old way" in fields["event"]


def test_a_repeated_warning_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Also a library's own."""
    configure("json")
    for number in range(50):
        logging.getLogger("a_library").warning("node %d is away", number)
        get_logger().warning("kafka away", reason=f"after {number} ms")
    assert len(lines(capsys)) == 2


def test_secrets_of_the_settings_never_leave(capsys: pytest.CaptureFixture[str]) -> None:
    """Any of them, in any value, though nothing around it says that it is one."""
    remember(["correct horse/battery"])
    try:
        configure("json")
        get_logger().error(
            "refused correct horse/battery", x=["correct%20horse%2Fbattery"], y="'correct horse/battery'"
        )
    finally:
        remember(())
    (line,) = lines(capsys)
    assert "horse" not in line
