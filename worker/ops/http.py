"""The HTTP server of /metrics, /livez and /readyz (CONTRACT section 8), and of a worker's pages."""

from __future__ import annotations

import contextlib
import errno
import logging
import re
import select
import socket
import ssl
import sys
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from worker.errors import ConfigError
from worker.ops.access import Access
from worker.ops.health import Health
from worker.ops.pages import TEXT, Answer, Pages, refusal
from worker.redaction import without_secrets

ALLOWED = "GET, HEAD"

# Seconds a client may take to send its request; without a limit each silent connection holds a thread for ever.
CLIENT_TIMEOUT_SECONDS = 10.0


class OpsServer:
    """Serves one worker's metrics and health from its own thread.

    Guarantees: a request never waits for the worker's loop; `port` is the bound port once `start()` has returned, also
    when 0 (any free one) was asked for; after `stop()` the port is free.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        health: Health,
        access: Access | None = None,
        pages: Pages | None = None,
    ) -> None:
        """Binds nothing yet. `access`: None: anybody may read, without TLS; `pages`: beside metrics and health."""
        self._host, self._asked, self._registry, self._health, self._access = host, port, registry, health, access
        self._pages = pages
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; the one asked for while the server is not started."""
        return self._asked if self._server is None else int(self._server.server_address[1])

    def start(self) -> None:
        """Binds and serves.

        Raises:
            ConfigError: `http.port` is in use or needs privileges, or `http.host` is no address of this machine.
        """
        try:
            family, _, _, _, address = socket.getaddrinfo(
                self._host, self._asked, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            self._server = _Server(family, address, self._registry, self._health, self._access, self._pages)
        except OSError as error:
            raise ConfigError(self._refusal(error)) from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="ops-http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stops serving and frees the port; does nothing when not started."""
        if self._server is None or self._thread is None:
            return
        self._asked = self.port
        if self._pages is not None:
            self._pages.close()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server = self._thread = None

    def _refusal(self, error: OSError) -> str:
        if error.errno == errno.EADDRINUSE:
            return f"http.port: {self._asked} on {self._host} is in use; give a free port, or 0 for any free one"
        if error.errno == errno.EACCES:
            return f"http.port: {self._asked} needs privileges; give a port from 1024 to 65535, or 0 for any free one"
        return f"http.host: cannot listen on {self._host!r} ({error.strerror}); give an address of this machine"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        family: int,
        address: Any,
        registry: CollectorRegistry,
        health: Health,
        access: Access | None,
        pages: Pages | None,
    ) -> None:
        self.address_family = family
        self.registry, self.health, self.access, self.pages = registry, health, access, pages
        super().__init__(address[:2], _Handler)

    def server_bind(self) -> None:
        # HTTPServer asks the resolver for the host's full name here, which can take seconds and is not used.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the connection's own thread, so that one that is slow to shake hands holds nobody else up."""
        context = self.access.context() if self.access is not None else None
        if context is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(CLIENT_TIMEOUT_SECONDS)
        with context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away or does not speak TLS is of no interest; anything else is logged with its cause."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError | ssl.SSLError):
            logging.getLogger(__name__).error("request failed: %s", error, exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "fusion-worker"
    sys_version = ""
    timeout = CLIENT_TIMEOUT_SECONDS

    def do_GET(self) -> None:
        """Answers one request."""
        path, _, query = self.path.partition("?")
        answer = self._answer(path, query)
        self.send_response(answer.status)
        for name, value in self._headers_of(answer):
            self.send_header(name, value)
        self.end_headers()
        if isinstance(answer.body, bytes):
            self._write([answer.body])
        else:
            with contextlib.closing(cast(Generator[bytes], answer.body)) as parts:
                self._write(parts)

    def _write(self, parts: Iterable[bytes]) -> None:
        if self.command != "HEAD":
            for part in parts:
                if not part and self._gone():
                    return
                self.wfile.write(part)

    def _gone(self) -> bool:
        """Whether the client has closed: one that has asked has nothing more to say."""
        ears = select.poll()
        ears.register(self.connection, select.POLLIN)
        return bool(ears.poll(0))

    def _headers_of(self, answer: Answer) -> Iterator[tuple[str, str]]:
        yield "Content-Type", answer.kind
        if isinstance(answer.body, bytes):
            yield "Content-Length", str(len(answer.body))
        yield "Cache-Control", "no-store"
        yield from answer.headers.items()
        if answer.status == HTTPStatus.UNAUTHORIZED:
            yield "WWW-Authenticate", "Bearer"
            if self.server.pages is not None:
                yield "WWW-Authenticate", 'Basic realm="fusion-worker", charset="UTF-8"'

    do_HEAD = do_GET

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """A method that no standard knows is refused like those that it does."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._refuse()
        else:
            super().send_error(code, message, explain)

    def _refuse(self) -> None:
        """Nothing here can be changed."""
        body = f"{self.command} is not allowed; there are {ALLOWED}\n".encode()
        self.close_connection = True
        self.send_response(HTTPStatus.METHOD_NOT_ALLOWED)
        self.send_header("Allow", ALLOWED)
        self.send_header("Content-Type", TEXT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def _answer(self, path: str, query: str) -> Answer:
        if path == "/metrics":
            if not self._admitted():
                return Answer(HTTPStatus.UNAUTHORIZED, TEXT, b"a bearer token is needed\n")
            encode, content_type = choose_encoder(preferred(self.headers.get("Accept", "")))
            return Answer(HTTPStatus.OK, content_type, encode(self.server.registry))
        if path == "/livez":
            stalled = self.server.health.stalled()
            return _verdict("alive", () if stalled is None else (stalled,))
        if path == "/readyz":
            return _verdict("ready", self.server.health.reasons())
        found = None if self.server.pages is None else self._page(self.server.pages, path, query)
        return found or Answer(HTTPStatus.NOT_FOUND, TEXT, b"not found; there are /metrics, /livez and /readyz\n")

    def _page(self, pages: Pages, path: str, query: str) -> Answer | None:
        guarded = self.server.access is not None and self.server.access.is_guarded
        if (why := refusal(path, cast(Mapping[str, str], self.headers), guarded)) is not None:
            return Answer(HTTPStatus.FORBIDDEN, TEXT, f"refused: {why}\n".encode())
        if not self._admitted():
            told = b"the token of http.token_file is needed: as the password, with any user, or as a bearer token\n"
            return Answer(HTTPStatus.UNAUTHORIZED, TEXT, told)
        return pages.answer(path, query)

    def _admitted(self) -> bool:
        return self.server.access is None or self.server.access.admits(self.headers.get("Authorization"))

    def log_message(self, format: str, *args: Any) -> None:
        """A scrape every few seconds is no news."""


def preferred(accept: str) -> str:
    """Of what a scraper accepts the kind that it likes best, where two are told by their `q`; prometheus_client's own
    choice does not look at it."""
    liked: list[tuple[float, str]] = []
    for kind in accept.lower().split(","):
        name, *parameters = (part.strip() for part in kind.split(";"))
        told = next((one[2:] for one in parameters if one.startswith("q=")), "1")
        quality = float(told) if re.fullmatch(r"[01](\.\d{0,3})?", told) else 0.0
        if quality > 0 and name in ("application/openmetrics-text", "text/plain"):
            liked.append((quality, kind.strip()))
    return max(liked, key=lambda one: one[0])[1] if liked else ""


def _verdict(good: str, reasons: tuple[str, ...]) -> Answer:
    status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    return Answer(status, TEXT, without_secrets("\n".join(reasons or (good,)) + "\n").encode())
