"""worker.ports.Fetcher where servers go, logs break and access is refused: kafka-python and librdkafka alike."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

from tests.chaos.ground import Ground, jars
from tests.contract.reading import KINDS, Reading, offsets
from worker.demo.kafka import EmbeddedKafka
from worker.demo.processes import free_port
from worker.errors import Fatal, Retryable

PASSWORD = "right-one"


def test_readers_outlast_a_broker_that_goes_and_lose_nothing(ground: Ground) -> None:
    """While it is away polls give nothing, or say that it is away; after it is back each record comes once."""
    readings = [Reading(ground.bootstrap_servers, kind) for kind in KINDS]
    told: list[Exception] = []
    found: dict[Reading, list[Any]] = {}
    for reading in readings:
        reading.send(2_000, size=500)
        reading.hold({0: 1})
        found[reading] = reading.read(1)
    ground.kafka.stop()
    try:
        for _ in range(20):
            for reading in readings:
                try:
                    found[reading] += reading.poll()
                except Retryable as error:
                    told.append(error)
    finally:
        ground.kafka.start()
    for reading in readings:
        reading.producers.renew()
        reading.send(10)
        while len(found[reading]) < 2_010:
            try:
                reading.until(lambda reading=reading: len(found[reading]) >= 2_010, found[reading])
            except Retryable as error:
                told.append(error)
        assert offsets(found[reading]) == list(range(2_010))
        reading.close()
    assert any("_ALL_BROKERS_DOWN" in str(error) for error in told)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_that_is_damaged_ends_the_reader_and_names_its_place(ground: Ground, kind: str) -> None:
    """One byte of a log differs from what was checked in; each poll says so again, and nothing behind it comes."""
    reading = Reading(ground.bootstrap_servers, kind)
    for _ in range(3):
        reading.send(5, size=100)
    log = ground.folder / "kafka-data" / f"{reading.topic}-0" / "00000000000000000000.log"
    with log.open("r+b") as file:
        text = log.read_bytes()
        file.seek(text.index(b"2:x", text.index(b"2:x") + 1) + 20)  # Of offset 7, in whatever batch it came.
        file.write(b"y")
    reading.hold({0: 1})
    reading.fetcher.seek(reading.at(0), 7)
    for _ in range(2):
        error = reading.error()
        assert isinstance(error, Fatal)
        assert str(error).startswith(f"{reading.topic}/0/7: the batch cannot be unpacked (")
    reading.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, Any]]]:
    """A broker with TLS, names and rights: its open address, and how to come by the guarded one."""
    folder = tmp_path_factory.mktemp("guarded")
    certificate = _certificate(folder)
    port, guarded_port, controller, here = free_port(), free_port(), free_port(), "127.0.0.1"
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    broker = EmbeddedKafka(
        jars(), folder,
        {
            "listeners": f"PLAINTEXT://{here}:{port},SASL_SSL://{here}:{guarded_port},CONTROLLER://{here}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{here}:{port},SASL_SSL://{here}:{guarded_port}",
            "controller.quorum.voters": f"1@{here}:{controller}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": (
                f'{module} required user_reader="{PASSWORD}" user_stranger="{PASSWORD}";'
            ),
            "ssl.keystore.type": "PKCS12", "ssl.keystore.location": str(folder / "keys.p12"),
            "ssl.keystore.password": PASSWORD, "ssl.key.password": PASSWORD,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        },
        port,
    )  # fmt: skip
    connection = {
        "bootstrap_servers": [f"{here}:{guarded_port}"], "security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "reader", "sasl_plain_password": PASSWORD, "ssl_cafile": str(certificate),
        "ssl_check_hostname": False,
    }  # fmt: skip
    yield broker.address, connection
    broker.stop()


def _certificate(folder: Path) -> Path:
    """The broker's own, of another host; its keys lie beside."""
    keytool = ["keytool", "-keystore", str(folder / "keys.p12"), "-storepass", PASSWORD, "-alias", "broker"]
    made = ["-genkeypair", "-keyalg", "RSA", "-storetype", "PKCS12", "-dname", "CN=elsewhere", "-validity", "9"]
    told = folder / "broker.pem"
    subprocess.run([*keytool, *made], check=True, capture_output=True)
    subprocess.run([*keytool, "-exportcert", "-rfc", "-file", str(told)], check=True, capture_output=True)
    return told


def _allow(reading: Reading, user: str, operation: Any) -> None:
    """This user may do this with the topic, and with the group that librdkafka names."""
    rule = {"host": "*", "permission_type": ACLPermissionType.ALLOW, "principal": f"User:{user}"}
    places = [(ResourceType.TOPIC, reading.topic), (ResourceType.GROUP, reading.topic)]
    rules = [ACL(operation=operation, resource_pattern=ResourcePattern(kind, name), **rule) for kind, name in places]
    reading.admin(lambda admin: admin.create_acls(rules))


@pytest.mark.parametrize("kind", [pytest.param("kafka-python", marks=pytest.mark.long), "librdkafka"])
def test_names_rights_and_certificates_mean_the_same_to_both(guarded: tuple[str, dict[str, Any]], kind: str) -> None:
    """Who may read reads; who may not ends, and a wrong host never answers. At a wrong password kafka-python gives up
    only once its time to find a broker is over."""
    servers, connection = guarded
    reading = Reading(servers, kind, connection=connection)
    _allow(reading, "reader", ACLOperation.READ)
    reading.send(3)
    reading.hold({0: 1})
    assert offsets(reading.read(3)) == [0, 1, 2]
    reading.close()
    with pytest.raises(Fatal, match="Kafka refuses access: "):
        _refused(servers, kind, {**connection, "sasl_plain_username": "stranger"})
    wrong, gives_up = {**connection, "sasl_plain_password": "wrong"}, Fatal if kind == "librdkafka" else Retryable
    with pytest.raises(gives_up, match=r"Kafka refuses access: |Unable to bootstrap"):
        _refused(servers, kind, wrong)
    with pytest.raises(Retryable):
        _refused(servers, kind, {**connection, "ssl_check_hostname": True})


def _refused(servers: str, kind: str, connection: dict[str, Any]) -> None:
    reading = Reading(servers, kind, connection=connection)
    try:
        _allow(reading, "stranger", ACLOperation.DESCRIBE)
        reading.send(1)
        reading.hold({0: 1})
        raise reading.error()
    finally:
        reading.close()
