"""Files that people write and mount -> their text, or what is wrong with them in a phrase."""

from __future__ import annotations

import codecs
from pathlib import Path

_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8: half a surrogate pair cannot, as JSON's escapes and what the system gives
    may hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without the byte order mark that some editors put before it.

    Raises:
        ValueError: it is not there, no file, or not UTF-8; the message is a phrase.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ValueError("no such file") from error
    except IsADirectoryError as error:
        raise ValueError("is a folder, not a file") from error
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    if data.startswith(_WIDE) or b"\0" in data:
        raise ValueError("is UTF-16 or no text; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 (byte {error.start})") from error


def read_secret(given: str) -> str:
    """The one line of the file that a variable ending in `_FILE` names, less its line end.

    Raises:
        ValueError: as `read_text`; or it is empty, or has more lines. What is no absolute path is not told: it may be
            the secret itself.
    """
    told = repr(given) if given.startswith("/") else "what it names (no absolute path, so it is not shown)"
    if not given:
        raise ValueError("names no file")
    try:
        text = read_text(Path(given)).removesuffix("\n").removesuffix("\r")
    except ValueError as error:
        raise ValueError(f"{told}: {error}") from error
    if not text:
        raise ValueError(f"{told}: is empty; write the value there, or take the variable away")
    if "\n" in text or "\r" in text:
        raise ValueError(f"{told}: has more than one line")
    return text
