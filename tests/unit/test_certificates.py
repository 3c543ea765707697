"""worker/ops/certificates.py: when the certificates of a file end, and what the page says of the configured ones."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from worker.config import Settings
from worker.from_settings import certificates_of, tell_settings
from worker.ops.catalogue import PREFIX
from worker.ops.certificates import ends_at
from worker.ops.metrics import PrometheusObserver

# Made by `openssl req -x509`; until 2049 years are written with two digits, and with four from then on.
SHORT = """-----BEGIN CERTIFICATE-----
MIIBdDCCARugAwIBAgIUDcijkIFvMr8VsI+wvXYcJrwMF0swCgYIKoZIzj0EAwIw
EDEOMAwGA1UEAwwFc2hvcnQwHhcNMjYxMTI5MDA0NDUxWhcNMjYxMjAyMDA0NDUx
WjAQMQ4wDAYDVQQDDAVzaG9ydDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABErR
pU4YrciBOo6cg4dwyjrvb+Jq/ua0sujqVnVr5E5txANm3CKzKAPkytiuSIiQDJxz
iVEnmWz84PTeVxha0hWjUzBRMB0GA1UdDgQWBBSibbFy1U7RSavgLGQmM7NoL7ne
JjAfBgNVHSMEGDAWgBSibbFy1U7RSavgLGQmM7NoL7neJjAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0cAMEQCIB0G9myvGXOetSdP/y47YbfYgEy1e/wENH7/
bl1MeK1eAiB0gospV7GEJQJDUCDdNfvxGuM0/vtL8EvbXMjdH6eK5A==
-----END CERTIFICATE-----
"""
FAR = """-----BEGIN CERTIFICATE-----
MIIBczCCARmgAwIBAgIUals12h8lmg+9iHpnbMgaWRSTP44wCgYIKoZIzj0EAwIw
DjEMMAoGA1UEAwwDZmFyMCAXDTI2MTEyOTAwNDQ1MVoYDzIwODEwOTAxMDA0NDUx
WjAOMQwwCgYDVQQDDANmYXIwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATF4e4F
M1THuAEl257nrQP0qbHafdIMdqngf7Qf1IvB0k/Asp5IUvIJjWEHsonEiyksbWxO
ciqWAymgT/aXyT5fo1MwUTAdBgNVHQ4EFgQUKudV8M8iinb4FR6kHMjOE+eiJRYw
HwYDVR0jBBgwFoAUKudV8M8iinb4FR6kHMjOE+eiJRYwDwYDVR0TAQH/BAUwAwEB
/zAKBggqhkjOPQQDAgNIADBFAiBqOa+hoCw6uT6WizLZhLZ8++NRDxMF+yUmuF0n
cddRqQIhAJozuqvgkZbRJLc2BgW5WpF8MPkzaL2bkyeXBkiL51z2
-----END CERTIFICATE-----
"""
SHORT_END = datetime(2026, 12, 2, 0, 44, 51, tzinfo=UTC).timestamp()
FAR_END = datetime(2081, 9, 1, 0, 44, 51, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "authorities", "end"),
    [
        (SHORT, False, SHORT_END),
        (FAR, False, FAR_END),
        ("Bag Attributes: none\n" + FAR + "\n" + SHORT, False, SHORT_END),
        (SHORT + FAR, True, FAR_END),
        ("", False, 0),
        ("no certificate\n", True, 0),
        (SHORT[:400] + SHORT[460:], False, 0),
        ("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n" + FAR, False, 0),
    ],
    ids=["short", "far", "chain", "authorities", "empty", "none", "damaged", "no body"],
)
def test_the_end_is_read(tmp_path: Path, text: str, authorities: bool, end: float) -> None:
    """Of a chain the first end counts, of authorities the last; what cannot be read has ended."""
    (tmp_path / "one.pem").write_text(text)
    assert ends_at(tmp_path / "one.pem", authorities) == end


def test_no_file_has_ended(tmp_path: Path) -> None:
    """A file that is missing, and a folder in its place, are no reason to answer no scrape."""
    assert ends_at(tmp_path / "none.pem") == ends_at(tmp_path) == 0


def test_any_cut_is_told_from_the_whole(tmp_path: Path) -> None:
    """However much of a certificate is cut off its end, nothing but 0 or its own end is said."""
    lines = SHORT.strip().splitlines()
    body = "".join(lines[1:-1])
    for length in range(0, len(body), 4):
        (tmp_path / "cut.pem").write_text("\n".join([lines[0], body[:length], lines[-1]]))
        assert ends_at(tmp_path / "cut.pem") in (0, SHORT_END)


def page_of(observer: PrometheusObserver, sample: str, **labels: str) -> float | None:
    """The value of one series."""
    return observer.registry.get_sample_value(PREFIX + sample, labels)


def test_a_rotated_file_is_read_anew(tmp_path: Path) -> None:
    """What is configured for Kafka and Redis is on the page, by the file's content of now; what is not, is not."""
    for name in ("ca", "client"):
        (tmp_path / name).write_text(SHORT)
    files = {"security_protocol": "SSL", "ssl_cafile": str(tmp_path / "ca"), "ssl_certfile": str(tmp_path / "client")}
    redis = {"url": f"rediss://host:6379/0?ssl_ca_certs={tmp_path}/ca"}
    settings = Settings.model_validate({"kafka": files, "redis": redis})
    assert set(certificates_of(settings)) == {"kafka_ca", "kafka_client", "redis_ca"}
    observer = PrometheusObserver()
    tell_settings(settings, observer)
    name = "certificate_expiry_timestamp_seconds"
    assert page_of(observer, name, which="kafka_client") == page_of(observer, name, which="redis_ca") == SHORT_END
    (tmp_path / "client").write_text(FAR)
    assert page_of(observer, name, which="kafka_client") == FAR_END
    assert page_of(observer, name, which="redis_client") is None


def test_every_configured_file_of_certificates_is_watched() -> None:
    """Each key of the configuration that names such a file has its place on the page."""
    keys = [
        f"{section}.{name}"
        for section in ("kafka", "redis", "http")
        for name in type(getattr(Settings(), section)).model_fields
        if re.search(r"ca_?file|ca_?certs|cert_?file|certificate", name)
    ]
    assert keys == ["kafka.ssl_cafile", "kafka.ssl_certfile", "http.ssl_certfile"]


def test_the_configuration_is_on_the_page() -> None:
    """Streams by name, topic and role, and how long each is waited for: the anchor's not at all."""
    observer = PrometheusObserver()
    tell_settings(Settings(), observer)
    assert page_of(observer, "stream_info", stream="texts", topic="texts", role="anchor") == 1
    assert page_of(observer, "stream_info", stream="frames", topic="frames", role="context") == 1
    assert page_of(observer, "max_wait_seconds", stream="frames") == 2
    assert page_of(observer, "max_wait_seconds", stream="texts") == 0
