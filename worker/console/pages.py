"""The console's addresses: `/`, `/console/live` and `/console/explain?q=`; read-only."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import parse_qs

from worker.console.live import MOST_WATCHERS, Live
from worker.console.page import headers, page
from worker.console.search import Search
from worker.ops.pages import TEXT, Answer

_OPEN = {"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"}


class Console:
    """See worker.ops.pages.Pages."""

    def __init__(self, live: Live, search: Search) -> None:
        self._live, self._search = live, search

    def answer(self, path: str, query: str) -> Answer | None:
        """See Pages.answer."""
        if path == "/":
            return Answer(HTTPStatus.OK, "text/html; charset=utf-8", page(), headers())
        if path == "/console/live":
            if self._live.is_full:
                told = f"{MOST_WATCHERS} pages are open already; close one\n".encode()
                return Answer(HTTPStatus.SERVICE_UNAVAILABLE, TEXT, told)
            return Answer(HTTPStatus.OK, "text/event-stream", self._live.events(), _OPEN)
        if path == "/console/explain":
            wanted = parse_qs(query).get("q", [""])[0].strip()
            if (why := self._search.refusal(wanted)) is not None:
                return Answer(HTTPStatus.BAD_REQUEST, TEXT, why.encode() + b"\n")
            return Answer(HTTPStatus.OK, TEXT, self._search.lines(wanted), _OPEN)
        return None

    def close(self) -> None:
        """See Pages.close."""
        self._live.close()
        self._search.close()
