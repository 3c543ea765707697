"""A secret that is planted, and the search for it."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote, quote_plus

# Words that nothing else has, between what URLs, comments and formats are cut at.
WORDS = ("qzvrhill", "xkwfpond", "jbtmrook", "vyqgfern", "wqzcmoss")
SECRET = "/".join([WORDS[0], f"{WORDS[1]}#{WORDS[2]}@{WORDS[3]}%{WORDS[4]} \"'\\"])
TOKEN = "+".join(["/".join(WORDS[:3]), "~".join(WORDS[3:])]) + "=="  # what a bearer token may be
PLAIN = SECRET.replace('"', "").replace("'", "").replace("\\", "").strip()  # what a server's own files can hold


def found(text: bytes) -> list[str]:
    """The spellings, and the single words, of the secrets that are in it."""
    spellings = set(WORDS)
    for secret in (SECRET, PLAIN, TOKEN):
        spellings |= {secret, quote(secret), quote(secret, safe=""), quote(secret, safe="").lower(), quote_plus(secret)}
        spellings |= {repr(secret)[1:-1], json.dumps(secret)[1:-1], html.escape(secret)}
        spellings |= {base64.b64encode(secret.encode()).decode(), secret.encode().hex()}
    return sorted(one for one in spellings if one.lower().encode() in text.lower())
