"""The page itself: one file, whose script and style are named by their hashes, so that the browser runs no other."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

PATH = Path(__file__).with_name("page.html")


@cache
def page() -> bytes:
    """As it is sent."""
    return PATH.read_bytes()


@cache
def headers() -> dict[str, str]:
    """What a browser may do with it: run its own script and style, show what is told, and nothing else."""
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; script-src {_hash('script')}; style-src {_hash('style')}; img-src data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def _hash(tag: str) -> str:
    (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page().decode(), re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"
