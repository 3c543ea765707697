"""Text -> the same text without secrets: those of the settings, in any spelling, and what looks like one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

REDACTED = "[redacted]"
# A shorter one is replaced only where it stands alone: else a password "a" would leave no word legible.
_LEAST_INSIDE_A_WORD = 4
# At these a URL's parser may cut a password that was not percent-encoded, and tell a piece of it.
_CUTS = re.compile(r"[/#?@:&=\[\]\s]+")
_WORD = re.compile(r"\S+")
_ASSIGNED_SECRET = re.compile(
    r"((?:password|passwd|passphrase|secret|api_?key|access_token|auth_token)[\w.-]*"
    r"[\"']?\s*[=:]\s*)(?:\"[^\"]*\"|'[^']*'|[^\s&,;\"']+)",
    re.IGNORECASE,
)


class _Known:
    pattern: re.Pattern[str] | None = None


def remember(secrets: Iterable[str]) -> None:
    """From now on `without_secrets` knows these, and no others of before; of an address it is the password in it."""
    known = {one: alone for secret in secrets for part, alone in _parts(secret) for one in _spellings(part) if one}
    longest_first = sorted(known, key=lambda one: (-len(one), one))
    found = "|".join(_found(one, known[one]) for one in longest_first)
    _Known.pattern = re.compile(found, re.IGNORECASE) if found else None


def without_secrets(text: str) -> str:
    """`text` with secrets of the settings, credentials of addresses and values of `password=...` replaced."""
    if _Known.pattern is not None:
        text = _Known.pattern.sub(REDACTED, text)
    return _ASSIGNED_SECRET.sub(rf"\1{REDACTED}", _WORD.sub(_without_credentials, text))


def _parts(secret: str) -> Iterator[tuple[str, bool]]:
    """What may not be told of a secret, and whether only where it stands alone: a piece that a parser has cut off."""
    _, separator, rest = secret.partition("://")
    if not separator:
        yield secret, False
        return
    try:
        query = urlsplit(secret).query
    except ValueError:
        query = ""
    given = [value for name, value in parse_qsl(query) if "pass" in name.lower()]
    for password in [rest.rpartition("@")[0].partition(":")[2], *given]:
        yield from ((piece, True) for piece in _CUTS.split(password))
        yield password, False


def _spellings(secret: str) -> set[str]:
    plain = {secret, unquote(secret)}
    encoded = {encode(one) for one in plain for encode in (quote, quote_plus)}
    whole = {quote(one, safe="") for one in plain}
    return plain | encoded | whole | {json.dumps(one)[1:-1] for one in plain} | {repr(one)[1:-1] for one in plain}


def _found(spelling: str, alone: bool) -> str:
    inside = re.escape(spelling)
    return rf"(?<!\w){inside}(?!\w)" if alone or len(spelling) < _LEAST_INSIDE_A_WORD else inside


def _without_credentials(word: re.Match[str]) -> str:
    # A password may hold a slash or an @ that should have been escaped, so all up to the last @ goes.
    scheme, separator, rest = word[0].partition("://")
    _, at, host = rest.rpartition("@")
    return f"{scheme}{separator}{REDACTED}@{host}" if separator and at else word[0]
