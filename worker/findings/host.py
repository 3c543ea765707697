"""What this machine tells of itself -> a line of versions, and findings."""

from __future__ import annotations

import ipaddress
import platform
import resource
from importlib.metadata import PackageNotFoundError, version

from worker.config import Settings
from worker.findings.finding import Finding, warning

# What decides how servers are spoken to and what a model computes.
PACKAGES = ("fusion-worker", "torch", "kafka-python", "confluent-kafka", "redis", "numpy")
# Measured with one broker: 24 when ready, 30 at work. A further broker is a connection more for each of its clients.
LEAST_FILES = 256


def versions() -> str:
    """In one line; what is not installed is left out."""
    found = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def open_files() -> int:
    """How many this process may have; RLIM_INFINITY (-1) where there is no limit."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def of_open_files(most: int) -> list[Finding]:
    """`most` as `open_files` tells it."""
    if most == resource.RLIM_INFINITY or most >= LEAST_FILES:
        return []
    return [warning(
        f"this process may open {most} files and connections, less than {LEAST_FILES}: with several brokers it runs "
        "out of them", f"`ulimit -n {4 * LEAST_FILES}`, or LimitNOFILE= of its service",
    )]  # fmt: skip


def of_http(settings: Settings) -> list[Finding]:
    """Who can read the page, and the token on its way."""
    http = settings.http
    if http.console and http.token_file is None and not _is_loopback(http.host):
        return [warning(
            f"http.console without http.token_file on http.host = {http.host!r}: whoever reaches it reads texts and "
            "sees pictures", "set http.token_file, or http.console = false",
        )]  # fmt: skip
    if http.token_file is None or http.ssl_certfile is not None or _is_loopback(http.host):
        return []
    return [warning(
        f"http.token_file without TLS on http.host = {http.host!r}: whoever sees the traffic has the token",
        "set http.ssl_certfile and http.ssl_keyfile",
    )]  # fmt: skip


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
