"""A file of certificates -> when they end. Read anew at each scrape, since keys are rotated under a running worker."""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from pathlib import Path

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x17, 0x18, 0xA0
# Which clients have: of years written with two digits those from 50 on are of the last century (RFC 5280, 4.1.2.5.1).
_LAST_CENTURY = 50


def ends_at(path: Path, authorities: bool = False) -> float:
    """When the certificates of a PEM file end, in seconds since 1970; 0 when it cannot be read or holds none.

    A chain is good until the first of its certificates ends. Of authorities the last to end counts: a bundle holds
    those that were replaced as well, and only when none is left nothing can be verified.
    """
    try:
        blocks = _BLOCK.findall(path.read_text(encoding="ascii", errors="replace"))
        ends = [_end(ssl.PEM_cert_to_DER_cert(block)) for block in blocks]
    except (OSError, ValueError, IndexError):
        return 0.0
    return (max if authorities else min)(ends, default=0.0)


def _end(der: bytes) -> float:
    """`notAfter` of one certificate: Certificate, tbsCertificate, behind version, serial number, signature and issuer
    the validity, whose second it is (RFC 5280, 4.1).

    Raises:
        ValueError, IndexError: it is none.
    """
    _, at, _ = _element(der, 0)
    _, at, _ = _element(der, at)
    tag, _, end = _element(der, at)
    for _ in range(3 if tag == _VERSION else 2):
        _, _, end = _element(der, end)
    _, at, _ = _element(der, end)
    _, _, at = _element(der, at)
    tag, start, end = _element(der, at)
    text = der[start:end].decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if int(text[:2]) >= _LAST_CENTURY else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError(f"tag {tag:#x} is no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Of the element that begins there its tag, and where its content begins and ends."""
    tag, size, at = der[at], der[at + 1], at + 2
    if size >= 0x80:
        count = size & 0x7F
        size, at = int.from_bytes(der[at : at + count], "big"), at + count
    if at + size > len(der):
        raise ValueError("it is cut off")
    return tag, at, at + size
