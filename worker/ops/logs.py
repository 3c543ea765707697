"""Structured log lines on stderr: one line an event, control characters escaped, never a secret."""

from __future__ import annotations

import logging
import math
import re
import sys
import unicodedata
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

from worker.ops.repeats import Repeats
from worker.redaction import REDACTED, without_secrets

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_SECRET_KEY = re.compile(r"pass(word|wd|phrase)|secret|token|credential|authorization|api_?key", re.IGNORECASE)
# Control, format (bidirectional overrides among them), surrogate and separators: what could forge a line.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def configure(format: str = "auto", level: str = "info") -> None:
    """Sets up structlog and the standard library's logging for this process; may be called again.

    Guarantees: each event is one line on stderr; values of keys that look like secrets, credentials in URLs and
    `password=...` in texts are replaced; libraries' own logs come out the same way, from WARNING up; a warning
    that repeats is written once in `REPEAT_SECONDS`.

    Args:
        format: `json`, `console`, or `auto`: console where stderr is a terminal, else json.
        level: the least level written: debug, info, warning or error.

    Raises:
        KeyError: an unknown level.
        ValueError: an unknown format.
    """
    if format not in ("auto", "json", "console"):
        raise ValueError(f"log.format: {format!r} is not one of auto, json, console")
    least = _LEVELS[level]
    console = format == "console" or (format == "auto" and sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            Repeats(_left_out),
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            redact,
            *_renderer(console),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    adopt_libraries(max(least, logging.WARNING))


def _left_out(event: str, times: int) -> None:
    get_logger().info("repeated", what=event, left_out=times)


def get_logger() -> Any:
    """A logger with `debug`, `info`, `warning` and `error`, each taking an event and fields."""
    return structlog.get_logger()


def adopt_libraries(level: int = logging.WARNING) -> None:
    """Routes the standard library's logging and Python's warnings through `get_logger()`.

    Libraries that hung handlers on their own loggers (transformers, when it is imported) lose them, so that their
    lines are not written twice in two forms. Call it again after importing such a library late.
    """
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers = [_Bridge()]
    root.setLevel(level)
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        if logger.handlers:
            logger.handlers, logger.propagate = [], True


class _Bridge(logging.Handler):
    """Hands a record of the standard library's logging to structlog; of a connection that a library lost the error says
    all, and where in the library it was nothing."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the record as an event with the field `logger`."""
        level = max(logging.WARNING, min(record.levelno, logging.ERROR))
        fields: dict[str, Any] = {"exc_info": record.exc_info} if record.exc_info else {}
        if record.exc_info and isinstance(record.exc_info[1], OSError):
            fields = {"reason": f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"}
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            # A library whose arguments do not fit its own format string must not fail the caller.
            message = f"{record.msg} {record.args}"
        get_logger().log(level, message, logger=record.name, **fields)


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replaces secrets in keys and values at any depth, and makes every value one that JSON knows."""
    return {str(key): _value(str(key), value) for key, value in event.items()}


def _value(key: str, value: Any) -> Any:
    if _SECRET_KEY.search(key) and value is not None:
        return REDACTED
    if isinstance(value, Mapping):
        return {str(inner): _value(str(inner), one) for inner, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_value("", one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return without_secrets(str(value))


def escape(text: str) -> str:
    """`text` with each character that could move the cursor, colour the terminal or begin a line as an escape."""
    return "".join(
        one.encode("unicode_escape").decode() if unicodedata.category(one) in _UNSAFE_CATEGORIES else one
        for one in text
    )


def _renderer(console: bool) -> list[Any]:
    if not console:
        return [structlog.processors.EventRenamer("event"), structlog.processors.JSONRenderer()]
    return [_escaped, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), timestamp_key="time", sort_keys=False)]


def _escaped(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # ConsoleRenderer spreads the key `exception` over many lines; under another name it is a value like any other.
    named = {"traceback" if key == "exception" else key: value for key, value in event.items()}
    return {escape(key): _escape_value(value) for key, value in named.items()}


def _escape_value(value: Any) -> Any:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, dict):
        return {escape(key): _escape_value(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_escape_value(one) for one in value]
    return value
