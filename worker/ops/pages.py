"""What the HTTP server shows beside health and metrics: pages that somebody else makes."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request gets. A body in parts ends with the connection, and is closed when the client is gone; an
    empty part is sent to nobody, but asks whether it is."""

    status: HTTPStatus
    kind: str
    body: bytes | Iterator[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)


class Pages(Protocol):
    """Pages that are read as `/metrics` is; asked from the threads of the requests."""

    def answer(self, path: str, query: str) -> Answer | None:
        """What lies at a path, such as `/`; `query` as it stands behind the `?`. None: nothing does."""

    def close(self) -> None:
        """Ends what still runs for somebody."""


def refusal(path: str, headers: Mapping[str, str], guarded: bool) -> str | None:
    """Why a browser may not read what lies at a path with these headers; None: it may.

    Another site that a person has open may not have anything fetched, but may lead to the page itself; nor may it read
    by a name of its own that leads here (DNS rebinding): with a token (`guarded`) the browser sends that under our own
    name alone.
    """
    is_followed = path == "/" and headers.get("Sec-Fetch-Dest") == "document"
    if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin") and not is_followed:
        return "asked by another site"
    host = headers.get("Host", "localhost")
    if guarded or _is_our_own(host):
        return None
    return "without http.token_file this page is read by an IP address or localhost, not by a name"


def _is_our_own(host: str) -> bool:
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
