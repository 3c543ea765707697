"""Kafka over TLS, client certificates and SASL: who is right gets in, who is not is told in one line what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.security.cases import IN, told
from tests.security.secured import MECHANISMS, PASSWORD, SecuredKafka
from worker.cli import main
from worker.errors import ConfigError
from worker.settings import load

Given = Callable[[SecuredKafka], dict[str, Any]]


def client(kafka: SecuredKafka, name: str, *, other: bool = False, **more: Any) -> dict[str, Any]:
    """The listener that wants a client certificate, and one of the right or the other authority."""
    password = more.pop("locked", None)
    signer = kafka.other if other else kafka.authority
    pair = signer.sign(name, password=password, days=more.pop("days", 5))
    return kafka.tls("mutual", **kafka.client(pair), **more)


RIGHT: dict[str, Given] = {
    "TLS": lambda kafka: kafka.tls(),
    "TLS, another's name not looked at": lambda kafka: kafka.tls("elsewhere", ssl_check_hostname=False),
    "mTLS": lambda kafka: client(kafka, "least"),
    "mTLS, locked key": lambda kafka: client(kafka, "least", locked=PASSWORD, ssl_password=PASSWORD),
    **{mechanism: lambda kafka, one=mechanism: kafka.sasl("least", one) for mechanism in MECHANISMS},  # type: ignore[misc]
    "SCRAM without TLS": lambda kafka: kafka.sasl("least", MECHANISMS[2], listener="bare", ssl_cafile=None),
}
FETCHERS = ("kafka-python", "librdkafka")

# Name -> what is given, the exit code, and what the line says.
WRONG: dict[str, tuple[Given, int, str]] = {
    **{
        f"wrong password, {mechanism}": (
            lambda kafka, one=mechanism: kafka.sasl("least", one, sasl_plain_password="not/this#one@%20"),  # type: ignore[misc]
            3, "refuses access (",
        )
        for mechanism in MECHANISMS
    },
    "no such user": (lambda kafka: kafka.sasl("nobody"), 3, "check kafka.sasl_plain_username"),
    "mechanism that is not offered": (
        lambda kafka: kafka.sasl("least", listener="bare", ssl_cafile=None), 3, "does not know kafka.sasl_mechanism"
    ),
    "wrong authority": (
        lambda kafka: kafka.tls(ssl_cafile=str(kafka.other.file)), 3, "signed by none of kafka.ssl_cafile"
    ),
    "no authority": (lambda kafka: kafka.tls(ssl_cafile=None), 3, "signed by none of kafka.ssl_cafile"),
    "wrong host name": (lambda kafka: kafka.tls("elsewhere"), 3, "certificate that it shows is of another host"),
    "expired": (lambda kafka: kafka.tls("expired"), 3, "the certificate that it shows has expired"),
    "no client certificate": (lambda kafka: kafka.tls("mutual"), 3, "client certificate"),
    "client certificate of another authority": (
        lambda kafka: client(kafka, "foreign", other=True), 3, "client certificate in kafka.ssl_certfile"
    ),
    "expired client certificate": (
        lambda kafka: client(kafka, "late", days=-1), 3, "certificate in kafka.ssl_certfile"
    ),
    "locked key, no password": (lambda kafka: client(kafka, "locked", locked=PASSWORD), 2, "give kafka.ssl_password"),
    "locked key, wrong password": (
        lambda kafka: client(kafka, "locked", locked=PASSWORD, ssl_password="not/this#one@%20"), 2,
        "kafka.ssl_password does not open it",
    ),
    "key of another certificate": (
        lambda kafka: client(kafka, "one") | {"ssl_keyfile": str(kafka.authority.sign("two").key)}, 2,
        "is not the key of kafka.ssl_certfile",
    ),
    "authority's file holds none": (
        lambda kafka: kafka.tls(ssl_cafile=str(kafka.authority.sign("two").key)), 2, "holds no certificate"
    ),
    "no such file": (lambda kafka: kafka.tls(ssl_cafile="/nowhere/ca.pem"), 2, "no such file"),
}  # fmt: skip
# These end the connection as a broker that starts does, so they are asked again until the time is up.
UNSURE: dict[str, tuple[Given, str]] = {
    "plaintext to a TLS port": (
        lambda kafka: {"bootstrap_servers": kafka.address("tls")}, "see kafka.security_protocol"
    ),
    "TLS to a plaintext port": (
        lambda kafka: kafka.tls(bootstrap_servers=kafka.broker.address), "see kafka.security_protocol"
    ),
    "no SASL to a SASL port": (
        lambda kafka: kafka.tls(bootstrap_servers=kafka.address("sasl")), "see kafka.security_protocol"
    ),
    "SASL to a port without": (
        lambda kafka: kafka.sasl("least", bootstrap_servers=kafka.address("tls")), "see kafka.security_protocol"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_who_is_right_gets_in(kafka: SecuredKafka, name: str) -> None:
    """`check` finds the topics."""
    code, line = told(RIGHT[name](kafka))
    assert (code, "secured.texts (2)" in line) == (0, True), line


@pytest.mark.parametrize("name", WRONG)
def test_who_is_wrong_is_told_why_at_once(kafka: SecuredKafka, name: str) -> None:
    """Long before `startup_timeout` is over; one line, no secret."""
    given, code, sentence = WRONG[name]
    settings = given(kafka)
    found, line = told(settings)
    assert (found, sentence in line) == (code, True), line
    assert_clear(line)


@pytest.mark.parametrize("name", UNSURE)
def test_who_knocks_at_the_wrong_door_is_told_in_time(kafka: SecuredKafka, name: str) -> None:
    """The key to look at is named."""
    given, sentence = UNSURE[name]
    found, line = told({**given(kafka), "startup_timeout": "1s"})
    assert (found, sentence in line) == (3, True), line
    assert_clear(line)


def test_a_feed_with_a_wrong_password_is_one_line_and_3(
    kafka: SecuredKafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the group that reads another program's topic, too."""
    config = tmp_path / "feed.toml"
    config.write_text('[streams.readings]\ntopic = "secured.texts"\nmodality = "sensor"\nrole = "anchor"\n')
    given = kafka.sasl("least", "PLAIN", sasl_plain_password="not/this#one@%20")
    pairs = [part for name, value in given.items() for part in ("--set", f"kafka.{name}={value}")]
    assert main(["feed", "kafka", "--preset", "deepstream", "--from", IN[1], "--config", str(config), *pairs]) == 3
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("fusion-worker: ")]
    assert "refuses access (" in line
    assert_clear(line.removeprefix("fusion-worker: "))


def assert_clear(line: str) -> None:
    """One line in words, without a password."""
    assert not any(part in line for part in ("\n", "Traceback", "Unable to bootstrap", PASSWORD, "not/this"))
    assert line.startswith("Kafka") or "kafka." in line


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["kafka.sasl_mechanism=PLAIN"], "sasl_mechanism has no effect with security_protocol = 'PLAINTEXT'"),
        (["kafka.ssl_cafile=ca.pem"], "ssl_cafile has no effect with security_protocol = 'PLAINTEXT'"),
        (["kafka.security_protocol=SASL_SSL"], "security_protocol = 'SASL_SSL' needs sasl_mechanism"),
        (
            ["kafka.security_protocol=SASL_SSL", "kafka.sasl_mechanism=PLAIN", "kafka.sasl_plain_username=u"],
            "sasl_mechanism = 'PLAIN' needs sasl_plain_password",
        ),
        (["kafka.security_protocol=SSL", "kafka.ssl_keyfile=k"], "have no effect without ssl_certfile"),
    ],
)
def test_half_a_configuration_is_refused(given: list[str], sentence: str) -> None:
    """What looks protected is protected; nothing is asked of a server first."""
    with pytest.raises(ConfigError) as caught:
        load(None, given, {})
    assert sentence in str(caught.value)
    assert "--set" in str(caught.value)
